"""The page and its Markdown: nothing remote, valid references, captions, pictures, names as text.

Kinds: properties, refusals of what a name might smuggle in.
"""

import json
import re

import pandas as pd
from vitsweep.analysis.report.report import make_report

from tests.support.make_records import make_sweep
from tests.support.report_pages import ARMS, Tags, arms_csv, page_of

NASTY = "<script>alert(1)</script>|50%"


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


def test_tables_on_the_page_cite_their_runs(sweep):
    assert re.search(r'<td class="more">4-6</td>', (sweep / "report/index.html").read_text(encoding="utf-8"))


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


def test_table_of_test_images_shows_those_that_it_names(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS, images=200)
    make_report(directory, gallery="none")
    shown = pd.read_csv(directory / "report/tables/images.csv")["lost_ids"][0].split()[0]
    gallery = {"panels": [], "notes": [], "thumbnails": {shown: "a-b_"}}
    (directory / "report/gallery.json").write_text(json.dumps(gallery))
    sources = [a["src"] for t, a in page_of(directory, gallery="keep").tags if t == "img"]
    assert sources == ["data:image/webp;base64,a+b/"]
    assert json.loads((directory / "report/gallery.json").read_text())["thumbnails"] == {shown: "a-b_"}


def test_pictures_are_shown_at_half_their_pixels(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS)
    figures = directory / "report/figures"
    figures.mkdir(parents=True)
    (figures / "rollout.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + bytes(20))
    (figures / "rollout.csv").write_text("arm\nbaseline\n")
    gallery = {"panels": [{"name": "rollout", "caption": "C", "alt": "A picture"}], "notes": []}
    (directory / "report/gallery.json").write_text(json.dumps(gallery))
    assert [a["width"] for t, a in page_of(directory, gallery="keep").tags if t == "img"] == ["320"]


def test_nasty_arm_names_are_text_everywhere(undrawn, tmp_path):
    directory = make_sweep(tmp_path, ARMS | {NASTY: [0.7, 0.71, 0.70]}, plan=None)
    page = page_of(directory)
    assert [t for t, _ in page.tags].count("script") == 1 and NASTY in page.text
    assert NASTY in [row["arm"] for row in arms_csv(directory)]
    rows = [r for r in (directory / "report/report.md").read_text().splitlines() if r.startswith("| &lt;script")]
    assert rows and all(r"\|50%" in row for row in rows)
    paper = (directory / "report/tables/paper.tex").read_text().replace(r"\allowbreak{}", "")
    assert r"\textless{}script\textgreater{}alert(1)" in paper
