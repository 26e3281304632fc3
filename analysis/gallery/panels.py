"""Panels of the gallery: a picture, what it shows in words, and the numbers behind it.

The words under a picture are made from its numbers, so they cannot say what the picture does not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..attention.difference import RATE, Difference, compare_arms
from ..attention.looks import ModelView, Views, ViewSettings, source_table
from ..attention.measures import lift
from .sheet import arms_sheet
from .views import difference_sheet, heads_sheet, layers_sheet, pairs_sheet


@dataclass(kw_only=True)
class Panel:
    """One picture with everything that belongs to it."""

    name: str
    path: Path
    """A PNG."""
    caption: str
    alt: str
    table: pd.DataFrame
    """The numbers behind it."""


def title_of(settings: ViewSettings) -> str:
    """What the maps of a figure are, in a few words."""
    from ..attention.maps import VARIANTS

    words = VARIANTS[settings.variant].format(alpha=settings.alpha)
    return words[0].upper() + words[1:]


def how(views: Views, settings: ViewSettings) -> str:
    """What every caption says: maps, checkpoint, images."""
    checkpoint = "lowest validation loss" if settings.which == "best" else "last epoch"
    return f"{title_of(settings)}; weights of the {checkpoint}. {views.rule}"


def sheet_panel(
    views: Views, settings: ViewSettings, folder: Path, scores: dict[str, str], name: str = "rollout"
) -> Panel:
    """Every view on the same images."""
    table = source_table(views)
    caption = (
        f"Where the models look: {how(views, settings)} Each model at its own grid of patches. "
        "Yellow patches have more than a uniform share, blue ones less, on one scale for all rows; a grey overlay is a "
        "nearly uniform map. Below each overlay prediction and confidence, in bold red where it is wrong."
    )
    path = arms_sheet(views, folder / f"{name}.png", title_of(settings), scores)
    return Panel(name=name, path=path, caption=caption, alt=_sheet_alt(table, views), table=table)


def training_panel(views: Views, settings: ViewSettings, folder: Path, name: str) -> Panel:
    """One model's model_views at several epochs, on the same images."""
    table, first = source_table(views), views.model_views[0]
    title = f"Rollout over training: {first.arm}, seed {first.seed}"
    path = arms_sheet(views, folder / f"{name}.png", title, rows_an_input=len(views.model_views))
    strongest = table.groupby("epoch")["max_lift"].mean()
    caption = (
        f"{first.arm}, seed {first.seed}, over training: weights before the first epoch (0) and after those named. "
        f"{title_of(settings)}. {views.rule} One scale for all rows; a grey overlay is a nearly uniform map. Below "
        "each overlay prediction and confidence, in bold red where it is wrong."
    )
    steps = ", ".join(f"x{value:.3g} (epoch {epoch})" for epoch, value in strongest.items())
    alt = f"Overlays of attention maps over training. Strongest patch on average: {steps}."
    return Panel(name=name, path=path, caption=caption, alt=alt, table=table)


def _sheet_alt(table: pd.DataFrame, views: Views) -> str:
    groups = table.assign(right=table["label"] == table["predicted"]).groupby(["arm", "seed"], sort=False)
    most, right = groups["max_lift"].mean(), groups["right"].sum()
    rows = [
        f"{key[0]} seed {key[1]}: {right[key]} of {len(views.label_N)} right, strongest patch on average "
        f"x{most[key]:.3g} its uniform share"
        for key in most.index[:12]
    ]
    more = f"; {len(most) - 12} more rows in the table" if len(most) > 12 else ""
    return f"Overlays of attention maps on {len(views.label_N)} test images. {'; '.join(rows)}{more}."


