"""Other images are another experiment: single runs, sweeps, further seeds and two folders as two arms."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.make_images import make_pixels, write_folders
from vitsweep.commands import extend
from vitsweep.config.convert import config_hash, from_dict
from vitsweep.errors import DataError
from vitsweep.study.plan import plan_hash, read_plan, write_plan
from vitsweep.study.record import read_record, write_record
from vitsweep.tracking.run import run_id

CLASSES = ["a", "b"]
QUIET = ["~hydra.callbacks.report"]  # drawing takes most of the time


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of images of the same classes."""
    return tuple(
        write_folders(tmp_path / name, make_pixels(train=10, test=4, classes=CLASSES, seed=seed))
        for seed, name in enumerate(("fruit", "cars"))
    )


@pytest.fixture
def own(tiny: list[str]) -> list[str]:
    """Overrides of a tiny cell on class folders."""
    shapes = [word for word in tiny if word.startswith("data")]
    rest = [word for word in tiny if word not in shapes]
    return ["data=image_folder", "model.num_classes=2", "data.train_limit=null", "data.val_fraction=0.2", *rest]


def sweep_words(own: list[str], root: str, *more: str) -> list[str]:
    sweep = [*QUIET, "hydra.sweep.dir=sweep", "sweep.isolate=none", "sweep.check=false", "recipe.lr=1e-3,2e-3"]
    return ["-m", *own, *sweep, f"data.root={root}", *more]


def records(directory: str) -> list:
    return [read_record(path.parent) for path in sorted(Path(directory).glob("*/seed=*/record.json"))]


def without_fingerprints(directory: Path) -> None:
    """Make a sweep directory as versions without data.fingerprint wrote it."""
    plan = read_plan(directory)
    names = {}
    for cell in plan.cells:
        record, old = read_record(directory / cell.id), cell.id
        cell.config["data"].pop("fingerprint")
        cell.config_hash = config_hash(from_dict(cell.config))
        cell.id = f"{cell.arm}-{cell.config_hash[:8]}/seed={cell.seed}"
        names[cell.arm] = cell.config_hash
        (directory / cell.id).parent.mkdir(exist_ok=True)
        os.rename(directory / old, directory / cell.id)
        record.config, record.config_hash = cell.config, cell.config_hash
        write_record(directory / cell.id, record)
    plan.arms = [arm | {"config_hash": names[arm["arm"]]} for arm in plan.arms]
    plan.plan_hash = plan_hash(plan)
    write_plan(directory, plan)


def test_single_run_on_other_images_is_not_done_already(vitsweep_main, own, folders):
    assert vitsweep_main(*own, f"data.root={folders[0]}", "hydra.run.dir=cell")[0] == 0
    code, _, err = vitsweep_main(*own, f"data.root={folders[1]}", "hydra.run.dir=cell")
    assert code == 2 and "hydra.run.dir=" in err and "holds the same run on other images" in err


def test_single_run_on_the_same_images_elsewhere_is_done_already(vitsweep_main, own, folders, tmp_path):
    os.rename(folders[0], tmp_path / "moved")
    words = [*own, "hydra.run.dir=cell"]
    assert vitsweep_main(*words, f"data.root={tmp_path / 'moved'}")[0] == 0
    before = (Path("cell") / "record.json").read_bytes()
    os.rename(tmp_path / "moved", tmp_path / "again")
    assert vitsweep_main(*words, f"data.root={tmp_path / 'again'}")[0] == 0
    assert (Path("cell") / "record.json").read_bytes() == before


def test_sweep_on_other_images_is_another_baseline(vitsweep_main, own, folders):
    assert vitsweep_main(*sweep_words(own, folders[0]))[0] == 0
    code, _, err = vitsweep_main(*sweep_words(own, folders[1]))
    assert code == 2 and "holds a study with another baseline (other images: " in err


def test_image_moved_to_another_class_makes_another_baseline(vitsweep_main, own, folders):
    assert vitsweep_main(*sweep_words(own, folders[0]))[0] == 0
    os.rename(folders[0] / "train" / "a" / "00000.png", folders[0] / "train" / "b" / "moved.png")
    code, _, err = vitsweep_main(*sweep_words(own, folders[0], "seed=0,1"))
    assert code == 2 and "other images" in err


def test_two_folders_are_two_arms(vitsweep_main, own, folders):
    words = ["-m", *own, *QUIET, "hydra.sweep.dir=sweep", "sweep.isolate=none", f"data.root={folders[0]},{folders[1]}"]
    assert vitsweep_main(*words)[0] == 0
    found = records("sweep")
    assert [record.arm for record in found] == ["baseline", "root=cars"]
    assert len({record.data_fingerprint for record in found}) == len({run_id(record) for record in found}) == 2


