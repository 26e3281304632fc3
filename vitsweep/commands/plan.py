"""`python -m vitsweep plan study=NAME ...`: print the arms, cost and statistical power of a study; train nothing.

Prints the same table as sweep.dry_run=true. The time of the cells that are left comes from finished cells of this
machine, else from a few training steps that another process times; sweep.probe=true times 20 steps of every shape here.
"""

from vitsweep.commands.command_arguments import make_study_parser, parse_study_arguments
from vitsweep.commands.dry_run import launcher_option
from vitsweep.config.hydra import make_loader
from vitsweep.config.messages import user_errors
from vitsweep.run.plan_table import print_plan
from vitsweep.study.plan_builder import plan_and_directory


def main(arguments: list[str]) -> int:
    """Print the plan of the study that the overrides describe.

    Raises:
        UserError: it cannot be planned; lists all problems.
    """
    parser = make_study_parser("plan", __doc__)
    parser.add_argument("--multirun", "-m", action="store_true", help="accepted and ignored")
    options = parse_study_arguments(parser, arguments)
    with user_errors(arguments):
        loader = make_loader(options.config_dir)
        plan, directory = plan_and_directory(options.overrides, loader, options.config_name, keep=False)
    print_plan(plan, directory, launcher=launcher_option(options.overrides))
    return 0
