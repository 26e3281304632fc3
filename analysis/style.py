"""Style of all figures: one rc context per theme, and for each arm a color, line style and marker.

Colors differ in hue and in lightness (readable in gray, and with any color blindness, together with line
style and marker) and have a contrast of at least 3:1 to their background, text 4.5:1; a test computes it. A
figure is drawn in the light theme; `with_css_variables` lets an SVG inside a page follow the page's theme,
`with_both_themes` an SVG file the reader's. Every role has its own hex value for that reason.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import matplotlib

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1a1d21",
    "soft": "#57606a",
    "grid": "#dde1e6",
    "rope": "#eef1f4",
    "good": "#00683f",
    "bad": "#b32400",
    "s0": "#1a1d22",
    "s1": "#005ea8",
    "s2": "#d95f02",
    "s3": "#007a53",
    "s4": "#c9538f",
    "s5": "#6d4c00",
    "s6": "#2f93d0",
    "s7": "#5d2e8c",
    "s8": "#7d7d7d",
}
DARK = {
    "paper": "#15181d",
    "ink": "#e6e8eb",
    "soft": "#a7b0ba",
    "grid": "#323841",
    "rope": "#20252c",
    "good": "#4cc38a",
    "bad": "#ff8a65",
    "s0": "#e6e8ec",
    "s1": "#56b4e9",
    "s2": "#f0873c",
    "s3": "#2fc79a",
    "s4": "#f2a1cb",
    "s5": "#e6c229",
    "s6": "#b9dcf7",
    "s7": "#b58ae8",
    "s8": "#8d949c",
}
FIXED_DARK = "#010203"
FIXED_LIGHT = "#fdfdfc"
"""Color of text on colored cells, the same in both themes, so not one of the roles."""
DIVERGING = matplotlib.colormaps["RdBu"]
THEMES = {"light": LIGHT, "dark": DARK}
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
NUM_COLORS = 8


@contextlib.contextmanager
def theme(name: str = "light") -> Iterator[dict[str, str]]:
    """Apply a theme's rc settings inside the context; yield its colors by role."""
    color = THEMES[name]
    settings: dict[str, Any] = {
        "figure.facecolor": color["paper"],
        "savefig.facecolor": color["paper"],
        "axes.facecolor": color["paper"],
        "axes.edgecolor": color["soft"],
        "axes.labelcolor": color["ink"],
        "axes.titlecolor": color["ink"],
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": color["grid"],
        "grid.linewidth": 0.7,
        "text.color": color["ink"],
        "xtick.color": color["soft"],
        "ytick.color": color["soft"],
        "xtick.labelcolor": color["ink"],
        "ytick.labelcolor": color["ink"],
        "font.family": "DejaVu Sans",
        # Hinted letters are narrower than a browser's, which would cut labels at the edge of a figure.
        "text.hinting": "none",
        "font.size": 9,
        "legend.frameon": False,
        "legend.labelcolor": color["ink"],
        "lines.linewidth": 1.6,
        # Text stays text in the SVG (searchable, small); a fixed salt makes its ids the same in every run.
        "svg.fonttype": "none",
        "svg.hashsalt": "vitsweep",
        "savefig.dpi": 110,
        # Arm names are the user's: a dollar sign must not start mathematics.
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]  # the stub wants the literal of each key
        yield color


def arm_styles(arms: list[str], baseline: str, color: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Map each arm to keyword arguments of `Axes.plot`; the baseline is ink, the others cycle through the colors.

    Args:
        arms: all arms of the study in one order, so that an arm looks the same in every figure; those that are drawn
            first, so that no two of them look the same.
    """
    others = [arm for arm in arms if arm != baseline]
    styles: dict[str, dict[str, Any]] = {arm: numbered_style(number, color) for number, arm in enumerate(others)}
    styles[baseline] = {"color": color["s0"], "linestyle": "-", "marker": "o"}
    return styles


def numbered_style(number: int, color: dict[str, str]) -> dict[str, Any]:
    """Return keyword arguments of `Axes.plot`: no two of the first 32 numbers share color and line, or color and marker
    of the first 64.
    """
    turn = number + number // NUM_COLORS
    return {
        "color": color[f"s{number % NUM_COLORS + 1}"],
        "linestyle": LINES[turn % len(LINES)],
        "marker": MARKERS[turn % len(MARKERS)],
    }


def with_css_variables(svg: str) -> str:
    """Return the SVG of a light figure with `var(--role, light)` in place of each color."""
    for role, light in LIGHT.items():
        svg = svg.replace(light, f"var(--{role}, {light})")
    return svg


def with_both_themes(svg: str) -> str:
    """Return the SVG of a light figure with a style sheet that replaces its colors where the reader's scheme is dark.

    The elements keep the light colors, which programs without media queries (Inkscape, LaTeX) show.
    """
    rules = [
        f'[style*="{name}: {light}"]{{{name}: {DARK[role]} !important}}'
        for role, light in LIGHT.items()
        for name in ("fill", "stroke")
        if f"{name}: {light}" in svg
    ]
    sheet = "\n".join(["@media (prefers-color-scheme: dark) {", *rules, "}"])
    return svg.replace("</style>", f"\n{sheet}\n</style>", 1)


def contrast(one: str, other: str) -> float:
    """Return the WCAG 2 contrast ratio of two #rrggbb colors, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
