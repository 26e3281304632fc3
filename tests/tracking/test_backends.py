"""TensorBoard, MLflow and trackio: agree with what their own libraries read back; obey (no step twice, no network)."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.make_records import make_plan
from tests.support.make_records import make_record as make_study_record
from tests.support.wandb_cells import PIXEL, ended, make_record, make_row
from vitsweep.config.schema import TrackerConfig
from vitsweep.files import write_json
from vitsweep.study.record import append_row, drop_rows_after
from vitsweep.tracking.several import make_tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # of the three libraries and what they import
BACKENDS = ("tensorboard", "mlflow", "trackio")


@pytest.fixture(autouse=True)
def no_network(monkeypatch) -> None:
    """Fail the test that opens a connection to a machine, this one included."""
    opened: list = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda self, address: opened.append(address) or 1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: opened.append(host) or [])
    yield
    assert not opened


@pytest.fixture(scope="module", autouse=True)
def trackio_folder(tmp_path_factory) -> Path:
    """Folder of trackio's store, which trackio reads when it is imported; a test has a project of its own there."""
    folder = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(folder))
        yield folder


@pytest.fixture
def project(tmp_path) -> str:
    return tmp_path.name


@pytest.fixture(params=BACKENDS)
def backend(request, tmp_path, project) -> tuple[TrackerConfig, Callable]:
    """A tracker's configuration, and a function cell -> rows, end and number of pictures, as its library reads them."""
    name = request.param
    pytest.importorskip(name)
    config = TrackerConfig(project=project, **{name: True}, mlflow_uri=str(tmp_path / "mlruns") * (name == "mlflow"))
    return config, {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "trackio": read_trackio}[name]


def read_tensorboard(cell: Path) -> tuple[dict, dict, int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(cell / "tensorboard")).Reload()
    rows: dict = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            rows.setdefault(tag, []).append((event.step, round(event.value, 4)))
    (status,) = events.Tensors("status/text_summary")
    text = status.tensor_proto.string_val[0].decode()
    return rows, {"status": text.partition("\n")[0]}, len(events.Tags()["images"])


def read_mlflow(cell: Path) -> tuple[dict, dict, int]:
    from mlflow import MlflowClient

    client = MlflowClient(str(cell.parent / "mlruns"))
    (run,) = client.search_runs([client.get_experiment_by_name(cell.parent.name).experiment_id])
    history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    rows = {key: sorted((point.step, round(point.value, 4)) for point in points) for key, points in history.items()}
    return rows, run.data.tags, len(client.list_artifacts(run.info.run_id, "pictures"))


def read_trackio(cell: Path) -> tuple[dict, dict, int]:
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs(cell.parent.name)
    rows: dict = {}
    texts: dict = {}
    pictures = 0
    for entry in SQLiteStorage.get_logs(cell.parent.name, name):
        for key, value in entry.items():
            if isinstance(value, str):
                texts[key] = value
            elif isinstance(value, dict):
                pictures += value["_type"] == "trackio.image"
            elif key != "step":
                rows.setdefault(key, []).append((entry["step"], round(value, 4)))
    return rows, texts, pictures


def attempt(cell: Path, trackers: TrackerConfig, *, first: int = 1, last: int = 3, end: str = "done", **changes: Any):
    """Track one attempt at a cell as fit() does: epochs `first` to `last`, then its end."""
    cell.mkdir(exist_ok=True)
    drop_rows_after(cell, first - 1)
    record, tracker = make_record(**changes), make_tracker(trackers)
    tracker.start(record, cell)
    for epoch in range(first, last + 1):
        append_row(cell, make_row(epoch))
        tracker.log(make_row(epoch))
    (cell / "graph.png").write_bytes(PIXEL)
    if end == "done":
        tracker.image("training", cell / "graph.png", "loss by epoch")
    tracker.finish(ended(record, cell, end))


def expected(key: str, last: int) -> list[tuple[int, float]]:
    return [(epoch, round(make_row(epoch)[key], 4)) for epoch in range(1, last + 1)]


