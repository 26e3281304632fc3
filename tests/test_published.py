"""The published studies are what their records say, and docs/results/README.md says what they say.

Kinds: agreement (verify recomputes every number of a report; the page's tables are lines of the report's own, its
sentences are computed here from the report's CSV files), properties (whole, of one clean commit, no number unchecked).
"""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from vitsweep.analysis.text import duration
from vitsweep.analysis.verify import verify

from vitsweep.data.counts import batch_and_steps
from vitsweep.study.record import read_runs

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
STUDIES = [path.parent.name for path in sorted(RESULTS.glob("*/plan.json"))]
NUMBER = re.compile(r"[+−-]?\d[\d,.]*\d|[+−-]?\d")


def tables(study: str, name: str) -> pd.DataFrame:
    """Return a published table, its columns without their units."""
    frame = pd.read_csv(RESULTS / study / "report" / "tables" / f"{name}.csv")
    return frame.rename(columns=lambda column: column.removesuffix("_percent").removesuffix("_points"))


def records_of(study: str) -> list[dict[str, Any]]:
    """Return the records of a study's runs."""
    return [run["record"] for run in read_runs(RESULTS / study)[0].values()]


def section(study: str) -> str:
    """Return the page's text about a study, between the two comments that name it."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    return text.partition(f"<!-- {study} -->\n")[2].partition(f"<!-- end of {study} -->")[0]


@pytest.mark.parametrize("study", STUDIES)
def test_published_report_is_what_its_records_say(study):
    assert verify(RESULTS / study) == []


@pytest.mark.parametrize("study", STUDIES)
def test_published_study_is_whole_and_of_one_clean_commit(study):
    records = records_of(study)
    cells = json.loads((RESULTS / study / "plan.json").read_text())["cells"]
    assert {(r["arm"], r["seed"]) for r in records} == {(cell["arm"], cell["seed"]) for cell in cells}
    assert {r["status"] for r in records} == {"done"}
    assert {r["data_name"] for r in records} == {"CIFAR-10"}
    assert len({r["code"]["commit"] for r in records}) == 1 and not any(r["code"]["dirty"] for r in records)


def sizes(study: str) -> list[str]:
    """Return the size of a study and the time it took, in words."""
    arms, runs = tables(study, "arms"), tables(study, "runs")
    took = f"{len(runs)} runs took {duration(runs['time_seconds'].sum())} in all, each on one core"
    return [f"{len(arms)} arms x {runs['seed'].nunique()} seeds", took]


def computed_readme_small() -> list[str]:
    """Return the numbers that the page may state, from the plan, records and tables of this study."""
    plan = json.loads((RESULTS / "readme_small" / "plan.json").read_text())
    arms = tables("readme_small", "arms").set_index("arm")
    recipe, train_images = plan["cells"][0]["config"]["recipe"], plan["cells"][0]["config"]["data"]["train_limit"]
    base, cnn, none = arms.loc["baseline"], arms.loc["model=resnet"], arms.loc["dropout=none"]
    wide, shallow, noise = arms.loc["patch_size=8"], arms.loc["num_hidden_layers=2"], arms.loc["placebo"]
    _, steps = batch_and_steps(train_images, recipe["batch_size"])
    return [
        *sizes("readme_small"),
        f"{train_images:,} images for {recipe['epochs']} epochs",
        f"{recipe['epochs'] * steps} steps",
        f"cannot be asked in {recipe['epochs']} epochs",
        f"{cnn['mean']:.2f} % against {base['mean']:.2f} %",
        f"the interval begins at {cnn['ci_low']:.2f} points",
        f"holds, by {-wide['delta']:.2f} points",
        f"anything from {-wide['ci_high']:.2f} to {-wide['ci_low']:.2f} points",
        f"2 layers are ahead by {shallow['delta']:.2f} points",
        f"{-none['ci_low']:.2f} points lower or {none['ci_high']:.2f} points higher",
        f"{noise['delta']:+.2f} points, {noise['ci_low']:+.2f} to {noise['ci_high']:+.2f}",
    ]


def computed_readme_small_augmented() -> list[str]:
    """The same of the study under the other recipe."""
    arms = tables("readme_small_augmented", "arms").set_index("arm")
    before = tables("readme_small", "arms").set_index("arm").loc["baseline"]
    base, cnn, none = arms.loc["baseline"], arms.loc["model=resnet"], arms.loc["dropout=none"]
    wide, shallow = arms.loc["patch_size=8"], arms.loc["num_hidden_layers=2"]
    return [
        *sizes("readme_small_augmented"),
        f"reaches {base['mean']:.2f} % instead of {before['mean']:.2f} %",
        f"a standard deviation of {base['sd']:.2f} points instead of {before['sd']:.2f}",
        f"without dropout the accuracy is {none['delta']:.2f} points higher",
        f"points higher, {none['ci_low']:.2f} to {none['ci_high']:.2f}",
        f"by {-wide['delta']:.2f} points, {-wide['ci_high']:.2f} to {-wide['ci_low']:.2f}",
        f"2 layers still beat 8, now by {shallow['delta']:.2f} points",
        f"the CNN still leads, by {cnn['delta']:.2f} points",
        f"on training images is {none['train_accuracy']:.2f} %",
    ]


COMPUTED = {"readme_small": computed_readme_small, "readme_small_augmented": computed_readme_small_augmented}


# The starting point in its own words, and study=readme in those of its file (tests/test_readme_studies.py).
GIVEN = [
    "image 32, patch 4, convolutional patchify, hidden 256, 8 layers, 8 heads, intermediate 512, dropout 0.2",
    "AdamW at 1e-3",
    "76.12 % on validation and 85.06 % on training images",
    "14 arms x 5 seeds x 100 epochs",
    "in 100 epochs, where the remark was made",
    "after epoch 75",
    "8 layers are better",
    "(8 layers)",
    "patch 4 beats patch 8",
    "Patch 4 still beats patch 8",
    "patch 4",
    "seed-0 models",
    "CIFAR-10",
]


def prose(study: str) -> str:
    """A section on one line, without its tables, commands and addresses."""
    text = re.sub(r"```.*?```", "", section(study), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", " ".join(" ".join(lines).split()))


@pytest.mark.parametrize("study", COMPUTED)
def test_page_says_of_a_study_what_its_report_says(study):
    text = prose(study)
    assert [phrase for phrase in COMPUTED[study]() if phrase not in text] == []


@pytest.mark.parametrize("study", COMPUTED)
def test_no_number_in_the_sections_is_unchecked(study):
    text, covered = prose(study), set()
    for phrase in [*COMPUTED[study](), *GIVEN]:  # some overlap, so they are taken away after all were found
        found = [match.span() for match in re.finditer(re.escape(phrase), text)]
        covered |= {place for start, end in found for place in range(start, end)}
    text = "".join(" " if place in covered else letter for place, letter in enumerate(text))
    assert NUMBER.findall(text) == []


@pytest.mark.parametrize("study", COMPUTED)
def test_tables_of_the_sections_are_the_reports_own(study):
    report_lines = (RESULTS / study / "report" / "report.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in section(study).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(tables(study, "claims"))
    assert [line for line in lines if line not in report_lines] == []


EFFECTS = {  # study -> words about an arm in its note -> that arm
    "posemb_table_small": {
        "RoPE above learned positions holds": "pos_embed=rope2d",
        "are above them here": "pos_embed=sincos2d",
    },
    "vit5_small_scale": {
        "Without the norms of queries and keys the accuracy falls by": "qk_norm=false",
        "without RoPE by": "rope=learned",
        "rises by": "layerscale_value=null",
    },
}


@pytest.mark.parametrize("study", EFFECTS)
def test_note_beside_a_small_study_gives_the_reports_effects(study):
    note = " ".join((RESULTS / study / "README.md").read_text(encoding="utf-8").split())
    arms = tables(study, "arms").set_index("arm")
    for words, arm in EFFECTS[study].items():
        low, high = sorted(abs(arms.loc[arm, key]) for key in ("ci_low", "ci_high"))
        number = f"{abs(arms.loc[arm, 'delta']):.2f}"
        text = note[note.index(words) :][: len(words) + 40].replace("+", "").replace(" points", "")
        assert f"{number}, {low:.2f} to {high:.2f})" in text or f"{number} ({low:.2f} to {high:.2f})" in text, words
        assert arms.loc[arm, "verdict"] in ("helps", "hurts")
    undecided = (arms["verdict"] == "undecided").sum()
    assert undecided == len(arms) - 1 - len(EFFECTS[study])


def test_note_gives_the_effect_of_recipe_a():
    note = " ".join((RESULTS / "recipe_small" / "README.md").read_text(encoding="utf-8").split())
    arms = tables("recipe_small", "arms").set_index("arm")
    base, own = arms.loc["baseline"], arms.loc["recipe=vit_lite"]
    cost = f"{-own['delta']:.2f} points"
    interval = f"(interval {own['ci_low']:.2f} to {own['ci_high']:.2f})"
    assert f"{cost} {interval}: {own['mean']:.2f} against {base['mean']:.2f} %" in note
    assert f"{own['train_accuracy']:.2f} %, the starting recipe {base['train_accuracy']:.2f} %" in note
    page = (ROOT / "docs" / "study-files.md").read_text(encoding="utf-8")
    assert f"recipe A loses {cost}" in " ".join(page.split())


@pytest.mark.parametrize("study", COMPUTED)
def test_a_quarter_of_the_parameters_is_a_quarter(study):
    params = tables(study, "arms").set_index("arm")["params"]
    assert params["num_hidden_layers=2"] / params["baseline"] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("study", COMPUTED)
def test_note_beside_a_published_study_gives_the_records_figures(study):
    note = " ".join((RESULTS / study / "README.md").read_text(encoding="utf-8").split())
    arms, runs = tables(study, "arms").set_index("arm"), tables(study, "runs")
    record = records_of(study)[0]
    whole = pd.to_datetime(runs["finished"]).max() - pd.to_datetime(runs["started"]).min()
    speeds = {"baseline": "baseline", "patch_size=8": "patch 8", "num_hidden_layers=2": "2 layers"}
    speeds |= {"dropout=none": "no dropout", "model=resnet": "CNN"}
    for phrase in [
        f"{duration(runs['time_seconds'].sum())} in all for {len(runs)} runs, each on one core",
        f"{duration(whole.total_seconds())} from the first start",
        ", ".join(f"{name} {arms.loc[arm, 'images_per_second']:.0f}" for arm, name in speeds.items()),
        f"commit {record['code']['commit'][:8]}",
        f"torch {record['versions']['torch']}, torchvision {record['versions']['torchvision']}",
        f"fingerprint {record['data_fingerprint'][:8]}",
        f"{record['num_images']['train']:,} to train on, {record['num_images']['val']} to validate",
    ]:
        assert phrase in note


def test_page_of_one_study_four_ways_is_what_its_program_writes():
    program = runpy.run_path(str(RESULTS / "fixed_or_sequential.py"))
    assert (RESULTS / "fixed_or_sequential.md").read_text() == program["page"](str(RESULTS / "small_fixed"))


def test_page_on_study_files_says_what_looks_saved_on_a_real_study():
    rows = [line.split(" | ") for line in (RESULTS / "fixed_or_sequential.md").read_text().splitlines()]
    runs = {
        (row[0].strip("| "), row[1]): (row[2], row[3]) for row in rows if row[0].strip("| ") in ("paired", "pooled")
    }
    (fixed, _), (paired, _), (pooled, _) = (
        runs[key] for key in (("paired", "all 10"), ("paired", "looks 3, 5, 10"), ("pooled", "looks 3, 5, 10"))
    )
    sentence = f"the same verdicts with {paired} runs (paired) or {pooled} (pooled) instead of {fixed}"
    assert sentence in " ".join((ROOT / "docs" / "study-files.md").read_text(encoding="utf-8").split())


def test_example_of_the_page_on_publishing_reads_the_records(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], found)
    counted = dict(zip(found["cells"].tolist(), found["last"].mean(axis=1).tolist(), strict=True))
    assert counted == pytest.approx(found["accuracy"])
    assert len(found["curves"]) == 36 * 10 and len(found["image"]) == 10_000
