"""`vitsweep report A B` of studies that cannot be pooled: their tables and claims side by side, on one page.

`vitsweep diff A B` answers what differs between two studies; this answers whether their conclusions agree. Each study
is judged by itself, exactly as its own report judges it, so no difference between studies is tested.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from vitsweep.config.overrides import slug
from vitsweep.errors import RecordError
from vitsweep.files import finite
from vitsweep.study.comparison.differences import compare_sides
from vitsweep.study.comparison.sides import read_side
from vitsweep.study.record import package_version

from ...records.load import load
from ...records.report_files import PAGE_NAME, RESULTS_NAME, digest_inputs, move_report
from ...records.wandb_runs import is_wandb_source
from ...statistics.claims import find_arm
from ...statistics.effects import decimal_places, display_scale, metric_text
from ...statistics.judgement import Judgement, judge
from ...text import DASH, interval, p_value, signed, text_or_dash
from ...units import OF_EFFECTS
from ..page import Bullets, KeyValues, Page, Section, TableItem, Text, to_html, to_markdown
from ..results import input_hashes
from ..study_tables import mean_and_sd
from ..tables import Column, Table
from .page import row_table
from .text import HEADINGS

SCHEMA = 1
SECTIONS = ("configuration", "data")
"""Sections of a difference that a reader of two verdicts must know."""
ARM_KEYS = ("n", "mean", "sd", "delta", "ci_low", "ci_high", "p_holm", "verdict")
CLAIM_KEYS = ("verdict", "evidence", "p_holm")
NO_TEST = (
    "Each study is judged by itself, as in its own report. No difference between the studies is tested: a verdict in "
    "one and none in the other is no evidence that they differ."
)


def write_comparison(
    sources: list[str], out: str | Path | None, metric: str, sort: str = "planned", baseline: str = ""
) -> Path:
    """Write the comparison of studies and return the path of its index.html.

    Args:
        sources: directories, or studies in W&B.
        out: folder to write; None: `<A>-and-<B>` beside the first directory.
        metric: metric that arms are compared by.
        sort: order of the arms: planned, or effect.
        baseline: arm to compare with in each study; empty: its own baseline.

    Raises:
        RecordError: one cannot be read, or `out` holds other files.
    """
    folder = Path(out) if out else comparison_folder(sources)
    options = {"metric": metric, "sort": sort} | ({"baseline": baseline} if baseline else {})
    inputs = digest_inputs(*(source for source in sources if not is_wandb_source(source)))
    judgements = judge_each(sources, metric, baseline)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as fresh:
        compare_judgements(sources, judgements, Path(fresh), options)
        move_report(Path(fresh), folder, inputs)
    return folder / PAGE_NAME


def comparison_folder(sources: list[str]) -> Path:
    """Return the folder of a comparison: beside the first study, named after all."""
    names = [
        slug(Path(source.rpartition("=")[2] if is_wandb_source(source) else source).resolve().name)
        for source in sources
    ]
    first = Path("outputs", "wandb") if is_wandb_source(sources[0]) else Path(sources[0]).resolve().parent
    return first / slug("-and-".join(names))


def is_comparison(folder: Path) -> bool:
    """Return whether a folder's results are those of a comparison."""
    return "studies" in json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8"))


