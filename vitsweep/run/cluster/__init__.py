"""Cluster: a study as Slurm jobs that train, retry, take over and report without the command that submitted them.

The sweep's directory holds all that jobs need: plan.json, records and locks, and in `slurm/` the jobs (`jobs.json`),
their script and output. Jobs use submit_missing, the commands attach and cancel read_book and queued_jobs.
"""
