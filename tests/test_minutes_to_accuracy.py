"""The page's minutes to accuracy are those of the published records (agreement)."""

from pathlib import Path
from statistics import fmean

from vitsweep.study.record import read_runs

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "docs" / "results" / "minutes_to_accuracy"
PAGE = " ".join((ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split())
RUNS = sorted(read_runs(STUDY)[0].values(), key=lambda run: run["record"]["seed"])


def rows() -> list[str]:
    """Return the page's table: epoch, images, minutes of each seed, accuracy on training and validation images."""
    found = []
    for epoch in range(len(RUNS[0]["epochs"])):
        own = [run["epochs"][epoch] for run in RUNS]
        seconds = [sum(row["time_seconds"] for row in run["epochs"][: epoch + 1]) for run in RUNS]
        train, val = ([100 * row[f"{split}/accuracy"] for row in own] for split in ("train", "val"))
        images = (epoch + 1) * RUNS[0]["record"]["num_images"]["train"]
        minutes = ", ".join(f"{one / 60:.1f}" for one in seconds)
        span = f"{min(val):.1f} to {max(val):.1f}"
        found.append(f"| {epoch + 1} | {images:,} | {minutes} | {fmean(train):.1f} | {fmean(val):.1f} ({span}) |")
    return found


def test_table_is_computed_from_the_epochs():
    assert [row for row in rows() if row not in PAGE] == []


def test_sentence_gives_the_test_accuracy_of_each_seed():
    final = [100 * run["record"]["metrics"]["final"]["test/accuracy"] for run in RUNS]
    assert f"{', '.join(f'{one:.2f}' for one in final[:-1])} and {final[-1]:.2f} % of the 10,000 test images" in PAGE


def test_sentence_gives_the_range_of_speeds():
    speeds = [row["images_per_second"] for run in RUNS for row in run["epochs"]]
    assert f"from {min(speeds):.0f} to {max(speeds):.0f} images/s" in PAGE
