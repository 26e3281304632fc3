"""`python -m vitsweep plan study=NAME ...`: what a study would train, cost and be able to see; starts nothing.

The same table is what sweep.dry_run=true prints. With sweep.probe=true a few real steps are timed; else no torch.
"""

import argparse

from vitsweep.config.hydra import make_loader
from vitsweep.config.messages import user_errors
from vitsweep.run.plan_table import print_plan
from vitsweep.study.planner import plan_and_directory


def main(arguments: list[str]) -> int:
    """Print the plan of the study that the overrides describe.

    Raises:
        UserError: it cannot be planned, with all faults.
    """
    ask = argparse.ArgumentParser(prog="python -m vitsweep plan", description=__doc__)
    ask.add_argument("overrides", nargs="*", help="as for a sweep: study=NAME, model.patch_size=4,8, seed=0,1,2, ...")
    ask.add_argument("--config-dir", "-cd", help="a folder with configurations of yours, e.g. DIR/study/mine.yaml")
    ask.add_argument("--config-name", "-cn", default="config", help="the primary configuration")
    ask.add_argument("--multirun", "-m", action="store_true", help="allowed and meant anyway")
    asked = ask.parse_intermixed_args(arguments)
    with user_errors(arguments):
        plan, directory = plan_and_directory(asked.overrides, make_loader(asked.config_dir), asked.config_name)
    print_plan(plan, directory)
    return 0
