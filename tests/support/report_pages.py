"""A small sweep's report as its readers see it: the page's tags and text, the table of arms."""

import csv
from html.parser import HTMLParser
from pathlib import Path

from vitsweep.analysis.report.report import make_report

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.752]}


class Tags(HTMLParser):
    """Collects every start tag of a page, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page_of(directory: Path, **options) -> Tags:
    return Tags(make_report(directory, **{"gallery": "none"} | options).read_text(encoding="utf-8"))


def arms_csv(directory: Path) -> list[dict]:
    with open(directory / "report/tables/arms.csv", newline="") as stream:
        return list(csv.DictReader(stream))
