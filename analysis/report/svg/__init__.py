"""SVG of matplotlib made small, and fit for a page."""

from .write import clean_svg as clean_svg
from .write import inline_svg as inline_svg
