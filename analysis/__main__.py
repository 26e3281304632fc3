"""`python -m analysis`: report, verify, publish, gallery. Exit code 0, 1 when verify finds a difference, 2
for the user's fault."""

import argparse
import sys

from vitsweep.errors import UserError

WANDB_FORM = "wandb:ENTITY/PROJECT?group=STUDY"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser(with_gallery=arguments[:1] == ["gallery"]).parse_args(arguments)
    try:
        return given.run(given)
    except UserError as fault:
        print(fault, file=sys.stderr)
        return 2


def parser(with_gallery: bool = False) -> argparse.ArgumentParser:
    """The command line, without importing what a command needs.

    Args:
        with_gallery: whether the gallery's own arguments are added, for which its module must be imported.
    """
    top = argparse.ArgumentParser(
        prog="python -m analysis", description="Judge and report what sweeps have left on disk."
    )
    commands = top.add_subparsers(required=True, metavar="command")
    report = commands.add_parser("report", help="write report/ from the records of sweep or cell directories")
    report.add_argument("directory", nargs="+", help=f"a sweep's or a cell's directory, or {WANDB_FORM}")
    report.add_argument("--out", help="folder to write (default: report in the first directory)")
    report.add_argument(
        "--gallery",
        choices=("make", "keep", "none"),
        default="make",
        help="rollout gallery: make it (needs torch), keep the last report's pictures, or none",
    )
    report.add_argument(
        "--metric",
        default="test/accuracy",
        help="what arms are compared by: test/accuracy (default), test/loss, ..., rollout/entropy, ...",
    )
    report.add_argument("--sort", choices=("planned", "effect"), default="planned", help="order of the arms")
    report.set_defaults(run=_report)
    verify = commands.add_parser("verify", help="recompute every number of a report; exit code 1 if one differs")
    verify.add_argument("directory", help="a sweep directory or a published one, with its report")
    verify.set_defaults(run=_verify)
    publish = commands.add_parser("publish", help="write report and records, without checkpoints, for a repository")
    publish.add_argument("directory", help="a sweep directory with its report")
    publish.add_argument("destination", help="a new folder")
    publish.set_defaults(run=_publish)
    gallery = commands.add_parser("gallery", help="draw attention rollouts of chosen cells and images")
    if with_gallery:
        from .gallery import gallery as module

        module.add_arguments(gallery)
        gallery.set_defaults(run=module.main)
    return top


def _report(given: argparse.Namespace) -> int:
    from .report.report import make_report

    options = {name: getattr(given, name) for name in ("out", "gallery", "metric", "sort")}
    print(make_report(*given.directory, **options))
    return 0


def _verify(given: argparse.Namespace) -> int:
    from .verify import count_numbers, verify

    faults = verify(given.directory)
    for fault in faults:
        print(fault)
    if faults:
        return 1
    numbers, runs = count_numbers(given.directory)
    print(f"verified: {numbers} numbers from {runs} runs are what the records say")
    return 0


def _publish(given: argparse.Namespace) -> int:
    from .publish import publish

    print(publish(given.directory, given.destination))
    return 0


if __name__ == "__main__":
    sys.exit(main())
