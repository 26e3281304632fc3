"""Packs: what cells must share, how many are trained together, what is logged, and packs with and without the pool.

Kinds: obeys a property, refuses with the right words, survives.
"""

from pathlib import Path

import pytest
import torch

from tests.support.fake_training import SWEEP
from vitsweep.config.convert import config_hash, from_dict, to_dict
from vitsweep.config.schema import Config
from vitsweep.errors import RecordError
from vitsweep.run import pack_size
from vitsweep.run import pool as pool_module
from vitsweep.run.packs import (
    MAX_CELLS,
    MIN_STEPS,
    PackMeasurement,
    Packs,
    is_long,
    packing_note,
    program_key,
    read_packs,
    save_measurement,
    unpacked_reason,
)
from vitsweep.run.pool import Pool
from vitsweep.run.slots import Slot
from vitsweep.run.worker import train_cells
from vitsweep.study.locks import CellLock, LivenessCheck
from vitsweep.study.plan import Cell, read_plan
from vitsweep.study.record import read_record
from vitsweep.study.status import CellStatus, cell_statuses
from vitsweep.train import train_pack


def make_cell(number: int = 0, **changes: object) -> Cell:
    """A cell whose configuration differs in dotted keys, written with __ for the dot: model__patch_size=8."""
    config = Config(seed=number, device="cpu", precision="fp32")
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        setattr(getattr(config, group) if group else config, name, value)
    return Cell(
        id=f"cell/seed={number}",
        arm="cell",
        role="arm",
        levels={},
        seed=number,
        overrides=[],
        config=to_dict(config),
        config_hash=config_hash(config),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"recipe__lr": 1e-4},
        {"recipe__weight_decay": 0.5},
        {"recipe__optimizer": "sgd"},
        {"recipe__schedule": "cosine"},
        {"recipe__crop_padding": 0},
        {"recipe__clip_norm": 1.0},
        {"model__hidden_dropout_prob": 0.5},
        {"model__head_dropout_prob": 0.0},
        {"model__drop_path_rate": 0.1, "model__drop_path_schedule": "constant"},
        {"model__drop_key_rate": 0.1},
        {"model__weight_init": "torch"},
    ],
    ids=str,
)
def test_cells_that_differ_in_this_are_one_program(change):
    assert program_key(make_cell(0).config) == program_key(make_cell(1, **change).config)


@pytest.mark.parametrize(
    "change",
    [
        {"model__patch_size": 8},
        {"model__num_hidden_layers": 4},
        {"model__patchify_method": "linear"},
        {"model__pos_embed": "rope2d"},
        {"model__layerscale_value": 0.1},
        {"recipe__batch_size": 64},
        {"recipe__epochs": 7},
        {"data__train_limit": 1000},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_cells_that_differ_in_this_are_not_one_program(change):
    assert program_key(make_cell(0).config) != program_key(make_cell(0, **change).config)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"model__pos_embed": "relative"}, ""),
        ({"model__patchify_method": "conv_stem"}, "the running statistics of patchify_method=conv_stem belong"),
        ({"model__patch_drop_rate": 0.25}, "patch_drop_rate draws its patches inside the forward pass"),
    ],
)
def test_axis_that_cannot_be_packed_says_why(change, reason):
    assert unpacked_reason(make_cell(0, **change).config, "4").startswith(reason)
    assert bool(reason) == bool(unpacked_reason(make_cell(0, **change).config, "4"))


def test_packing_note_names_the_settings_that_separate_cells():
    cells = [make_cell(0), make_cell(1), make_cell(2, model__patch_size=8, recipe__batch_size=64)]
    assert packing_note(cells, "4") == (
        "pack=4: the cells differ in what one program must share: model.patch_size (4, 8); "
        "recipe.batch_size (128, 64); so 3 cells are 2 programs (2 + 1 cells), trained apart"
    )


def test_packing_note_of_cells_that_share_a_program():
    assert (
        packing_note([make_cell(0), make_cell(1, recipe__lr=1e-4)], "auto")
        == "pack=auto: all 2 cells can be one program"
    )


def test_packing_note_follows_the_rule_of_the_run():
    short, long = make_cell(0, recipe__epochs=1), make_cell(1, recipe__epochs=100)
    resnet = make_cell(2, model__name="resnet", recipe__epochs=100)
    assert packing_note([short, resnet, long, long], "auto") == (
        "pack=auto: trained apart: 1 of 4 cells (fewer than 1,000 steps); trained apart: 1 of 4 cells (a resnet's "
        "running statistics belong to one model); all 2 cells left can be one program"
    )


