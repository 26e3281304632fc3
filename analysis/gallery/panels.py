"""Panels of the gallery: a picture with caption, alternative text and the numbers behind it.

Captions and alternative texts are made from those numbers. Shapes: N images, S blocks, H heads, T tokens, P patches.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..attention.difference import RATE, Difference, compare_arms
from ..attention.looks import ModelView, Views, ViewSettings, source_table
from ..attention.measures import lift
from .sheets import arms_sheet, difference_sheet, heads_sheet, layers_sheet, pairs_sheet

READ_OVERLAYS = (
    "a grey overlay is a nearly uniform map. Below each overlay prediction and confidence, in bold red where it is "
    "wrong."
)
NULL_MAP_TEXT = {"random": "a random order", "centre": "a centred Gaussian", "mean map": "the mean map"}
MAX_ALT_ROWS = 12


@dataclass(kw_only=True)
class Panel:
    """Picture of the gallery with its words and numbers."""

    name: str
    path: Path
    """PNG file."""
    caption: str
    alt: str
    """Alternative text."""
    table: pd.DataFrame
    """Numbers behind the picture."""


def map_title(settings: ViewSettings) -> str:
    """Return what the maps of a figure are, as a title."""
    from ..attention.maps import VARIANTS

    words = VARIANTS[settings.variant].format(alpha=settings.alpha)
    return words[0].upper() + words[1:]


def method_text(views: Views, settings: ViewSettings) -> str:
    """Return the sentences that every caption has: maps, checkpoint, images."""
    checkpoint = "lowest validation loss" if settings.which == "best" else "last epoch"
    return f"{map_title(settings)}; weights of the {checkpoint}. {views.rule}"


def cell_text(view: ModelView) -> str:
    """Return the cell of a view as `arm, seed n`."""
    return f"{view.arm}, seed {view.seed}"


def sheet_panel(views: Views, settings: ViewSettings, folder: Path, scores: dict[str, str]) -> Panel:
    """Draw every view on the same images."""
    table = source_table(views)
    caption = (
        f"Where the models look: {method_text(views, settings)} Each model at its own grid of patches. "
        "Yellow patches have more than a uniform share, blue ones less, on one scale for all rows; " + READ_OVERLAYS
    )
    path = arms_sheet(views, folder / "rollout.png", map_title(settings), scores)
    return Panel(name="rollout", path=path, caption=caption, alt=_sheet_alt(table), table=table)


def pairs_panel(views: Views, view: ModelView, settings: ViewSettings, folder: Path, name: str) -> Panel:
    """Draw one model's overlays, each beside its image."""
    table = source_table(with_views(views, [view]))
    path = pairs_sheet(views, view, folder / f"{name}.png", f"{map_title(settings)}: {cell_text(view)}")
    caption = f"{cell_text(view)}, image beside overlay. {method_text(views, settings)}"
    return Panel(name=name, path=path, caption=caption, alt=_sheet_alt(table), table=table)


def with_views(views: Views, model_views: list[ModelView]) -> Views:
    """Return the same images with other views of them, and without notes."""
    return Views(**(vars(views) | {"model_views": model_views, "notes": []}))


def training_panel(views: Views, settings: ViewSettings, folder: Path, name: str) -> Panel:
    """Draw one model's views at several epochs, on the same images."""
    table, cell = source_table(views), cell_text(views.model_views[0])
    title = f"Rollout over training: {cell}"
    path = arms_sheet(views, folder / f"{name}.png", title, rows_per_input=len(views.model_views))
    caption = (
        f"{cell}, over training: weights before the first epoch (0) and after those named. {map_title(settings)}. "
        f"{views.rule} One scale for all rows; " + READ_OVERLAYS
    )
    strongest = table.groupby("epoch")["max_lift"].mean()
    steps = ", ".join(f"x{value:.3g} (epoch {epoch})" for epoch, value in strongest.items())
    alt = f"Overlays of attention maps over training. Strongest patch on average: {steps}."
    return Panel(name=name, path=path, caption=caption, alt=alt, table=table)


