"""The whole road, once: YAML and command line -> trained models -> records and W&B runs -> tables, graphs, gallery."""

import csv
import re
from pathlib import Path

import pytest

from vitsweep.study.plan import read_plan
from vitsweep.study.record import read_record

SWEEP = Path("outputs/sweep")


@pytest.fixture
def sweep(vitsweep_main, tiny) -> tuple[int, str, str]:
    """Two arms, two seeds, W&B offline."""
    return vitsweep_main(*command(tiny))


def command(tiny: list[str]) -> list[str]:
    kept = [o for o in tiny if o != "tracker=none" and not o.startswith("model.patch_size")]
    return [
        "-m",
        "model.patch_size=8,16",
        "seed=0,1",
        *kept,
        "tracker.mode=offline",
        "sweep.isolate=none",
        f"hydra.sweep.dir={SWEEP}",
    ]


def test_sweep_leaves_cells_runs_tables_and_pictures(sweep, vitsweep_main, tiny):
    """One test, since the sweep itself is what takes the time."""
    code, out, err = sweep
    assert code == 0, err
    assert "test set after the last epoch" in out  # the final table

    plan = read_plan(SWEEP)
    records = [read_record(SWEEP / cell.id) for cell in plan.cells]
    assert [(r.arm, r.seed, r.status) for r in records] == [
        ("baseline", 0, "done"),
        ("patch_size=16", 0, "done"),
        ("baseline", 1, "done"),
        ("patch_size=16", 1, "done"),
    ]

    runs = [run["id"] for record in records for run in record.wandb]
    assert len(set(runs)) == 4 and {run["mode"] for record in records for run in record.wandb} == {"offline"}
    assert all(list((SWEEP / cell.id / "wandb").glob("offline-run-*/run-*.wandb")) for cell in plan.cells)
    assert not (SWEEP / "wandb").exists()

    rows = list(csv.DictReader((SWEEP / "report/tables/arms.csv").read_text().splitlines()))
    assert [(row["arm"], row["n"]) for row in rows] == [("baseline", "2"), ("patch_size=16", "2")]
    page = (SWEEP / "report/index.html").read_text()
    assert set(re.findall(r"https?://[^\"'\s<)]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "data:image/png" in page and page.count("<svg") >= 2
    assert (SWEEP / "report/report.md").exists() and (SWEEP / "report/tables/paper.tex").exists()

    before = {cell.id: (SWEEP / cell.id / "record.json").read_bytes() for cell in plan.cells}
    assert vitsweep_main(*command(tiny))[0] == 0
    assert before == {cell.id: (SWEEP / cell.id / "record.json").read_bytes() for cell in plan.cells}


def test_sweep_with_groups_has_the_same_cells_as_with_values(vitsweep_main, tiny):
    small = [o for o in tiny if not o.startswith("model.patch_size")]
    assert vitsweep_main("-m", "model/patch_size=p8,p16", *small, "sweep.dry_run=true")[0] == 0
    assert vitsweep_main("-m", "model.patch_size=8,16", *small, "sweep.dry_run=true")[0] == 0


def test_sweep_refuses_every_bad_cell_at_once_and_starts_nothing(vitsweep_main, tiny):
    others = [o for o in tiny if not o.startswith("model.patch_size")]
    code, _, err = vitsweep_main("-m", "model.patch_size=5,7", *others)
    assert code == 2 and "model.patch_size=5  does not divide" in err and "model.patch_size=7  does not divide" in err
    assert "Traceback" not in err and not Path("outputs").exists()


def test_data_that_is_nowhere_is_one_sentence(vitsweep_main):
    code, _, err = vitsweep_main("data=cifar10", "data.root=nowhere", "data.download=false", "tracker=none")
    assert code == 2 and "Traceback" not in err
    assert "data=image_folder" in err and "data=shapes" in err and len(err.strip().splitlines()) == 1


def test_sweep_whose_data_is_nowhere_is_refused_before_a_plan_is_written(vitsweep_main):
    missing = ("data=cifar10", "data.root=nowhere", "data.download=false", "tracker=none")
    code, _, err = vitsweep_main("-m", "model.patch_size=4,8", "sweep.check=false", *missing)
    assert code == 2 and not Path("outputs").exists()
    assert len(err.strip().splitlines()) == 1 and "data.download=false forbids to fetch it" in err


def test_dry_run_whose_data_is_nowhere_says_so(vitsweep_main):
    missing = ("data=cifar10", "data.root=nowhere", "data.download=false", "tracker=none")
    code, out, _ = vitsweep_main("-m", "model.patch_size=4,8", "sweep.dry_run=true", *missing)
    assert code == 0 and "nowhere, and data.download=false forbids to fetch it" in " ".join(out.split())
