"""The page's minutes to accuracy are those of the published records (agreement)."""

from pathlib import Path
from statistics import fmean

from vitsweep.study.record import read_rows, read_runs

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "docs" / "results" / "minutes_to_accuracy"
PAGE, FRONT = (" ".join((ROOT / name).read_text(encoding="utf-8").split()) for name in ("docs/recipes.md", "README.md"))
CELLS = sorted(read_runs(STUDY)[0])
RECORDS = [read_runs(STUDY)[0][cell]["record"] for cell in CELLS]
EPOCHS = [read_rows(STUDY / cell) for cell in CELLS]


def lines() -> list[str]:
    """Return the page's table: epoch, images, minutes of each seed, accuracy on training and validation images."""
    found = []
    for epoch, rows in enumerate(zip(*EPOCHS, strict=True), start=1):
        minutes = [sum(row["time_seconds"] for row in own[:epoch]) / 60 for own in EPOCHS]
        train, val = ([100 * row[f"{split}/accuracy"] for row in rows] for split in ("train", "val"))
        span = f"{fmean(val):.1f} ({min(val):.1f} to {max(val):.1f})"
        images = epoch * RECORDS[0]["num_images"]["train"]
        found.append(
            f"| {epoch} | {images:,} | {', '.join(f'{m:.1f}' for m in minutes)} | {fmean(train):.1f} | {span} |"
        )
    return found


def test_table_is_computed_from_the_epochs():
    assert [line for line in lines() if line not in PAGE] == []


def test_sentence_gives_the_test_accuracy_of_each_seed():
    *first, last = [f"{100 * record['metrics']['final']['test/accuracy']:.2f}" for record in RECORDS]
    assert f"{', '.join(first)} and {last} % of the 10,000 test images" in PAGE


def test_sentence_gives_the_range_of_speeds():
    speeds = [row["images_per_second"] for rows in EPOCHS for row in rows]
    assert f"from {min(speeds):.0f} to {max(speeds):.0f} images/s" in PAGE


def test_caption_of_the_front_pages_picture_is_about_seed_0():
    accuracy = 100 * RECORDS[0]["metrics"]["final"]["test/accuracy"]
    minutes = sum(row["time_seconds"] for row in EPOCHS[0]) / 60
    assert f"{accuracy:.1f} % of the test images right, {minutes:.0f} minutes on one busy core" in FRONT
