"""Commands `vitsweep report`, `verify`, `publish` and `gallery`; also `python -m vitsweep.analysis report ...`.

Exit code 0; 1 if verify finds a difference or gallery draws nothing; 2 for an error of the user.
"""

import argparse
import sys

from vitsweep.errors import UserError, printable
from vitsweep.files import protect_output

WANDB_FORM = "wandb:ENTITY/PROJECT?group=STUDY"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    protect_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser(with_gallery=arguments[:1] == ["gallery"]).parse_args(arguments)
    try:
        return options.run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(printable(f"{error.filename}  {error.strerror}; check that path and its permissions"), file=sys.stderr)
        return 2


def parser(with_gallery: bool = False) -> argparse.ArgumentParser:
    """Return the command line's parser, without importing what the commands need.

    Args:
        with_gallery: True to add the gallery's own arguments, for which its module must be imported.
    """
    top = argparse.ArgumentParser(prog="vitsweep", description="Judge and report what sweeps have left on disk.")
    commands = top.add_subparsers(required=True, metavar="command")
    _add_report(commands.add_parser("report", help="write the report of sweep or cell directories, or compare several"))
    verify = commands.add_parser("verify", help="recompute every number of a report; exit code 1 if one differs")
    verify.add_argument(
        "directory", nargs="+", help="a sweep directory or a published one, with its report; then others of the report"
    )
    verify.add_argument("--baseline", metavar="ARM", default="", help="the report that was made with this option")
    verify.add_argument("--out", help="folder of the report (default: as for the command report)")
    verify.set_defaults(run=_verify)
    publish = commands.add_parser("publish", help="write report and records, without checkpoints, for a repository")
    publish.add_argument("directory", help="a sweep directory with its report")
    publish.add_argument("destination", help="a new folder")
    publish.set_defaults(run=_publish)
    gallery = commands.add_parser("gallery", help="draw attention rollouts of chosen cells and images")
    if with_gallery:
        from .gallery import command

        command.add_arguments(gallery)
        gallery.set_defaults(run=command.main)
    return top


def _add_report(report: argparse.ArgumentParser) -> None:
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
        help="what arms are compared by: test/accuracy (default), average/test/accuracy, ..., rollout/entropy, ...",
    )
    report.add_argument("--sort", choices=("planned", "effect"), default="planned", help="order of the arms")
    report.add_argument("--baseline", metavar="ARM", default="", help="compare with this arm instead: exploratory")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from .progress import shown, stage

    chosen = {name: getattr(options, name) for name in ("out", "gallery", "metric", "sort", "baseline")}
    with shown("report", lambda line: print(line, file=sys.stderr, flush=True)):
        stage("loading pandas and matplotlib")
        from .report.report import make_report

        page = make_report(*options.directory, **chosen)
    print(page)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from .verify import count_numbers, verified_folder, verify

    differences = verify(*options.directory, baseline=options.baseline, out=options.out)
    for difference in differences:
        print(printable(difference))
    if differences:
        return 1
    numbers, runs = count_numbers(verified_folder(options.directory, options.baseline, options.out))
    print(f"verified: {numbers} numbers from {runs} runs agree with the records")
    return 0


def _publish(options: argparse.Namespace) -> int:
    from .publish import publish

    print(publish(options.directory, options.destination))
    return 0


if __name__ == "__main__":
    sys.exit(main())
