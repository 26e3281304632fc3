"""`vitsweep track`: agrees with the records it copies, also the second time; refuses with the right words."""

import pytest

from tests.support.make_records import make_sweep
from vitsweep.commands.track import main
from vitsweep.errors import UserError
from vitsweep.study.record import RECORD_NAME, read_rows

pytestmark = pytest.mark.filterwarnings("ignore")  # of TensorBoard and what it imports


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path / "study", {"baseline": [0.6, 0.7], "other": [0.5, 0.4]}, epochs=3)


def curves(sweep) -> dict[str, list[tuple[int, float]]]:
    """Cell -> epochs and validation accuracies, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in sorted(sweep.rglob("tensorboard")):
        events = EventAccumulator(str(folder)).Reload()
        points = [(e.step, round(e.value, 5)) for e in events.Scalars("val/accuracy")]
        found[str(folder.parent.relative_to(sweep))] = points
    return found


def expected(sweep) -> dict[str, list[tuple[int, float]]]:
    cells = sorted(path.parent for path in sweep.rglob(RECORD_NAME))
    rows = {str(cell.relative_to(sweep)): read_rows(cell) for cell in cells}
    return {name: [(r["epoch"], round(r["val/accuracy"], 5)) for r in found] for name, found in rows.items()}


def test_copies_have_the_epochs_of_the_records_also_after_a_second_time(sweep, capsys):
    pytest.importorskip("tensorboard")
    for _ in range(2):
        assert main([str(sweep), "tracker=tensorboard"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4 and all(line.startswith("written") for line in lines)
        assert curves(sweep) == expected(sweep)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: vitsweep track DIR tracker="),
        (["tracker.project=x"], "usage: vitsweep track DIR tracker="),
        (["tracker=tensorboard", "seed=1"], "usage: vitsweep track DIR tracker="),
        (["tracker=wandb"], "tracker=wandb  has no copies to write here; W&B's are sent by vitsweep wandb sync DIR"),
        (["tracker=none"], "tracker=none  has no copies to write here"),
    ],
    ids=str,
)
def test_other_words_are_refused(sweep, words, message):
    with pytest.raises(UserError) as refusal:
        main([str(sweep), *words])
    assert message in str(refusal.value)


def test_folder_without_cells_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no cells; name the directory of a sweep or of a cell"):
        main([str(tmp_path), "tracker=tensorboard"])