def test_size_of_the_images_is_named_alone(vitsweep_main, own, folders):
    words = ["-m", *own, "hydra.sweep.dir=sweep", f"data.root={folders[0]}", "sweep.dry_run=true"]
    code, out, _ = vitsweep_main(*words, "model.image_size=32,64")
    assert code == 0 and "image_size=64" in out and "fingerprint" not in out


def test_old_sweep_of_the_same_images_is_done_already(vitsweep_main, own, folders):
    vitsweep_main(*sweep_words(own, folders[0]))
    without_fingerprints(Path("sweep"))
    before = Path("sweep/plan.json").read_bytes()
    assert vitsweep_main(*sweep_words(own, folders[0]))[0] == 0
    assert len(records("sweep")) == 2 and Path("sweep/plan.json").read_bytes() == before


def test_old_sweep_refuses_other_images(vitsweep_main, own, folders):
    vitsweep_main(*sweep_words(own, folders[0]))
    without_fingerprints(Path("sweep"))
    code, _, err = vitsweep_main(*sweep_words(own, folders[1]))
    assert code == 2 and "other images: not stated there" in err
    os.rename(folders[0] / "train" / "a" / "00000.png", folders[0] / "train" / "b" / "moved.png")
    with pytest.raises(DataError, match="than the study was trained on"):
        extend.main(["sweep", "seeds=2"])


def test_same_command_of_two_people_has_runs_of_its_own(vitsweep_main, own, folders):
    for person in ("one", "other"):
        words = sweep_words(own, folders[0], f"hydra.sweep.dir={person}")
        assert vitsweep_main(*words)[0] == 0
    first, second = (records(person)[0] for person in ("one", "other"))
    assert first.config_hash == second.config_hash and run_id(first) != run_id(second)


def test_renamed_sweep_is_done_already(vitsweep_main, own, folders):
    vitsweep_main(*sweep_words(own, folders[0]))
    before = [json.dumps(vars(record), sort_keys=True) for record in records("sweep")]
    os.rename("sweep", "renamed")
    words = sweep_words(own, folders[0], "hydra.sweep.dir=renamed")
    assert vitsweep_main(*words)[0] == 0
    assert [json.dumps(vars(record), sort_keys=True) for record in records("renamed")] == before


def test_old_sweep_that_was_interrupted_keeps_the_cells_that_it_planned(vitsweep_main, own, folders):
    words = [
        "-m",
        *own,
        *QUIET,
        "hydra.sweep.dir=sweep",
        "sweep.isolate=none",
        "sweep.check=false",
        f"data.root={folders[0]}",
    ]
    assert vitsweep_main(*words, "model.image_size=32,64")[0] == 0
    without_fingerprints(Path("sweep"))
    (untrained,) = Path("sweep").glob("image_size=64-*/seed=0")
    shutil.rmtree(untrained)
    planned = {cell.id for cell in read_plan(Path("sweep")).cells}
    assert extend.main(["sweep", "seeds=1", "--plan"]) == 0
    assert vitsweep_main(*words, "model.image_size=32,64")[0] == 0
    assert {cell.id for cell in read_plan(Path("sweep")).cells} == planned
    assert len(records("sweep")) == 2


def test_old_plan_without_a_result_keeps_its_cells(vitsweep_main, own, folders):
    vitsweep_main(*sweep_words(own, folders[0]))
    without_fingerprints(Path("sweep"))
    planned = [cell.id for cell in read_plan(Path("sweep")).cells]
    for cell in planned:
        shutil.rmtree(Path("sweep") / cell)
    assert vitsweep_main(*sweep_words(own, folders[0]))[0] == 0
    assert [cell.id for cell in read_plan(Path("sweep")).cells] == planned


def test_finished_sweep_whose_images_are_gone_is_done_already(vitsweep_main, own, folders):
    vitsweep_main(*sweep_words(own, folders[0]))
    shutil.rmtree(folders[0])
    assert vitsweep_main(*sweep_words(own, folders[0]))[0] == 0
    assert len(records("sweep")) == 2


def test_folder_and_size_are_named_together(vitsweep_main, own, folders):
    both = f"data.root={folders[0]},{folders[1]}"
    words = ["-m", *own, "hydra.sweep.dir=sweep", "sweep.dry_run=true", both, "model.image_size=32,64"]
    out = vitsweep_main(*words)[1]
    arms = [line.split()[0] for line in out.splitlines()[2:6]]
    assert arms == ["baseline", "image_size=64", "root=cars", "root=cars+image_size=64"]


def test_folders_of_other_sizes_are_compared_without_a_warning(vitsweep_main, own, folders, tmp_path):
    larger = write_folders(tmp_path / "larger", make_pixels(train=20, test=4, classes=CLASSES))
    words = ["-m", *own, *QUIET, "hydra.sweep.dir=sweep", "sweep.isolate=none", f"data.root={folders[0]},{larger}"]
    code, out, err = vitsweep_main(*words)
    assert code == 0 and "which none of its keys should" not in out + err
