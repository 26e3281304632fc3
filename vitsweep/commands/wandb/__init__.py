"""Commands of `vitsweep wandb`: sweeps for W&B's agents, the agent's cells, and dashboards.

search_space.py (tuning) and panels.py (dashboards) are no commands: the others use them. `wandb` here is this folder;
W&B's own package is imported absolutely, and late.
"""
