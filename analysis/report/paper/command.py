"""`vitsweep table DIR`: a study's table for a paper, as LaTeX that fits the text width or as Markdown, on the output.

Columns: arm, factors (a column a factor that varies) or the name of one, mean (with its standard deviation), difference
(with its 95 % interval), p (adjusted), verdict; changes, seeds, training (accuracy on training images), parameters,
flops, time, speed, published, family. `report` writes the same table with the defaults to report/tables/paper.tex and
paper.md. docs/tables.md explains it.
"""

import argparse
from pathlib import Path

from vitsweep.errors import RecordError

from .options import DEFAULT_COLUMNS, PaperOptions, parse_columns, parse_width

FORMATS = ("latex", "markdown")


def main(arguments: list[str]) -> int:
    """Print the table; return 0.

    Raises:
        UserError: a wrong option, or a directory that holds no study.
    """
    given = parser().parse_args(arguments)
    options = PaperOptions(
        columns=None if given.columns is None else parse_columns(given.columns),
        sort=given.sort,
        digits=given.digits,
        width=None if given.width is None else parse_width(given.width),
    )
    if given.format == "markdown" and given.width is not None:
        raise RecordError("--width  has no effect on --format=markdown; leave it out")
    from ...records.load import load  # late: pandas and scipy
    from ...records.report_files import REPORT_NAME
    from ...records.wandb_runs import is_wandb_source, report_folder
    from ...statistics.judgement import judge
    from ..report import check_metric, check_pooled, read_gallery, saved_measures
    from .content import paper_markdown, paper_table

    source = given.directory[0]
    check_metric(given.metric, "keep")
    loaded = load(*given.directory)
    report = report_folder(source) if is_wandb_source(source) else Path(source) / REPORT_NAME
    judgement = judge(loaded, given.metric, saved_measures(read_gallery(report), loaded))
    check_pooled(given.directory, loaded, judgement.selection)
    if judgement.effects.empty:
        raise RecordError(f"{source}  holds no record and no plan; name a sweep, such as outputs/<study>")
    text = paper_table(judgement, options).latex() if given.format == "latex" else paper_markdown(judgement, options)
    print(text, end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    found = argparse.ArgumentParser(prog="vitsweep table", description=__doc__)
    found.add_argument("directory", nargs="+", help="a sweep's directory, a published one, or wandb:...; as for report")
    found.add_argument("--columns", help=f"names with commas between them (default: {','.join(DEFAULT_COLUMNS)})")
    found.add_argument("--sort", default="planned", help="order of the arms: planned, effect (largest first) or name")
    found.add_argument("--digits", type=int, help="decimals of means and differences (default: 2 for percent, else 4)")
    found.add_argument("--width", help="text width, such as 234pt or 8.3cm (default: that of an A4 article)")
    found.add_argument("--format", choices=FORMATS, default="latex", help="default: latex")
    found.add_argument("--metric", default="test/accuracy", help="metric that arms are compared by, as for report")
    return found