@pytest.mark.parametrize("pack", ["auto", "4"])
def test_resnet_is_trained_alone(tmp_path, pack):
    cells = [make_cell(n, model__name="resnet", recipe__epochs=100) for n in range(2)]
    assert Packs(tmp_path, pack).group_with(cells[0], cells) == cells[:1]


def test_pack_has_one_program_and_at_most_the_configured_size(tmp_path):
    cells = [make_cell(0), make_cell(1, model__patch_size=8), *(make_cell(n) for n in range(2, 6))]
    assert Packs(tmp_path, "3").group_with(cells[0], cells) == [cells[0], cells[2], cells[3]]
    assert Packs(tmp_path, "off").group_with(cells[0], cells) == cells[:1]


def test_pack_leaves_out_cells_that_are_not_free(tmp_path):
    cells = [make_cell(n) for n in range(4)]
    assert Packs(tmp_path, "3").group_with(cells[0], cells, lambda cell: cell != cells[1]) == [cells[0], *cells[2:]]


def test_cells_of_a_program_are_divided_among_the_slots(tmp_path):
    cells = [make_cell(n) for n in range(6)]
    assert len(Packs(tmp_path, "8", num_slots=2).group_with(cells[0], cells)) == 3


def test_auto_leaves_short_cells_alone_and_takes_long_ones_up_to_what_was_measured(tmp_path):
    short, long = make_cell(0, recipe__epochs=1), make_cell(1, recipe__epochs=100)
    packs = Packs(tmp_path, "auto")
    assert (packs.size(short), packs.size(long)) == (1, MAX_CELLS)
    found = PackMeasurement(size=4, device="cpu", images_per_second={"1": 10.0, "4": 20.0}, reason="8 are not faster")
    save_measurement(tmp_path, long.config, found)
    assert packs.size(long) == 4 and read_packs(tmp_path) == {program_key(long.config): found}


