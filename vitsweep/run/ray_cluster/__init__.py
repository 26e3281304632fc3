"""Ray: a study's cells as tasks of a Ray cluster, for hydra/launcher=ray; sweep.py uses cluster_errors and run_on_ray.

Only ids travel: a task gets the id of its cell and returns it with the exit code of the cell's process, which reads
plan.json and writes the record in the sweep's directory, as on one machine. Ray's own retries are off, since they would
not see that a lost node's cell is still held, or that it fails each time; the sweep submits such cells again.
"""
