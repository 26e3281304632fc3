"""`python -m analysis`: report, verify, publish, gallery. Exit code 0, 1 when verify finds a difference, 2
for the user's fault."""

import argparse
import sys

from vitsweep.errors import UserError


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
    report.add_argument("directory", nargs="+", help="a sweep's or a cell's directory")
    report.add_argument("--out", help="folder to write (default: report in the first directory)")
    report.add_argument(
        "--gallery",
        choices=("make", "keep", "none"),
        default="make",
        help="rollout gallery: make it (needs torch), keep the last report's pictures, or none",
    )
    report.add_argument("--metric", default="test/accuracy", help="what arms are compared by (default: test/accuracy)")
    report.add_argument("--sort", choices=("planned", "effect"), default="planned", help="order of the arms")
    report.set_defaults(run=_report)
    gallery = commands.add_parser("gallery", help="draw attention rollouts of chosen cells and images")
    if with_gallery:
        from analysis import gallery as module

        module.add_arguments(gallery)
        gallery.set_defaults(run=module.main)
    return top


def _report(given: argparse.Namespace) -> int:
    from analysis.report import make_report

    options = {name: getattr(given, name) for name in ("out", "gallery", "metric", "sort")}
    print(make_report(*given.directory, **options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