def judge_each(sources: list[str], metric: str, baseline: str = "") -> dict[str, Judgement]:
    """Return name -> judgement of each study by itself; directories name studies of one name.

    Raises:
        RecordError: one cannot be read.
    """
    judged = [judge(load(source), metric, None, baseline) for source in sources]
    names = [own.selection.study for own in judged]
    if len(set(names)) < len(names):
        names = [Path(source).resolve().name for source in sources]
    if len(set(names)) < len(names):
        names = [f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return dict(zip(names, judged, strict=True))


def compare_judgements(
    sources: list[str], judgements: dict[str, Judgement], folder: Path, options: dict[str, str]
) -> None:
    """Write page, Markdown, results and tables of a comparison into a folder."""
    arms, claims = arm_frame(judgements, options["sort"]), claim_frame(judgements)
    tables = [arm_table(arms, judgements, options["metric"])]
    tables += [claim_table(claims, judgements)] if len(claims) else []
    differing = difference_tables(sources)
    sections = [
        Section(id="studies", title="Studies", items=study_items(judgements)),
        *(
            Section(id=table.name, title=table.title, items=[TableItem(table=table), *_remark(table)])
            for table in reversed(tables)
        ),
        *(Section(id=table.name, title=table.title, items=[TableItem(table=table)]) for table in differing),
    ]
    page = Page(
        title=f"Comparison: {' and '.join(judgements)}",
        lead=f"{len(judgements)} studies, judged by {metric_text(options['metric'])}. {NO_TEST}",
        sections=sections,
        signature=f"vitsweep:{package_version('vitsweep')}|schema:{SCHEMA}|metric:{options['metric']}|command:report",
    )
    texts = {f"tables/{table.name}.csv": table.csv() for table in [*tables, *differing]}
    texts |= {"report.md": to_markdown(page, folder), RESULTS_NAME: comparison_json(judgements, arms, claims, options)}
    (folder / "tables").mkdir(exist_ok=True)
    for name, text in (texts | {PAGE_NAME: to_html(page)}).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _remark(table: Table) -> list:
    return [Text(text="Claims are matched by their words.")] if table.name == "claims" else []


def study_items(judgements: dict[str, Judgement]) -> list:
    """Return what each study has, and what a reader must know of it."""
    pairs = []
    for name, own in judgements.items():
        cells, base = own.selection.cells, own.selection.baseline
        done = int((cells["status"] == "done").sum())
        arms, seeds = len(own.selection.arms), cells["seed"].nunique()
        pairs.append((name, f"{arms} arms, {seeds} seeds, {done} of {len(cells)} runs finished; baseline {base}"))
    alarms = [f"{name}: {line}" for name, own in judgements.items() for line in own.selection.alarms]
    return [KeyValues(pairs=pairs), *([Bullets(lines=alarms)] if alarms else [])]


def arm_frame(judgements: dict[str, Judgement], sort: str = "planned") -> pd.DataFrame:
    """Tabulate each arm's numbers in every study, `<study>/<key>`; an arm is found by name, or by its one level."""
    first = next(iter(judgements.values()))
    order = first.effects
    if sort == "effect":
        order = pd.concat([order[:1], order[1:].sort_values("delta", ascending=False, kind="stable")])
    rows: dict[str, dict[str, Any]] = {arm: {"arm": arm} for arm in order["arm"]} if len(order) else {}
    for name, own in judgements.items():
        selection = own.selection
        for effect in own.effects.to_dict("records"):
            arm = effect["arm"]
            if own is not first:
                known = first.selection.baseline if arm == selection.baseline else find_arm(arm, first.selection)
                arm = known or next((a for a in rows if find_arm(a, selection) == arm), arm)
            row = rows.setdefault(arm, {"arm": arm})
            row |= {f"{name}/{key}": effect[key] for key in ARM_KEYS}
    columns = ["arm", *(f"{name}/{key}" for name in judgements for key in ARM_KEYS)]
    return pd.DataFrame(list(rows.values()), columns=columns)


def claim_frame(judgements: dict[str, Judgement]) -> pd.DataFrame:
    """Tabulate each claim's verdict, evidence and p in every study; claims are matched by their words."""
    rows: dict[str, dict[str, Any]] = {}
    for name, own in judgements.items():
        for claim in own.claims.to_dict("records"):
            row = rows.setdefault(claim["claim"], {"claim": claim["claim"]})
            row |= {f"{name}/{key}": claim[key] for key in CLAIM_KEYS}
    columns = ["claim", *(f"{name}/{key}" for name in judgements for key in CLAIM_KEYS)]
    return pd.DataFrame(list(rows.values()), columns=columns)


def arm_table(frame: pd.DataFrame, judgements: dict[str, Judgement], metric: str) -> Table:
    """Return the arms of all studies side by side."""
    places, sign = decimal_places(metric), ", %" if display_scale(metric) == 100.0 else ""
    columns = [Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True, wrap=True)]
    for name in judgements:
        columns += [
            _column(f"{name}: {metric_text(metric)}{sign}", name, "mean", lambda r: mean_and_sd(r, places)),
            _column("effect [95 % interval]", name, "delta", lambda r: _effect(r, places)),
            _column("verdict", name, "verdict", lambda r: text_or_dash(r["verdict"]), numeric=False),
        ]
    caption = f"{metric_text(metric).capitalize()} of each arm in each study; effects and verdicts are against the "
    caption += "study's own baseline, corrected in the study's own family."
    is_percent = display_scale(metric) == 100.0
    known = {key: unit for key, unit in OF_EFFECTS.items() if key in ARM_KEYS}
    units = {f"{name}/{key}": (unit, 1.0) for name in judgements for key, unit in known.items()}
    return Table(
        name="arms", title="Arms", caption=caption, frame=frame, columns=columns, units=units if is_percent else {}
    )