def _sheet_alt(table: pd.DataFrame) -> str:
    groups = table.assign(right=table["label"] == table["predicted"]).groupby(["arm", "seed"], sort=False)
    most, right, images = groups["max_lift"].mean(), groups["right"].sum(), table["image"].nunique()
    rows = [
        f"{arm} seed {seed}: {right[arm, seed]} of {images} right, strongest patch on average "
        f"x{most[arm, seed]:.3g} its uniform share"
        for arm, seed in most.index[:MAX_ALT_ROWS]
    ]
    more = f"; {len(most) - MAX_ALT_ROWS} more rows in the table" if len(most) > MAX_ALT_ROWS else ""
    return f"Overlays of attention maps on {images} test images. {'; '.join(rows)}{more}."


def difference_panel(views: Views, baseline: str, settings: ViewSettings, folder: Path) -> Panel | None:
    """Draw arms minus baseline over seeds; None without a second arm that shares a seed."""
    base = views.of(baseline)
    found = [compare_arms(views.of(arm), base) for arm in views.arms if arm != baseline] if base else []
    differences = [difference for difference in found if difference]
    if not differences:
        return None
    caption = (
        f"What changes against {baseline}: ratio of the patches' shares, geometric mean over the seeds that both "
        f"have, on the finest grid that both models share. {method_text(views, settings)} Framed patches differ by "
        f"more than seed noise: moderated t test paired by seed, false discovery rate {RATE:.0%} over all patches of "
        "an arm. Only these images were tested. " + " ".join(map(_whole_map_sentence, differences))
    )
    rows = [
        f"{one.arm}: {int(one.exceeds_NP.sum())} of {one.exceeds_NP.size} patches marked, "
        f"changes from x{2 ** one.mean_NP.min():.3g} to x{2 ** one.mean_NP.max():.3g}"
        for one in differences
    ]
    return Panel(
        name="rollout-difference",
        path=difference_sheet(views, differences, baseline, folder / "rollout-difference.png"),
        caption=caption,
        alt=f"Maps of the change of attention against {baseline}. {'; '.join(rows)}.",
        table=pd.concat([difference_table(one, views) for one in differences], ignore_index=True),
    )


def _whole_map_sentence(one: Difference) -> str:
    """Return an arm's distance to the baseline, the distance between seeds, the exact p and its limit."""
    moves = f"{one.arm}: {one.between:.1%} of the mass moves"
    if len(one.seeds) < 2:
        return f"{moves}; with one seed nothing tells whether that is noise."
    noise = f"against the baseline at the same seed, {one.within:.1%} between two seeds of one arm"
    limit = f"with {len(one.seeds)} seeds p cannot go below {one.attainable_p:.3g}"
    return f"{moves} {noise} (exact p = {one.p:.3g}; {limit})."


def difference_table(one: Difference, views: Views) -> pd.DataFrame:
    """Return a row per image of an arm's difference, with the numbers of the arm's whole maps repeated."""
    strongest_N = np.abs(one.mean_NP).argmax(1)
    row_N, column_N = np.divmod(strongest_N, one.grid[1])
    return pd.DataFrame(
        {
            "arm": one.arm,
            "seeds": " ".join(map(str, one.seeds)),
            "image": views.id_N,
            "label": [views.classes[k] for k in views.label_N],
            "marked_patches": one.exceeds_NP.sum(1),
            "patches": one.mean_NP.shape[1],
            "strongest_ratio": 2 ** one.mean_NP[np.arange(len(strongest_N)), strongest_N],
            "strongest_row": row_N,
            "strongest_column": column_N,
            "smallest_p": one.p_NP.min(1),
            "arm_distance_to_baseline": one.between,
            "arm_distance_within": one.within,
            "arm_p": one.p,
            "arm_attainable_p": one.attainable_p,
        }
    )


def layers_panel(
    views: Views, view: ModelView, strip_NST: np.ndarray, settings: ViewSettings, folder: Path, name: str
) -> Panel:
    """Draw one model's rollout block by block."""
    strip_NSP = strip_NST[..., -_num_patches(view) :]
    title = f"Rollout as if the head read after each block: {cell_text(view)}"
    path = layers_sheet(views, view, strip_NSP, folder / f"{name}.png", title)
    N, S, _ = strip_NSP.shape
    strongest_NS = np.stack([lift(strip_NSP[:, s]).max(1) for s in range(S)], axis=1)
    block_NS, image_NS = np.tile(np.arange(1, S + 1), N), np.repeat(views.id_N, S)
    table = pd.DataFrame({"image": image_NS, "block": block_NS, "max_lift": strongest_NS.ravel()})
    caption = (
        f"{cell_text(view)}, block by block: the rollout over blocks 1 to n, the last column is the "
        f"rollout itself. Alpha {settings.alpha:g}, class-agnostic. {views.rule} Every block mixes all tokens "
        "further, so contrast tends to fade with depth."
    )
    steps = ", ".join(f"x{value:.3g}" for value in table.groupby("block")["max_lift"].mean())
    alt = f"Film strips of the rollout. Strongest patch on average, block by block: {steps}."
    return Panel(name=name, path=path, caption=caption, alt=alt, table=table)


