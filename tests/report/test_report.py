"""The report of a sweep directory: files that agree with the records, the same bytes twice, no network, odd input.

Kinds: determinism (bytes), properties (one row an arm, nothing remote, escaping), what odd folders make it say.
"""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from vitsweep.analysis.__main__ import main
from vitsweep.analysis.callback import ReportAtTheEnd
from vitsweep.analysis.report import report
from vitsweep.analysis.report.report import make_report

from tests.support.make_records import make_cell, make_plan, make_record, make_sweep
from vitsweep.files import write_json

ARMS = {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755, 0.752]}
NASTY = "<script>alert(1)</script>|50%"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """A finished two-arm sweep with its report, figures drawn."""
    directory = make_sweep(tmp_path_factory.mktemp("sweep"), ARMS, images=200)
    make_report(directory, gallery="none")
    return directory


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are not drawn: tests of words and tables need none, and drawing takes most of the time."""
    monkeypatch.setattr(report, "save_figure", lambda figure, folder: "<svg></svg>")


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


def test_report_writes_every_file_of_the_contract(sweep):
    found = {p.relative_to(sweep / "report").as_posix() for p in (sweep / "report").rglob("*") if p.is_file()}
    wanted = {"index.html", "report.md", "results.json", "tables/arms.csv", "tables/arms.tex", "figures/curves.svg"}
    assert wanted | {"figures/curves-dark.png", "figures/curves-apart.png", "figures/effects.csv"} <= found


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


def test_report_of_a_copied_sweep_has_the_same_bytes(undrawn, tmp_path):
    one, other = (make_sweep(tmp_path / name, ARMS) for name in ("one", "other place"))
    pages = [make_report(d, gallery="none") for d in (one, other)]
    for name in ("index.html", "report.md", "results.json"):
        assert pages[0].with_name(name).read_bytes() == pages[1].with_name(name).read_bytes()


def test_page_names_no_address_but_the_svg_name_space(sweep):
    text = (sweep / "report/index.html").read_text(encoding="utf-8")
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"' <)]*", text)) <= names


def test_page_loads_nothing_and_its_policy_forbids_it(sweep):
    tags = Tags((sweep / "report/index.html").read_text(encoding="utf-8")).tags
    sources = [v for _, a in tags for k, v in a.items() if k in ("src", "srcset") or (k == "href" and v[0] != "#")]
    assert [s for s in sources if not s.startswith("data:")] == []
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_every_id_on_the_page_is_used_once_and_every_reference_exists(sweep):
    tags = Tags((sweep / "report/index.html").read_text(encoding="utf-8")).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = {a[k] for _, a in tags for k in ("aria-labelledby",) if k in a}
    assert named | {a["href"][1:] for t, a in tags if t == "a"} <= set(ids)


def test_headings_do_not_skip_a_level(sweep):
    tags = Tags((sweep / "report/index.html").read_text(encoding="utf-8")).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))


def test_every_table_has_a_caption_and_every_picture_a_text(sweep):
    tags = Tags((sweep / "report/index.html").read_text(encoding="utf-8")).tags
    names = [tag for tag, _ in tags]
    assert names.count("table") == names.count("caption")
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for t, a in tags if t == "svg")


def test_markdown_shows_pictures_that_lie_beside_it(sweep):
    text = (sweep / "report/report.md").read_text(encoding="utf-8")
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert pictures and all((sweep / "report" / name).is_file() for name in pictures)


def test_results_carry_the_runs_of_every_arm(sweep):
    results = json.loads((sweep / "report/results.json").read_text())
    assert results["arms"][1]["runs"] == [1, 2, 3, 4, 5, 6]
    assert results["runs"]["4"].startswith("patch_size=8-") and len(results["inputs"]) == 6


def test_tables_on_the_page_cite_their_runs(sweep):
    assert re.search(r'<td data-sort="4-6">4-6</td>', (sweep / "report/index.html").read_text(encoding="utf-8"))


def test_report_of_a_single_cell_directory(undrawn, tmp_path):
    cell = make_cell(tmp_path, make_record("baseline", 0, 0.8))
    text = page_of(cell).text
    assert "The baseline reaches a test accuracy of 80.00 % (one seed)." in text
    assert "baseline is the only arm, so there is nothing to compare it with." in text


def test_gallery_that_breaks_costs_one_sentence_only(undrawn, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vitsweep.analysis.gallery.gallery", None)
    directory = make_sweep(tmp_path, ARMS)
    assert page_of(directory, gallery="make").text.count("The rollout gallery could not be made") == 1
    assert len(arms_csv(directory)) == 2


def test_kept_gallery_shows_the_last_reports_pictures(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    figures = directory / "report/figures"
    figures.mkdir(parents=True)
    (figures / "rollout.png").write_bytes(b"pixels")
    (figures / "rollout.csv").write_text("arm,entropy\nbaseline,1.5\n")
    gallery = {"panels": [{"name": "rollout", "caption": "The caption", "alt": "A picture"}], "notes": ["One note."]}
    (directory / "report/gallery.json").write_text(json.dumps(gallery))
    page = page_of(directory, gallery="keep")
    assert "The caption" in page.text and "One note." in page.text
    assert any(a.get("alt") == "A picture" for t, a in page.tags if t == "img")
    assert (figures / "rollout.png").read_bytes() == b"pixels"


def test_pictures_are_shown_at_half_their_pixels(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    figures = directory / "report/figures"
    figures.mkdir(parents=True)
    (figures / "rollout.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + bytes(20))
    (figures / "rollout.csv").write_text("arm\nbaseline\n")
    gallery = {"panels": [{"name": "rollout", "caption": "C", "alt": "A picture"}], "notes": []}
    (directory / "report/gallery.json").write_text(json.dumps(gallery))
    assert [a["width"] for t, a in page_of(directory, gallery="keep").tags if t == "img"] == ["320"]


def test_report_without_gallery_imports_neither_torch_nor_a_notebooks_backend(tmp_path):
    directory = make_sweep(tmp_path, {"baseline": [0.8, 0.81]}, epochs=2)
    code = (
        "import sys; from vitsweep.analysis.__main__ import main;"
        f"assert main(['report', {str(directory)!r}, '--gallery', 'none']) == 0;"
        "heavy = {'torch', 'matplotlib.pyplot'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = os.environ | {"MPLBACKEND": "module://of_a_notebook.backend_inline"}  # which is not installed here
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    assert (directory / "report/figures/curves.png").exists()


def test_missing_directory_is_refused_in_one_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is not a directory; give a sweep's or a cell's directory" in capsys.readouterr().err


def test_unknown_metric_is_refused_with_what_is_allowed(tmp_path, capsys):
    make_sweep(tmp_path, ARMS)
    assert main(["report", str(tmp_path), "--gallery", "none", "--metric", "test/f1"]) == 2
    assert "--metric=test/f1  is unknown; allowed: train/loss, " in capsys.readouterr().err


def test_another_metric_is_judged_in_its_own_unit_and_direction(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    page_of(directory, metric="test/loss")
    row = arms_csv(directory)[1]
    assert float(row["delta"]) == pytest.approx(2.3 * 0.051)
    assert row["verdict"] == "hurts"


def test_arms_can_be_sorted_by_effect(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS | {"patch_size=2": [0.83, 0.84, 0.82]})
    page_of(directory, sort="effect")
    assert [row["arm"] for row in arms_csv(directory)] == ["baseline", "patch_size=2", "patch_size=8"]


def test_stale_files_of_an_earlier_report_are_removed(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS, images=50)
    page_of(directory)
    assert (directory / "report/tables/images.csv").exists()
    for path in directory.glob("*/*/predictions.npz"):
        path.unlink()
    page_of(directory)
    assert not (directory / "report/tables/images.csv").exists()


def test_report_removes_and_overwrites_only_files_that_a_report_wrote(undrawn, tmp_path, capsys):
    directory, paper = make_sweep(tmp_path / "sweep", ARMS), tmp_path / "paper"
    (paper / "figures").mkdir(parents=True)
    (paper / "figures/own.pdf").write_text("mine")
    for _ in range(2):
        page_of(directory, out=paper)
    assert (paper / "figures/own.pdf").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    assert main(["report", str(directory), "--gallery", "none", "--out", str(other)]) == 2
    assert "index.html  was not written by a report; choose another folder" in capsys.readouterr().err
    assert [p.name for p in other.iterdir()] == ["index.html"] and (other / "index.html").read_text() == "mine"


def at_the_end(directory: Path) -> None:
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}}))


@pytest.fixture
def current(undrawn, tmp_path, monkeypatch) -> Path:
    """A sweep with a report at its end, in an environment without a gallery."""
    monkeypatch.setitem(sys.modules, "vitsweep.analysis.gallery.gallery", None)
    directory = make_sweep(tmp_path, ARMS, epochs=1)
    at_the_end(directory)
    return directory


def test_report_at_the_end_is_current_until_a_record_changes_whatever_the_clock_says(current):
    page, record = current / "report/index.html", next(current.glob("patch*/seed=0/record.json"))
    before = page.stat().st_mtime_ns
    at_the_end(current)
    assert page.stat().st_mtime_ns == before
    values = json.loads(record.read_text())
    values["metrics"]["final"]["test/accuracy"] = 0.123
    write_json(record, values)
    os.utime(record, (0, 0))
    at_the_end(current)
    assert "| 12.30 |" in (current / "report/report.md").read_text()


@pytest.mark.parametrize("name", ["report.md", "tables/arms.csv", "files.json"])
def test_torn_report_is_made_again(current, name):
    path = current / "report" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    at_the_end(current)
    assert path.read_bytes() == whole


def test_report_that_cannot_be_written_leaves_the_old_one(current, monkeypatch):
    def fail(*arguments):
        raise OSError("no space left")

    before = {p: p.read_bytes() for p in current.rglob("*") if p.is_file()}
    monkeypatch.setattr(report, "to_html", fail)
    with pytest.raises(OSError, match="no space left"):
        make_report(current, gallery="none")
    assert before == {p: p.read_bytes() for p in current.rglob("*") if p.is_file()}


# Odd folders: each gives a sentence and never a wrong table.


def test_nasty_arm_names_are_text_everywhere(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS | {NASTY: [0.7, 0.71, 0.70]}, plan=None)
    page = page_of(directory)
    assert [t for t, _ in page.tags].count("script") == 1 and NASTY in page.text
    assert NASTY in [row["arm"] for row in arms_csv(directory)]
    rows = [r for r in (directory / "report/report.md").read_text().splitlines() if r.startswith("| &lt;script")]
    assert rows and all(r"\|50%" in row for row in rows)
    assert r"\textless{}script\textgreater{}alert(1)" in (directory / "report/tables/arms.tex").read_text()


def test_empty_folder(undrawn, tmp_path):
    assert "No cell with a readable record was found." in page_of(tmp_path).text
    assert arms_csv(tmp_path) == []


def test_folder_in_which_all_cells_failed(undrawn, tmp_path):
    error = {"type": "RuntimeError", "message": "out of memory <b>", "traceback": "Traceback: line 1"}
    for arm in ("baseline", "patch_size=8"):
        make_cell(tmp_path, make_record(arm, 0, None, status="failed", metrics={}, error=error), epochs=0)
    text = page_of(tmp_path).text
    assert "The baseline has no finished run with a test accuracy, so no arm can be judged." in text
    assert text.count("RuntimeError: out of memory <b>") == 2 and text.count("Traceback: line 1") == 2
    assert [row["verdict"] for row in arms_csv(tmp_path)] == ["baseline", "missing"]


def test_unequal_seeds_are_compared_on_shared_ones_and_named(undrawn, tmp_path):
    directory = make_sweep(tmp_path, {"baseline": [0.80, 0.81, 0.80], "patch_size=8": [0.75, 0.755]})
    text = page_of(directory).text
    assert "patch_size=8 is compared on seeds 0-1; seeds without a pair: 2." in text
    row = arms_csv(directory)[1]
    assert (row["n"], row["pairs"]) == ("2", "2") and float(row["delta"]) == pytest.approx(-5.25)


def test_null_metrics_are_not_counted_and_named(undrawn, tmp_path):
    directory = make_sweep(tmp_path, {"baseline": [0.80, 0.81], "patch_size=8": [0.75, None]})
    assert "Finished without a test accuracy, so not counted: patch_size=8-" in page_of(directory).text
    assert arms_csv(directory)[1]["verdict"] == "single"


def test_record_of_a_newer_schema_is_named(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS, plan=None)
    path = next(directory.glob("patch*/seed=2/record.json"))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    assert "has schema=2, this version reads 1" in page_of(directory).text
    assert arms_csv(directory)[1]["n"] == "2"


def test_record_of_a_newer_schema_is_counted_once(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    path = next(directory.glob("patch*/seed=2/record.json"))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    text = page_of(directory).text
    assert "has schema=2, this version reads 1" in text and "5 of 6 runs finished (1 unreadable)" in text
    assert "not started" not in text and "Interim" not in text


def test_failed_arms_count_in_the_family(undrawn, tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    before = float((page_of(tmp_path), arms_csv(tmp_path)[1])[1]["p_holm"])
    make_cell(tmp_path, make_record("dropout=none", 0, None, status="failed", metrics={}), epochs=0)
    page_of(tmp_path)
    after = {row["arm"]: row for row in arms_csv(tmp_path)}
    assert float(after["patch_size=8"]["p_holm"]) == pytest.approx(2 * before)
    assert after["dropout=none"]["verdict"] == "missing" and after["dropout=none"]["p_holm"] == ""


def test_planned_arms_count_in_the_family_before_they_start(undrawn, tmp_path):
    make_sweep(tmp_path, ARMS, plan=None)
    before = float((page_of(tmp_path), arms_csv(tmp_path)[1])[1]["p_holm"])
    records = [make_record(arm, s, a) for arm, v in ARMS.items() for s, a in enumerate(v)]
    later = make_record("dropout=none", 0, None, status="planned", metrics={})
    write_json(tmp_path / "plan.json", make_plan([*records, dataclasses.replace(later)]))
    page_of(tmp_path)
    assert float(arms_csv(tmp_path)[1]["p_holm"]) == pytest.approx(2 * before)


def test_claims_stand_on_the_page_with_their_verdicts(undrawn, tmp_path):
    claims = [
        {"claim": "patch 4 beats patch 8", "arm": "baseline", "than": "patch_size=8"},
        {"claim": "a CNN does better", "testable": False, "why": "no arm is a CNN"},
    ]
    directory = make_sweep(tmp_path, ARMS | {"dropout=none": [0.8, 0.8, 0.81]}, plan={"claims": claims})
    text = page_of(directory).text
    assert "patch 4 beats patch 8" in text and "Not testable: no arm is a CNN." in text
    assert [row["family"] for row in arms_csv(directory)] == ["", "claims", "exploratory"]


def test_claim_changed_after_the_start_is_shown(undrawn, tmp_path):
    plan = {"claims": [{"claim": "x", "arm": "patch_size=8"}], "claims_hash": "new"}
    text = page_of(make_sweep(tmp_path, ARMS, plan=plan)).text
    assert "Claims marked as changed were not what they are now when the first cell started." in text


def test_validation_on_test_images_is_marked(undrawn, tmp_path):
    record = make_record("baseline", 0, 0.8)
    record.config["data"]["val"] = "test"
    make_cell(tmp_path, record)
    text = page_of(tmp_path).text
    assert "the test images (data.val=test, published practice)" in text
    assert "used only after training" not in text


def test_mixed_machines_and_commits_are_named(undrawn, tmp_path):
    make_cell(tmp_path, make_record("baseline", 0, 0.8))
    make_cell(tmp_path, make_record("baseline", 1, 0.8, device="H100", code={"commit": "ffff0000", "dirty": True}))
    text = page_of(tmp_path).text
    assert "The runs differ in device: H100, cpu." in text
    assert "The runs come from 2 commits: 1a2b3c4d, ffff0000." in text
    assert "Some runs come from a checkout with uncommitted changes." in text


def test_callback_writes_the_report_of_the_sweep_directory(undrawn, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vitsweep.analysis.gallery.gallery", None)
    directory = make_sweep(tmp_path, ARMS, epochs=1)
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}}))
    assert (directory / "report/index.html").exists()


def test_callback_survives_a_report_that_fails_and_names_the_command(tmp_path, caplog, monkeypatch):
    def fail(directory):
        raise OSError("no space left")

    monkeypatch.setattr(report, "make_report", fail)
    directory = make_sweep(tmp_path, ARMS, epochs=1)
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}}))
    assert f"No report (OSError: no space left). Try: python -m vitsweep.analysis report {directory}" in caplog.text


def test_callback_writes_no_report_of_a_dry_run(tmp_path):
    ReportAtTheEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert not (tmp_path / "report").exists()


def test_file_in_place_of_the_report_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    def refuse(options) -> int:
        raise NotADirectoryError(20, "Not a directory", "/study/report/figures")

    options = SimpleNamespace(run=refuse)
    monkeypatch.setattr(
        "vitsweep.analysis.__main__.parser", lambda with_gallery: SimpleNamespace(parse_args=lambda words: options)
    )
    assert main(["report", str(tmp_path)]) == 2
    assert "/study/report/figures  Not a directory; check that path" in capsys.readouterr().err