def difference_panel(
    views: Views, baseline: str, settings: ViewSettings, folder: Path, name: str = "rollout-difference"
) -> Panel | None:
    """Arms minus baseline over seeds; None without a second arm that shares a seed."""
    base = views.of(baseline)
    found = [compare_arms(views.of(arm), base) for arm in views.arms if arm != baseline] if base else []
    differences = [difference for difference in found if difference]
    if not differences:
        return None
    caption = (
        f"What changes against {baseline}: ratio of the patches' shares, geometric mean over the seeds that both "
        f"have, on the finest grid that both models share. {how(views, settings)} Framed patches differ by more "
        f"than seed noise: moderated t test paired by seed, false discovery rate {RATE:.0%} over all patches of an "
        "arm. Only these images were tested. " + " ".join(map(_verdict, differences))
    )
    path = difference_sheet(views, differences, baseline, folder / f"{name}.png")
    return Panel(
        name=name,
        path=path,
        caption=caption,
        alt=_difference_alt(differences, baseline),
        table=difference_table(differences, views),
    )


def _verdict(one: Difference) -> str:
    """One arm's whole maps in a sentence: distance to the baseline, distance between seeds, exact p and its limit."""
    moves = f"{one.arm}: {one.between:.1%} of the mass moves"
    if len(one.seeds) < 2:
        return f"{moves}; with one seed nothing tells whether that is noise."
    noise = f"against the baseline at the same seed, {one.within:.1%} between two seeds of one arm"
    limit = f"with {len(one.seeds)} seeds p cannot go below {one.attainable_p:.3g}"
    return f"{moves} {noise} (exact p = {one.p:.3g}; {limit})."


def _difference_alt(differences: Sequence[Difference], baseline: str) -> str:
    rows = [
        f"{one.arm}: {int(one.exceeds_NP.sum())} of {one.exceeds_NP.size} patches marked, "
        f"changes from x{2 ** one.mean_NP.min():.3g} to x{2 ** one.mean_NP.max():.3g}"
        for one in differences
    ]
    return f"Maps of the change of attention against {baseline}. {'; '.join(rows)}."