def heads_panel(views: Views, view: ModelView, row_NSHT: np.ndarray, number: int, folder: Path, name: str) -> Panel:
    """Draw every attention head of every block of one model, for one image."""
    row_SHP = row_NSHT[number][..., -_num_patches(view) :]
    image = f"test image {views.id_N[number]} ({views.classes[views.label_N[number]]})"
    title = f"Attention of what the head reads: {cell_text(view)}, {image}"
    path = heads_sheet(views, view, row_SHP, number, folder / f"{name}.png", title)
    S, H, _ = row_SHP.shape
    index = pd.MultiIndex.from_product([range(1, S + 1), range(1, H + 1)], names=["block", "head"])
    strongest_SH = np.stack([lift(block_HP).max(1) for block_HP in row_SHP])
    table = pd.DataFrame({"max_lift": strongest_SH.ravel()}, index=index).reset_index()
    most = table.loc[table["max_lift"].idxmax()]
    caption = (
        f"{cell_text(view)}: raw attention of the class token in every block and head for {image}, class-agnostic, "
        "one scale for all."
    )
    alt = (
        f"{S} blocks by {H} heads of attention maps; the sharpest is block {most['block']:.0f} head {most['head']:.0f} "
        f"with x{most['max_lift']:.2g} the uniform share."
    )
    return Panel(name=name, path=path, caption=caption, alt=alt, table=table)


def measures_panel(frame: pd.DataFrame, baseline: str, settings: ViewSettings, folder: Path) -> Panel:
    """Draw the measures of all cells."""
    from ..statistics.measure_effects import measure_differences
    from .draw_measures import measures_figure

    path = measures_figure(frame, baseline, folder / "rollout-measures.png")
    changes = measure_differences(frame, baseline)
    clear = changes[(changes["ci_low"] > 0) | (changes["ci_high"] < 0)]
    words = [
        f"{row.arm} {row.measure} {row.delta:+.3g} [{row.ci_low:+.3g}, {row.ci_high:+.3g}]"
        for row in clear.itertuples(index=False)
    ]
    caption = (
        f"Measures of the rollout (alpha {settings.alpha:g}), means over the same {frame['images'].iloc[0]} test "
        "images; a point a seed, a bar at their mean, the line at the baseline's. Differences paired by seed whose "
        f"95 % t interval excludes zero, not corrected for their number: {'; '.join(words) or 'none'}."
    )
    alt = f"Small plots of {frame.filter(like='rollout/').shape[1]} measures for {frame['arm'].nunique()} arms."
    return Panel(name="rollout-measures", path=path, caption=caption, alt=alt, table=frame)


def faithful_panel(frame: pd.DataFrame, settings: ViewSettings, folder: Path) -> Panel:
    """Draw the advantage of the maps over null maps."""
    from .draw_measures import faithful_figure

    path = faithful_figure(frame, folder / "rollout-faithful.png")
    gaps = frame[(frame["metric"] == "gap") & (frame["missing"] == frame["missing"].iloc[0])]
    num_models = gaps.groupby(["arm", "seed"], sort=False).ngroups
    beaten = {null: int((rows["low"] > 0).sum()) for null, rows in gaps.groupby("null", sort=False)}
    words = "; ".join(f"{count} of {num_models} models beat {NULL_MAP_TEXT[null]}" for null, count in beaten.items())
    caption = (
        f"Does the model need the patches that the map points at? {map_title(settings)}, {gaps['n'].iloc[0]} test "
        "images, insertion minus deletion of patches, minus the same of a null map, paired by image, 95 % t "
        f"intervals; right of zero the map is better. {words}. A map that does not beat the centre says no more than "
        "that objects are in the middle."
    )
    alt = f"Intervals of the map's advantage over null maps for {num_models} models. {words}."
    return Panel(name="rollout-faithful", path=path, caption=caption, alt=alt, table=frame)


def _num_patches(view: ModelView) -> int:
    rows, columns = view.maps.grid
    return rows * columns
