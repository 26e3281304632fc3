"""Trial steps of an arm on random images, before any cell is trained.

Takes a plan or a configuration; gives refusals and warnings (no-op check) and step times (probe).
For other rooms: noop.refuse_noops, probe.probe_plan, probe.ProbeResult, steps.trial_step.
"""
