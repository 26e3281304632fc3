"""The report in headless Chromium: opens from a file without a console message, sorts, fits a phone, is readable.

Kinds: properties of the page as a browser lays it out. Skipped where there is no Chromium (Debian: apt-get install
chromium).
"""

from pathlib import Path

import pytest
from PIL import Image
from vitsweep.analysis.report.report import make_report
from vitsweep.analysis.style import DARK, LIGHT

from tests.support.browser import Browser, find
from tests.support.make_records import make_cell, make_record, make_sweep

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.skipif(find() is None, reason="no Chromium is installed")]

ARMS = {
    "baseline": [0.80, 0.81, 0.80],
    "patch_size=8": [0.75, 0.755, 0.75],
    "patch_size=8+num_hidden_layers=4": [0.74, 0.75, 0.745],
    "num_hidden_layers=4": [0.79, 0.80, 0.805],
    "a-very-long-name-of-an-arm-that-changes-many-things=yes+and-one-more=no": [0.79, 0.80, 0.79],
}
ORDER = "[...document.querySelectorAll('#table-arms tbody th')].map(e => e.textContent)"
# Text against the nearest background that is not transparent; text of figures lies on the page's paper. The numbers in
# the heat map have colors of their own (test_figures computes those).
FAINT = """(() => {
  const parts = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor);
    if (c[3] > 0) return c; } };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest('script, style, title')) continue;
    const svg = e.closest('svg'), style = getComputedStyle(e);
    if (svg && e.closest('#figure-classes')) continue;
    const ink = light(parts(svg ? style.fill : style.color)), paper = light(behind(svg || e));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) faint.push(e.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  return faint;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A report with every section."""
    claims = [{"claim": "patch 4 beats patch 8", "arm": "baseline", "than": "patch_size=8"}]
    directory = tmp_path_factory.mktemp("sweep with a space")
    sweep = make_sweep(directory, ARMS, images=500, plan={"claims": claims})
    error = {"type": "RuntimeError", "message": "out of memory", "traceback": "Traceback (most recent call last):"}
    make_cell(sweep, make_record("num_hidden_layers=4", 2, None, status="failed", metrics={}, error=error))
    return make_report(sweep, gallery="none")


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A report with effects of two digits, a verdict in a long word and names without a place to break."""
    far = [0.30, 0.55, 0.80]
    arms = {"baseline": [0.80, 0.81, 0.80], "num_hidden_layers=1": far, "depthwise-separable=convolution": far[::-1]}
    return make_report(make_sweep(tmp_path_factory.mktemp("wide"), arms), gallery="none")


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


def test_page_opens_without_a_message_on_the_console(browser, page):
    browser.open(page)
    assert browser.messages == []
    assert browser.run("document.title") == "Ablation study: study"


def test_script_is_allowed_by_the_pages_own_policy(browser, page):
    browser.open(page)
    assert browser.run("document.querySelectorAll('th button').length") > 10


def test_table_sorts_by_mouse_both_ways_and_says_so(browser, page):
    browser.open(page)
    planned = browser.run(ORDER)
    browser.click("#table-arms th:nth-child(4) button")
    rising = browser.run(ORDER)
    assert rising == ["patch_size=8+num_hidden_layers=4", "patch_size=8", planned[4], planned[3], "baseline"]
    assert browser.run("document.getElementById('sorted').textContent") == "Sorted by test accuracy, %, ascending."
    browser.click("#table-arms th:nth-child(4) button")
    assert browser.run(ORDER) == rising[::-1]


def test_table_sorts_by_keyboard(browser, page):
    browser.open(page)
    browser.run("document.querySelector('#table-arms th:nth-child(4) button').focus()")
    browser.press("Enter")
    assert browser.run(ORDER)[-1] == "baseline"
    browser.press(" ")
    assert browser.run(ORDER)[0] == "baseline"


def test_only_the_sorted_column_has_a_sort_state(browser, page):
    browser.open(page)
    browser.click("#table-arms th:nth-child(3) button")
    browser.click("#table-arms th:nth-child(4) button")
    states = browser.run("[...document.querySelectorAll('#table-arms th')].map(e => e.getAttribute('aria-sort'))")
    assert [state for state in states if state] == ["ascending"] and states[3] == "ascending"


def test_missing_values_stay_last_in_both_directions(browser, page):
    browser.open(page)
    for _ in range(2):
        browser.click("#table-arms th:nth-child(5) button")
        assert browser.run(ORDER)[-1] == "baseline"


def test_first_tab_stop_skips_to_the_findings(browser, page):
    browser.open(page)
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the findings"


@pytest.mark.parametrize("width", [375, 768, 1440])
def test_page_never_scrolls_sideways(browser, page, width):
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_first_table_has_room_for_effects_of_two_digits(browser, wide, width):
    browser.open(wide, width=width)
    room = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('#table-arms').closest('.scroll'))"
    assert browser.run(room) <= 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_a_contrast_of_four_and_a_half(browser, page, dark):
    browser.open(page, dark=dark)
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert browser.run(FAINT) == []


def test_button_switches_the_theme_of_page_and_figures(browser, page):
    browser.open(page)
    colors = "[document.body, document.querySelector('svg text')].map(e => getComputedStyle(e))"
    look = f"{colors}.map(s => s.backgroundColor + s.fill)"
    before = browser.run(look)
    browser.click("#theme")
    assert all(old != new for old, new in zip(before, browser.run(look), strict=True))
    browser.click("#theme")
    assert browser.run(look) == before


def test_page_is_complete_without_script(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        assert len(browser.run(ORDER)) == len(ARMS)
        assert browser.run("document.getElementById('theme').hidden") is True
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_printed_page_is_light(browser, page):
    browser.open(page, dark=True)
    browser.run("document.documentElement.setAttribute('data-theme', 'dark')")
    browser.call("Emulation.setEmulatedMedia", media="print")
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    contents = browser.run("document.querySelector('nav').offsetHeight")
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert paper == "rgb(255, 255, 255)" and contents == 0


@pytest.mark.parametrize("dark", [False, True])
def test_svg_file_as_a_picture_follows_the_readers_scheme(browser, page, tmp_path, dark):
    document = tmp_path / "picture.html"
    source = (page.parent / "figures" / "effects.svg").as_uri()
    document.write_text(f'<meta name="color-scheme" content="light dark"><img src="{source}" style="display: block">')
    browser.open(document, dark=dark)
    browser.picture(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as shown:
        colors = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in shown.convert("RGB").getcolors(1 << 20)}
    here, other = (DARK, LIGHT) if dark else (LIGHT, DARK)
    assert {here["paper"], here["rope"], here["bad"]} <= colors and not {other["rope"], other["bad"]} & colors


def test_published_page_shows_the_image_sheets_beside_it(browser):
    browser.open(ROOT / "docs" / "results" / "readme_small" / "report" / "index.html")
    widths = browser.run("[...document.querySelectorAll('figure img')].map(image => image.naturalWidth)")
    assert len(widths) == 3 and min(widths) > 1000
    assert browser.messages == []
