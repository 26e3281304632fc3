"""The README's table of results and the index of studies say what the published tables say. Kind: agreement."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in README.partition("<!-- effects -->")[2].partition("<!-- end of effects -->")[0].splitlines()
    if "](docs/results/" in line
]


def table(study: str, name: str) -> list[dict[str, str]]:
    with open(RESULTS / study / "report" / "tables" / f"{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def signed(value: str) -> str:
    return f"{float(value):+.2f}".replace("-", "−")


def effect_of_arm(study: str, arm: str) -> tuple[str, str, str]:
    """Return verdict, effect with its interval, and number of seeds, as the README writes them."""
    (row,) = [row for row in table(study, "arms") if row["arm"] == arm]
    delta, low, high = (signed(row[f"{key}_points"]) for key in ("delta", "ci_low", "ci_high"))
    return row["verdict"], f"{delta} [{low}, {high}]", row["n"]


def effect_of_claim(study: str, claim: str) -> tuple[str, str, str]:
    (row,) = [row for row in table(study, "claims") if row["claim"] == claim]
    found = re.search(r": (\S+ \[.*\]) points, (\d+) seeds", row["evidence"])
    return (row["verdict"], *(found.groups() if found else ("–", "–")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row_of_the_readme_is_what_the_study_found(row):
    text, verdict, effect, seeds, link = row
    study = re.fullmatch(r"\[(\w+)\]\(docs/results/\1/README.md\)", link)[1]
    arm = re.search(r"`(.+)`", text)
    found = effect_of_arm(study, arm[1]) if arm else effect_of_claim(study, text)
    assert (verdict, effect, seeds) == found


def test_readme_has_rows_of_results():
    assert len(ROWS) >= 8


def test_index_names_every_published_study_and_its_number_of_runs():
    index = (RESULTS / "README.md").read_text(encoding="utf-8")
    for plan in RESULTS.glob("*/plan.json"):
        name = plan.parent.name
        runs = len(table(name, "runs"))
        assert re.search(rf"^\| \[{name}\]\({name}/README.md\) \|.*\| {runs} \|$", index, re.MULTILINE), name