def test_length_of_a_cell_counts_its_steps():
    """45,000 training images in batches of 128 are 351 steps an epoch."""
    epochs = -(-MIN_STEPS // 351)
    assert is_long(make_cell(recipe__epochs=epochs).config) and not is_long(make_cell(recipe__epochs=epochs - 1).config)


def test_damaged_measurements_are_refused(tmp_path):
    (tmp_path / "packs.json").write_text('{"a": 1}')
    with pytest.raises(RecordError, match=r"packs.json  is damaged \(.*\); delete it"):
        read_packs(tmp_path)


@pytest.mark.parametrize("value", ["0", "-1", "some", "1.5"])
def test_pack_refuses_what_is_no_number_of_cells(vitsweep_main, tiny, value):
    code, _, err = vitsweep_main(*tiny, f"pack={value}")
    assert code == 2 and f"pack={value}  must be auto, off or a number of at least 1" in err


def test_pack_is_no_part_of_what_a_cell_is():
    assert config_hash(Config(pack="4")) == config_hash(Config(pack="off"))


def tiny_cell(tiny_overrides: list[str], seed: int) -> Cell:
    """A cell of the `tiny` fixture's values."""
    changes: dict[str, object] = {"data__name": "shapes", "data__root": None, "tracker__name": "none"}
    for override in tiny_overrides[1:]:
        key, _, text = override.partition("=")
        if text.isdigit():
            changes[key.replace(".", "__")] = int(text)
    return make_cell(seed, **changes)


@pytest.mark.parametrize(
    "speeds, size", [({1: 10, 2: 18, 4: 30, 5: 40}, 5), ({1: 10, 2: 10.4}, 1), ({1: 9, 2: 14, 4: 14}, 2)]
)
def test_measured_size_doubles_as_long_as_it_pays(monkeypatch, speeds, size):
    monkeypatch.setattr(pack_size, "measure_speed", lambda configs, device: speeds[len(configs)])
    configs = [from_dict(make_cell(n).config) for n in range(5)]
    found = pack_size.measure(configs, torch.device("cpu"))
    assert found.size == size and found.images_per_second == {str(k): v for k, v in speeds.items()}


def test_measuring_stops_where_memory_ends(monkeypatch):
    def speed(configs, device):
        if len(configs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 10.0 * len(configs)

    monkeypatch.setattr(pack_size, "measure_speed", speed)
    found = pack_size.measure([from_dict(make_cell(n).config) for n in range(8)], torch.device("cpu"))
    assert (found.size, found.reason) == (2, "4 do not fit into memory")


@pytest.mark.parametrize(
    "text, gib", [("MemTotal: 9 kB\nMemAvailable:  33554432 kB\n", 32), ("MemTotal: 9 kB\n", 16), (None, 16)]
)
def test_free_memory_is_16_gib_where_the_kernel_reports_none(tmp_path, text, gib):
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert pack_size.free_machine_bytes(tmp_path / "meminfo") == gib * 2**30


def test_measurement_of_few_cells_is_gone_on_from_when_there_are_more(tmp_path, monkeypatch):
    cells = [make_cell(n, recipe__epochs=100) for n in range(8)]
    speeds, tried = {1: 10, 2: 18, 4: 30, 8: 31}, []
    monkeypatch.setattr(
        pack_size, "measure_speed", lambda configs, device: tried.append(len(configs)) or speeds[len(configs)]
    )
    monkeypatch.setattr(pack_size, "free_bytes", lambda device: 2**40)
    packs = Packs(tmp_path, "auto")
    sizes = [pack_size.choose_size(tmp_path, [cell.config for cell in cells[:n]], "auto") for n in (2, 2)]
    assert sizes == [2, 2] and packs.size(cells[0]) == MAX_CELLS and tried == [1, 2]
    sizes = [pack_size.choose_size(tmp_path, [cell.config for cell in cells], "auto") for _ in range(2)]
    assert sizes == [4, 4] and packs.size(cells[0]) == 4 and tried == [1, 2, 2, 4, 8]


def test_memory_is_shared_among_jobs_and_reckoned_by_the_largest_cell(tmp_path, monkeypatch):
    plain = {"recipe__optimizer": "sgd", "recipe__momentum": 0.0, "model__hidden_dropout_prob": 0.0}
    cells = [make_cell(0, **plain), *(make_cell(n) for n in range(1, 4))]
    largest = pack_size.OVERHEAD * pack_size.cell_bytes(from_dict(cells[1].config))
    monkeypatch.setattr(pack_size, "free_bytes", lambda device: int(4.1 * largest / pack_size.MEMORY_SHARE))
    configs = [cell.config for cell in cells]
    assert [pack_size.choose_size(tmp_path, configs, "4", num_jobs=jobs) for jobs in (1, 2)] == [4, 2]


def test_limit_of_the_control_group_bounds_memory(tmp_path, monkeypatch):
    """A container of 3 GB of which 2 are used, half of that by files that can be dropped."""
    for name, text in {
        "max": "3000000000",
        "current": "2000000000",
        "stat": "anon 5\ninactive_file 1000000000",
    }.items():
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    monkeypatch.setattr(pack_size, "CGROUP", tmp_path)
    monkeypatch.setattr(pack_size, "free_machine_bytes", lambda meminfo: 2**40)
    assert pack_size.free_bytes(torch.device("cpu")) == 2_000_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert pack_size.free_bytes(torch.device("cpu")) == 2**40


def test_memory_bounds_a_pack_and_it_is_logged(tmp_path, monkeypatch, caplog):
    cells = [make_cell(n) for n in range(4)]
    one = pack_size.OVERHEAD * pack_size.cell_bytes(from_dict(cells[0].config))
    monkeypatch.setattr(pack_size, "free_bytes", lambda device: int(2.5 * one / pack_size.MEMORY_SHARE))
    assert pack_size.choose_size(tmp_path, [cell.config for cell in cells], "4") == 2
    assert "pack=4: the free memory holds 2 of 4 cells at a time" in caplog.text


def test_measurement_of_another_device_is_not_believed(tmp_path, monkeypatch):
    cells = [make_cell(n) for n in range(2)]
    save_measurement(tmp_path, cells[0].config, PackMeasurement(size=2, device="H100", images_per_second={}, reason=""))
    monkeypatch.setattr(pack_size, "measure_speed", lambda configs, device: 10.0)
    assert pack_size.choose_size(tmp_path, [cell.config for cell in cells], "auto") == 1
    assert read_packs(tmp_path)[program_key(cells[0].config)].device == "cpu"


def test_speed_is_measured_by_real_steps(tiny):
    configs = [from_dict(tiny_cell(tiny, seed).config) for seed in range(2)]
    assert pack_size.measure_speed(configs, torch.device("cpu")) > 0


def test_job_trains_the_cells_that_are_not_locked(vitsweep_main, small):
    vitsweep_main(*small, "sweep.isolate=none", "pack=off")
    directory = SWEEP.absolute()
    done, *others = [cell.id for cell in read_plan(directory).cells]
    for name in others:
        (directory / name / "record.json").unlink()
    holder = CellLock(directory / others[0], LivenessCheck())
    assert holder.acquire()
    try:
        ends = train_cells(directory, [done, *others])
    finally:
        holder.release()
    assert ends == {done: "done", others[0]: "busy", others[1]: "done"}


def test_ended_cell_is_not_running_while_its_pack_trains(vitsweep_main, small, monkeypatch):
    code, _, err = vitsweep_main(
        *small[:-1], "sweep.isolate=none", "pack=off", "recipe.optimizer=sgd", "recipe.lr=1e-3,1e30", "recipe.epochs=2"
    )
    assert code == 1, err
    directory = next(Path("outputs").iterdir()).absolute()
    cells = read_plan(directory).cells
    for cell in cells:
        (directory / cell.id / "record.json").unlink()
    seen, real = [], train_pack.PackedStep.run_steps
    monkeypatch.setattr(
        train_pack.PackedStep,
        "run_steps",
        lambda self, steps: (
            seen.append([now.status for now in cell_statuses(directory, cells, LivenessCheck())]) or real(self, steps)
        ),
    )
    train_cells(directory, [cell.id for cell in cells])
    assert seen[0] == ["running", "running"] and seen[-1] == ["running", "diverged"]


@pytest.fixture
def small(tiny: list[str]) -> list[str]:
    """Three learning rates in SWEEP."""
    return ["-m", *tiny, "recipe.epochs=1", "sweep.check=false", "~hydra.callbacks.report", "recipe.lr=1e-3,2e-3,3e-3"]


def packs_in(directory: Path) -> dict[str, tuple[str, int]]:
    """Cell id -> how it ended and how many cells were in its program."""
    found = {cell.id: read_record(directory / cell.id) for cell in read_plan(directory).cells}
    return {name: (record.status, len(record.pack.get("cells", [""]))) for name, record in found.items()}


@pytest.mark.parametrize("isolate", ["none", "process"])
def test_sweep_trains_cells_in_packs(vitsweep_main, small, isolate):
    code, out, err = vitsweep_main(*small, f"sweep.isolate={isolate}", "pack=2")
    assert code == 0, err
    assert sorted(packs_in(SWEEP.absolute()).values()) == [("done", 1), ("done", 2), ("done", 2)]


def test_pack_whose_process_was_killed_comes_back_in_halves(tmp_path, monkeypatch):
    """Killed as by the kernel when memory is short."""
    cells = [make_cell(n) for n in range(4)]
    started = []
    with Pool(tmp_path, [Slot()], False, lambda now: None, LivenessCheck(), pack="4") as pool:
        monkeypatch.setattr(
            pool_module, "cell_status", lambda directory, cell, liveness: CellStatus(cell=cell, status="planned")
        )
        monkeypatch.setattr(Pool, "start", lambda self, cells: started.append(cells) or self.free.clear())
        pool.running[1] = (cells, pool.free.pop())
        pool.server = type("Dying", (), {"poll": lambda self, seconds: (1, -9), "close": lambda self: None})()
        pool.poll(0)
        pool.fill()
    assert started == [cells[:2]]


def test_cells_that_their_worker_released_are_requeued_while_the_others_train(tmp_path):
    """A worker of four cells measures that two at a time are best, and releases the locks of the others."""
    cells, seen = [make_cell(n) for n in range(4)], []
    found = PackMeasurement(size=2, device="cpu", images_per_second={}, reason="4 are not faster")
    save_measurement(tmp_path, cells[0].config, found)
    locks = [CellLock(tmp_path / cell.id) for cell in cells[:2]]
    assert all(lock.acquire() for lock in locks)
    pool = Pool(tmp_path, [Slot()], False, seen.append, LivenessCheck(), pack="auto")
    pool.running[1] = (cells, pool.free.pop())
    pool.requeue()
    for lock in locks:
        lock.release()
    assert pool.running[1][0] == cells[:2] and list(pool.waiting) == cells[2:]
    assert {now.cell.id: now.status for now in seen} == {cell.id: "planned" for cell in cells[2:]}
