"""The report of a sweep directory: files that agree with the records, the same bytes twice, no network.

Kinds: determinism (bytes), properties (one row an arm, nothing remote), refusals (odd directories).
"""

import csv
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.report import make_report
from tests.make_records import make_cell, make_record, make_sweep

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.752]}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """A finished two-arm sweep with its report."""
    directory = make_sweep(tmp_path_factory.mktemp("sweep"), ARMS)
    make_report(directory, gallery="none")
    return directory


class Tags(HTMLParser):
    """Collects every start tag of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def page_of(directory: Path, **options) -> str:
    return make_report(directory, gallery="none", **options).read_text()


def arms_csv(directory: Path) -> list[dict]:
    with open(directory / "report/tables/arms.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_report_writes_every_file_of_the_contract(sweep):
    found = {p.relative_to(sweep / "report").as_posix() for p in (sweep / "report").rglob("*") if p.is_file()}
    wanted = {"index.html", "report.md", "tables/arms.csv", "tables/arms.tex", "figures/curves.svg"}
    assert wanted | {"figures/curves-dark.png", "figures/curves-apart.png"} <= found


def test_arms_csv_has_one_row_an_arm_and_the_agreed_columns(sweep):
    rows = arms_csv(sweep)
    assert [row["arm"] for row in rows] == ["baseline", "patch_size=8"]
    agreed = "arm,n,mean,sd,delta,ci_low,ci_high,p,p_holm,p_signflip,verdict,seeds_needed,params".split(",")
    assert list(rows[0])[: len(agreed)] == agreed
    assert rows[0]["verdict"] == "baseline" and rows[0]["delta"] == ""


def test_arms_csv_is_in_percent_points(sweep):
    row = arms_csv(sweep)[1]
    assert float(row["mean"]) == pytest.approx(75.2333333333)
    assert float(row["delta"]) == pytest.approx(-5.1)


def test_report_gives_the_same_bytes_twice(sweep, tmp_path):
    again = make_report(sweep, out=tmp_path / "again", gallery="none").parent
    first = sweep / "report"
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert [f for f in files if (first / f).read_bytes() != (again / f).read_bytes()] == []


def test_page_names_no_address_but_the_svg_name_space(sweep):
    text = (sweep / "report/index.html").read_text()
    assert set(re.findall(r"https?://[^\"' <)]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_page_loads_nothing_and_its_policy_forbids_it(sweep):
    tags = Tags((sweep / "report/index.html").read_text()).tags
    sources = [
        v for _, attrs in tags for k, v in attrs.items() if k in ("src", "srcset") or (k == "href" and v[0] != "#")
    ]
    assert [s for s in sources if not s.startswith("data:")] == []
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_every_id_on_the_page_is_used_once(sweep):
    ids = [attrs["id"] for _, attrs in Tags((sweep / "report/index.html").read_text()).tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_report_of_a_single_cell_directory(tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    assert "The only arm is baseline: 80.00 % test accuracy (one seed)." in page_of(cell)


def test_gallery_that_breaks_costs_one_sentence_only(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "analysis.gallery", None)
    directory = make_sweep(tmp_path, ARMS)
    text = make_report(directory).read_text()
    assert text.count("The rollout gallery could not be made") == 1
    assert len(arms_csv(directory)) == 2


def test_report_without_gallery_imports_no_torch(sweep, tmp_path):
    code = (
        "import sys; from analysis.__main__ import main;"
        f"assert main(['report', {str(sweep)!r}, '--gallery', 'none', '--out', {str(tmp_path)!r}]) == 0;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_missing_directory_is_refused_in_one_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is not a directory; give a sweep's or a cell's directory" in capsys.readouterr().err
