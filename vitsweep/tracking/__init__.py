"""Weights & Biases: a copy of each cell's record, written while it trains, completed by `wandb sync`, and read back.

Takes records and the rows of metrics.jsonl; gives W&B runs, and records rebuilt from W&B runs.
Other rooms use: tracker.make_tracker; pieces.replay, tracker_config; read_back; privacy.without_paths; client; mode.
"""
