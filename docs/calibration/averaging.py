"""Spread of finished runs by the weights that are scored: figures of docs/calibration/averaging.md.

    python docs/calibration/averaging.py DIR        # a sweep with recipe.average_last and recipe.ema_decay

Ratios and parts are those of the plan's advice (vitsweep/study/questions/advice.py, vitsweep/significance/spread.py).
"""

import json
import sys
from pathlib import Path

import pandas as pd

from vitsweep.significance.spread import ratio_of_independent, ratio_of_paired
from vitsweep.study.questions.advice import accuracy, by_schedule, earlier_runs, read_spread

FOLDER = Path(__file__).resolve().parent
ROWS = ("final", "average", "ema")


HEADER = """# Which weights spread least between seeds?

A real sweep of a small ViT (48,634 parameters) on 1,000 images of CIFAR-10, scored on 10,000 test images; {runs} of its
24 runs had finished:

    python run.py -m recipe.schedule=constant,cosine "seed=range(12)" data=cifar10 data.root=DIR \\
        data.train_limit=1000 model.patch_size=8 model.num_hidden_layers=2 model.hidden_size=48 \\
        model.num_attention_heads=3 model.intermediate_size=96 recipe=readme recipe.warmup_epochs=1 recipe.epochs=10 \\
        recipe.batch_size=50 recipe.average_last=5 recipe.ema_decay=0.98 tracker=none device=cpu precision=fp32 \\
        pack=12 sweep.jobs=1
    python docs/calibration/averaging.py outputs/...

Machine: two cores of an AMD EPYC (Zen 3, family 25 model 1), virtual, shared with other programs; torch {torch}.
`final` are the weights after the last epoch, `average` the mean of those after each of the last five epochs, `ema`
their moving average over steps. The seeds that find a difference are in proportion to the variance. Intervals
of ratios are of 95 %: Pitman and Morgan's for the same runs, F for different ones. Nothing here is simulated.

"""
READING = """
Accuracies are low: the models are small and trained for 200 steps. With so few runs an interval that includes 1 leaves
open whether anything is saved, and at other sizes and schedules the ratios may be others. The plan (sweep.dry_run=true)
computes the same from the earlier records of a study's own configuration.
"""


def main(directory: Path) -> None:
    """Write averaging.csv (accuracies) and averaging.md."""
    runs_of = by_schedule(earlier_runs(directory))
    groups = {json.loads(key)["recipe.schedule"]: runs for key, runs in runs_of.items()}
    frames = [
        pd.DataFrame({"schedule": name, "seed": [r["seed"] for _, r in runs]} | {w: accuracy(runs, w) for w in ROWS})
        for name, runs in groups.items()
    ]
    pd.concat(frames).to_csv(FOLDER / "averaging.csv", index=False, float_format="%.8g", lineterminator="\n")
    table = ["| schedule | runs | weights | mean, % | sd, points | variance against the last epoch's |"]
    table += ["| --- | ---: | --- | ---: | ---: | ---: |"]
    notes = []
    for name, runs in groups.items():
        for row in ROWS:
            found = accuracy(runs, row)
            share = "1" if row == "final" else text(ratio_of_paired(found, accuracy(runs)))
            shown = f"{found.mean():.2f} | {found.std(ddof=1):.2f} | {share}"
            table.append(f"| {name} | {len(runs)} | {row} | {shown} |")
        if (parts := read_spread(runs)) is not None:
            low, high = (100 * value for value in parts.seeds[1:])
            notes.append(
                f"- {name}, last epoch: of the spread {100 * parts.seeds[0]:.2f} points ({low:.2f} to {high:.2f}) are "
                f"the seeds', {100 * parts.images:.2f} the chance of the test images."
            )
    if {"cosine", "constant"} <= set(groups):
        ratio = ratio_of_independent(accuracy(groups["cosine"]), accuracy(groups["constant"]))
        notes.append(f"- Cosine against constant, last epoch: variance {text(ratio)}.")
    versions = next(iter(groups.values()))[0][1]["versions"]
    header = HEADER.format(runs=sum(map(len, groups.values())), torch=versions["torch"])
    page = header + "\n".join([*table, "", *notes]) + "\n" + READING
    (FOLDER / "averaging.md").write_text(page, encoding="utf-8", newline="\n")


def text(ratio: tuple[float, float, float]) -> str:
    """Return a ratio with its 95 % interval."""
    return f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