def claim_table(frame: pd.DataFrame, judgements: dict[str, Judgement]) -> Table:
    """Return the claims of all studies side by side."""
    columns = [Column("claim", lambda r: r["claim"], "claim", numeric=False, keep=True, wrap=True)]
    for name in judgements:
        columns += [
            _column(f"{name}: verdict", name, "verdict", lambda r: text_or_dash(r["verdict"]), numeric=False),
            _column("evidence", name, "evidence", lambda r: text_or_dash(r["evidence"]), numeric=False),
            _column("Holm p", name, "p_holm", lambda r: p_value(r["p_holm"])),
        ]
    caption = "Verdicts on the claims of each study, corrected in its own family of claims."
    return Table(name="claims", title="Claims", caption=caption, frame=frame, columns=columns)


def _column(title: str, study: str, key: str, show: Any, numeric: bool = True) -> Column:
    """Return a column that shows a study's values of a row, DASH where it has none."""

    def text(row: dict) -> str:
        own = {name.removeprefix(f"{study}/"): value for name, value in row.items() if name.startswith(f"{study}/")}
        return show(own) if own and pd.notna(own.get("verdict")) else DASH

    return Column(title, text, f"{study}/{key}", numeric=numeric, keep=True, wrap=not numeric)


def _effect(row: dict[str, Any], places: int) -> str:
    if pd.isna(row["delta"]) or row["verdict"] == "baseline":
        return DASH
    return f"{signed(row['delta'], places)} {interval(row['ci_low'], row['ci_high'], places)}".rstrip()


def difference_tables(sources: list[str]) -> list[Table]:
    """Return what differs in configuration and data between two studies on disk; [] for others."""
    if len(sources) != 2 or any(map(is_wandb_source, sources)):
        return []
    try:
        rows = compare_sides(*(read_side(source) for source in sources))
    except RecordError:
        return []
    found = []
    for section in SECTIONS:
        if own := [row for row in rows if row.section == section]:
            table = row_table(section, own)
            table.name, table.title = f"differs_{section}", f"What differs: {HEADINGS.get(section, section)}"
            found.append(table)
    return found


def comparison_json(
    judgements: dict[str, Judgement], arms: pd.DataFrame, claims: pd.DataFrame, options: dict[str, str]
) -> str:
    """Return the text of results.json."""
    runs = [f"{name}/{cell}" for name, own in judgements.items() for cell in own.selection.cells["cell"]]
    values = {
        "schema": SCHEMA,
        "studies": {
            name: {"study": own.selection.study, "baseline": own.selection.baseline} for name, own in judgements.items()
        },
        "options": options,
        "runs": {str(place): run for place, run in enumerate(runs, start=1)},
        "inputs": {f"{name}/{cell}": h for name, own in judgements.items() for cell, h in input_hashes(own).items()},
        "arms": arms.to_dict("records"),
        "claims": claims.to_dict("records"),
    }
    return json.dumps(finite(values), indent=1) + "\n"
