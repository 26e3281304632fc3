"""Imported by every Python of a test's Slurm job: training that sleeps in place of torch, and a clock that is wrong.

Processes, signals, locks, records and Slurm are real. A fake epoch takes NODE_EPOCH seconds and leaves a row; the state
is the record's epoch. On the nodes that NODE_CLOCK names (`n2=600`) all clocks, and the times that are given to files,
are that many seconds ahead. NODE_STALE shortens the time after which a heartbeat counts as stopped. NODE_MIB is memory
that the training takes.
"""

import os
import sys
import time
import types


def shift_clock(seconds: float) -> None:
    """Set the clock of this process ahead, as if its machine's were; heartbeats get times of that clock."""
    real_time, real_utime = time.time, os.utime
    time.time = lambda: real_time() + seconds

    def utime(path, times=None, *, ns=None, **options):
        if times is None and ns is None:
            times = (time.time(), time.time())
        return real_utime(path, times, **options) if ns is None else real_utime(path, ns=ns, **options)

    os.utime = utime


def run_cell(config, record, directory):
    """Imitate train.fit.run_cell: epochs that sleep, a state after each, a stop between two."""
    import logging

    from vitsweep.study.record import METRIC_NAMES, append_row, now, read_rows, write_record
    from vitsweep.train.stop import Interrupted, StopSignals

    log = logging.getLogger(__name__)
    with StopSignals() as stop, stop.deferring():
        record.attempts, record.status, record.started = record.attempts + 1, "running", record.started or now()
        write_record(directory, record)
        rows = read_rows(directory)
        record.epoch = rows[-1]["epoch"] if rows else 0
        taken = bytearray(int(os.environ.get("NODE_MIB", "0")) << 20)
        if record.epoch:
            log.info("%s seed %d resumes at epoch %d", record.arm, record.seed, record.epoch + 1)
        while record.epoch < config.recipe.epochs:
            time.sleep(float(os.environ.get("NODE_EPOCH", "0.05")))
            record.epoch += 1
            append_row(directory, {"epoch": record.epoch, "pid": os.getpid(), "attempt": record.attempts})
            write_record(directory, record)
            if stop.requested is not None:
                record.status = "interrupted"
                write_record(directory, record)
                raise Interrupted(stop.requested)
        metrics = dict.fromkeys(METRIC_NAMES, 0.5)
        record.metrics = {"final": metrics, "best": metrics | {"epoch": 1}}
        record.status, record.finished, record.time_seconds = "done", now(), 1.0
        record.device, record.peak_gib = "cpu", len(taken) / 2**30 or None
        write_record(directory, record)
    return record


def module(name: str, **contents) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(contents)
    return made


sys.modules["torch"] = module("torch", set_num_threads=lambda count: None, get_num_threads=lambda: 1)
sys.modules["torch._dynamo"] = module("torch._dynamo")
sys.modules["vitsweep.train.fit"] = module("vitsweep.train.fit", run_cell=run_cell)
sys.modules["vitsweep.train.checkpoint"] = module("vitsweep.train.checkpoint", drop_state=lambda folder: None)
clocks = dict(pair.split("=") for pair in os.environ.get("NODE_CLOCK", "").split(",") if pair)
if seconds := float(clocks.get(os.environ.get("SLURMD_NODENAME", ""), 0)):
    shift_clock(seconds)
if "NODE_STALE" in os.environ:
    from vitsweep.study import locks

    locks.STALE_SECONDS = float(os.environ["NODE_STALE"])