def test_library_reads_back_rows_outcome_and_picture(tmp_path, backend):
    config, read = backend
    attempt(tmp_path / "cell", config)
    rows, end, num_pictures = read(tmp_path / "cell")
    assert {key: rows[key] for key in ("val/loss", "lr", "time_seconds")} == {
        key: expected(key, 3) for key in ("val/loss", "lr", "time_seconds")
    }
    assert (rows["final/test/accuracy"], rows["cell/params"]) == ([(3, 0.5)], [(3, 1234.0)])
    assert (end["status"], num_pictures) == ("done", 1)


def test_resumed_cell_continues_its_run_and_has_no_step_twice(tmp_path, backend):
    config, read = backend
    attempt(tmp_path / "cell", config, end="interrupted")
    attempt(tmp_path / "cell", config, first=3, last=4)
    rows, end, _ = read(tmp_path / "cell")
    assert rows["val/loss"] == expected("val/loss", 4)
    assert end["status"] == "done"


def test_cell_that_begins_anew_leaves_no_row_of_the_failed_attempt(tmp_path, backend):
    config, read = backend
    attempt(tmp_path / "cell", config, last=3, end="failed")
    attempt(tmp_path / "cell", config, last=2)
    assert read(tmp_path / "cell")[0]["val/loss"] == expected("val/loss", 2)


def test_reason_of_a_failed_cell_is_there(tmp_path, backend):
    config, read = backend
    attempt(tmp_path / "cell", config, end="failed")
    _, end, _ = read(tmp_path / "cell")
    assert end["status"] == "failed"


def sweep(tmp_path: Path) -> list[Path]:
    """Two cells of one arm of a planned study."""
    write_json(tmp_path / "plan.json", make_plan([make_study_record("patch_size=8", 0, None)]) | {"study": "tiny"})
    cells = [tmp_path / "patch_size=8-abababab" / f"seed={seed}" for seed in (0, 1)]
    for cell in cells:
        cell.mkdir(parents=True)
    return cells


def test_tensorboard_has_hyperparameters_with_metrics_in_the_cells_own_run(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    attempt(tmp_path, TrackerConfig(tensorboard=True), seed=3)
    assert [path.name for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()] == []
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = parse_session_start_info_plugin_data(content).hparams
    assert (values["arm"].string_value, values["seed"].number_value) == ("patch_size=8", 3)
    assert values["model.patch_size"].number_value == 8


@pytest.mark.parametrize(
    "store",
    ["{}/mlruns", pytest.param("sqlite:///{}/mlflow.db", marks=pytest.mark.slow)],  # makes a database by migrations
    ids=["files", "sqlite"],
)
def test_mlflow_nests_study_arm_and_seed_once_though_two_cells_start_together(tmp_path, store):
    mlflow = pytest.importorskip("mlflow")
    config = TrackerConfig(project="shelf", mlflow=True, mlflow_uri=store.format(tmp_path))
    starts = [
        threading.Thread(target=attempt, args=(cell, config), kwargs={"seed": seed})
        for seed, cell in enumerate(sweep(tmp_path))
    ]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    client = mlflow.MlflowClient(config.mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("shelf").experiment_id])
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = {(run.info.run_name, names.get(run.data.tags.get("mlflow.parentRunId"))) for run in runs}
    cells = {(f"patch_size=8 seed={seed}", "patch_size=8") for seed in (0, 1)}
    assert found == {("tiny", None), ("patch_size=8", "tiny"), *cells} and len(runs) == 4


def test_trackio_groups_a_cell_by_its_study_and_names_no_user(tmp_path, project):
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    attempt(tmp_path / "cell", TrackerConfig(project=project, trackio=True), end="interrupted")
    config = storage.get_run_config(project, "patch_size=8 seed=0")
    assert (config["_Group"], config["_Username"]) == ("tiny", None)


def test_no_private_path_is_written(tmp_path, backend, trackio_folder):
    config, _ = backend
    private = {"model": {"patch_size": 8}, "data": {"root": "/home/somebody/images"}, "recipe": {}, "seed": 0}
    attempt(tmp_path / "cell", config, end="failed", config=private)
    places = [*tmp_path.rglob("*"), *trackio_folder.glob(f"{config.project}*")]
    content = b"".join(path.read_bytes() for path in places if path.is_file())
    assert b"patch_size=8" in content and b"somebody" not in content