def difference_table(differences: Sequence[Difference], views: Views) -> pd.DataFrame:
    """A row an arm and image, with the whole-map numbers of the arm repeated."""
    parts = []
    for one in differences:
        row_N, column_N = np.divmod(np.abs(one.mean_NP).argmax(1), one.grid[1])
        strongest_N = np.take_along_axis(one.mean_NP, np.abs(one.mean_NP).argmax(1)[:, None], 1)[:, 0]
        parts.append(
            pd.DataFrame(
                {
                    "arm": one.arm,
                    "seeds": " ".join(map(str, one.seeds)),
                    "image": views.id_N,
                    "label": [views.classes[k] for k in views.label_N],
                    "marked_patches": one.exceeds_NP.sum(1),
                    "patches": one.mean_NP.shape[1],
                    "strongest_ratio": 2**strongest_N,
                    "strongest_row": row_N,
                    "strongest_column": column_N,
                    "smallest_p": one.p_NP.min(1),
                    "arm_distance_to_baseline": one.between,
                    "arm_distance_within": one.within,
                    "arm_p": one.p,
                    "arm_attainable_p": one.attainable_p,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def pairs_panel(views: Views, view: ModelView, settings: ViewSettings, folder: Path, name: str) -> Panel:
    """One model, image beside overlay."""
    alone = _alone(views, view)
    table = source_table(alone)
    title = f"{title_of(settings)}: {view.arm}, seed {view.seed}"
    path = pairs_sheet(views, view, folder / f"{name}.png", title)
    caption = f"{view.arm}, seed {view.seed}, image beside overlay. {how(views, settings)}"
    return Panel(name=name, path=path, caption=caption, alt=_sheet_alt(table, alone), table=table)


def layers_panel(
    views: Views, view: ModelView, film_NST: np.ndarray, settings: ViewSettings, folder: Path, name: str
) -> Panel:
    """One model, block by block."""
    film_NSP = film_NST[:, :, -view.maps.grid[0] * view.maps.grid[1] :]
    title = f"Rollout as if the head read after each block: {view.arm}, seed {view.seed}"
    path = layers_sheet(views, view, film_NSP, folder / f"{name}.png", title)
    table = _peaks(film_NSP, views, "block")
    steps = table.groupby("block")["max_lift"].mean()
    caption = (
        f"{view.arm}, seed {view.seed}, block by block: the rollout over blocks 1 to n, the last column is the "
        f"rollout itself. Alpha {settings.alpha:g}, class-agnostic. {views.rule} Every block mixes all tokens "
        "further, so contrast tends to fade with depth."
    )
    alt = "Film strips of the rollout. Strongest patch on average, block by block: " + ", ".join(
        f"x{value:.3g}" for value in steps
    )
    return Panel(name=name, path=path, caption=caption, alt=alt + ".", table=table)


def heads_panel(views: Views, view: ModelView, row_NSHT: np.ndarray, number: int, folder: Path, name: str) -> Panel:
    """One model and one image, every attention head of every block."""
    row_SHP = row_NSHT[number][..., -view.maps.grid[0] * view.maps.grid[1] :]
    label, image_id = views.classes[views.label_N[number]], views.id_N[number]
    title = f"Attention of what the head reads: {view.arm}, seed {view.seed}, test image {image_id} ({label})"
    path = heads_sheet(views, view, row_SHP, number, folder / f"{name}.png", title)
    S, H, _ = row_SHP.shape
    index = pd.MultiIndex.from_product([range(1, S + 1), range(1, H + 1)], names=["block", "head"])
    strongest = np.stack([lift(block_HP).max(1) for block_HP in row_SHP])
    table = pd.DataFrame({"max_lift": strongest.ravel()}, index=index).reset_index()
    most = table.loc[table["max_lift"].idxmax()]
    caption = (
        f"{view.arm}, seed {view.seed}: raw attention of the class token in every block and head for test image "
        f"{image_id} ({label}), class-agnostic, one scale for all."
    )
    alt = (
        f"{S} blocks by {H} heads of attention maps; the sharpest is block {most['block']:.0f} head {most['head']:.0f} "
        f"with x{most['max_lift']:.2g} the uniform share."
    )
    return Panel(name=name, path=path, caption=caption, alt=alt, table=table)


def _peaks(film_NSP: np.ndarray, views: Views, step: str) -> pd.DataFrame:
    N, S, _ = film_NSP.shape
    strongest = np.stack([lift(film_NSP[:, s]).max(1) for s in range(S)], axis=1)
    return pd.DataFrame(
        {
            "image": np.repeat(views.id_N, S),
            step: np.tile(np.arange(1, S + 1), N),
            "max_lift": strongest.ravel(),
        }
    )


def _alone(views: Views, view: ModelView) -> Views:
    return Views(
        image_NHWC=views.image_NHWC,
        label_N=views.label_N,
        id_N=views.id_N,
        classes=views.classes,
        rule=views.rule,
        model_views=[view],
    )


def measures_panel(frame: pd.DataFrame, baseline: str, settings: ViewSettings, folder: Path) -> Panel:
    """The measures of all cells as columns of the study."""
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
    """The map against null maps."""
    from .draw_measures import faithful_figure

    path = faithful_figure(frame, folder / "rollout-faithful.png")
    gaps = frame[(frame["metric"] == "gap") & (frame["missing"] == frame["missing"].iloc[0])]
    cells = gaps.groupby(["arm", "seed"], sort=False)
    beaten = {null: int((gaps[gaps["null"] == null]["low"] > 0).sum()) for null in dict.fromkeys(gaps["null"])}
    names = {"random": "a random order", "centre": "a centred Gaussian", "mean map": "the mean map"}
    words = "; ".join(f"{count} of {cells.ngroups} models beat {names[null]}" for null, count in beaten.items())
    caption = (
        f"Does the model need the patches that the map points at? {title_of(settings)}, {gaps['n'].iloc[0]} test "
        "images, insertion minus deletion of patches, minus the same of a null map, paired by image, 95 % t "
        f"intervals; right of zero the map is better. {words}. A map that does not beat the centre says no more than "
        "that objects are in the middle."
    )
    alt = f"Intervals of the map's advantage over null maps for {cells.ngroups} models. {words}."
    return Panel(name="rollout-faithful", path=path, caption=caption, alt=alt, table=frame)
