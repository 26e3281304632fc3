"""The picture of the rooms shows the imports of today."""

import csv
import runpy
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "architecture"


def test_picture_shows_todays_imports():
    drawn = runpy.run_path(str(FOLDER / "draw.py"))
    with open(FOLDER / "rooms.csv", newline="", encoding="utf-8") as stream:
        rows = [tuple(row) for row in csv.reader(stream)][1:]
    assert rows == drawn["edges"](), "run: python docs/architecture/draw.py"
    assert (FOLDER / "rooms.svg").is_file() and (FOLDER / "rooms.png").is_file()
