"""Judge the runs of study=small_fixed as four studies, by error and looks; write the page beside.

    python docs/results/fixed_or_sequential.py

A cell's result depends on its configuration and seed alone, so a study with looks would have trained a part of these
very runs: the part that the report's own judge of looks asks for.
"""

import argparse
from pathlib import Path

from vitsweep.analysis.records.load import StudyRecords, load
from vitsweep.analysis.records.selection import Selection, select
from vitsweep.analysis.statistics.claims import judge_claims
from vitsweep.analysis.statistics.sequential import follow_looks

from vitsweep.study.plan import claims_hash

FOLDER = Path(__file__).resolve().parent
LOOKS = [3, 5, 10]
PAGE = """# One study four ways: paired or pooled, all seeds or looks

`python docs/results/fixed_or_sequential.py` judges the runs of `study=small_fixed` (7 arms x 10 seeds on 2,000 CIFAR-10
images, [records](small_fixed)) as four studies, by the report's own functions, and writes this page. A study with
looks after 3, 5 and 10 seeds trains only what is still open; its runs are a part of these, since a cell's result
depends on its configuration and seed alone. Core-hours are those of the runs used, one core each, on two virtual cores
of an AMD EPYC (AVX2) beside other work. `study=small_sequential` is the pooled one with looks.

| error | seeds | runs | core-hours | {claims} |
| :--- | :--- | ---: | ---: | {rule} |
{rows}

Verdicts with p after Holm (with looks sequential p, over all of them). Seeds that each arm would have got: {seeds}.
"""


def as_study(loaded: StudyRecords, error: str, looks: list[int]) -> Selection:
    """Return the records as a study with this error and these looks (none: all seeds), until decided."""
    (plan,) = loaded.plans
    plan["error"], plan["looks"], plan["spending"] = error, looks, "constant" if looks else ""
    plan["cells"][0]["config"]["sweep"]["until"] = "decided" if looks else "all"
    # As if it had been declared so before the first run: the runs themselves do not depend on it.
    declared = plan["rope"], error, [], plan["looks"], plan["spending"]
    loaded.cells["claims_hash"] = claims_hash(plan["claims"], *declared)
    return follow_looks(select(loaded))


def counted(selection: Selection) -> tuple[int, float]:
    """Return number and core-hours of the runs that a study needs."""
    sequence, cells = selection.sequence, selection.cells
    if sequence:
        place = {seed: number for number, seed in enumerate(selection.plan["seeds"])}
        cells = cells[cells["seed"].map(place) < cells["arm"].map(sequence.needed)]
    return len(cells), float(cells["time_seconds"].sum() / 3600)


def main() -> None:
    """Write fixed_or_sequential.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", default=str(FOLDER / "small_fixed"))
    directory = parser.parse_args().directory
    (FOLDER / "fixed_or_sequential.md").write_text(page(directory), encoding="utf-8")


def page(directory: str) -> str:
    """Return the page about the study in a directory."""
    rows, seeds, names = [], "", []
    for looks in ([], LOOKS):
        for error in ("paired", "pooled"):
            selection = as_study(load(directory), error, looks)
            claims = judge_claims(selection)[0]
            names = list(claims["claim"])
            runs, hours = counted(selection)
            verdicts = [f"{row.verdict}, {row.p_holm:.3f}" for row in claims.itertuples()]
            shown = "looks 3, 5, 10" if looks else "all 10"
            rows.append(f"| {error} | {shown} | {runs} | {hours:.2f} | {' | '.join(verdicts)} |")
            if looks and error == "pooled":
                seeds = ", ".join(f"{arm} {number}" for arm, number in selection.sequence.needed.items())
    return PAGE.format(
        claims=" | ".join(names), rule=" | ".join(":---" for _ in names), rows="\n".join(rows), seeds=seeds
    )


if __name__ == "__main__":
    main()
