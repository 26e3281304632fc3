"""Copies of each cell's record for W&B, TensorBoard, MLflow and trackio, written while it trains; W&B's are read back.

Takes records and the rows of metrics.jsonl; gives W&B runs, and records rebuilt from W&B runs.
Other rooms use: several.make_tracker; pieces.replay, tracker_config; read_back; privacy.without_paths; client; mode.
"""
