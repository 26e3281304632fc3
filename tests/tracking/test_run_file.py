"""Reader of W&B run files: agrees with what was logged; every torn or damaged file gives a clean beginning."""

import random

import pytest

from tests.support.wandb_cells import make_record, make_row, run_cell
from tests.support.wandb_fixtures import no_account  # noqa: F401
from vitsweep.tracking.client import release_service
from vitsweep.tracking.run_file import read_payloads, read_run_file


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    """A run file of 200 epochs: more than one block of 32 KiB."""
    folder = tmp_path_factory.mktemp("cell")
    run_cell(folder, make_record(), last=200)
    release_service()
    return next(folder.glob("wandb/offline-run-*/*.wandb")).read_bytes()


def test_reader_gives_rows_end_and_names(content, tmp_path):
    (tmp_path / "run-x.wandb").write_bytes(content)
    found = read_run_file(tmp_path / "run-x.wandb")
    rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in found.rows if "epoch" in row]
    assert len(content) > 2 * 32768 and rows == [make_row(epoch) for epoch in range(1, 201)]
    assert (found.exit_code, found.run["group"], found.summary["status"]) == (0, "tiny", "done")


def test_a_torn_file_gives_the_records_before_the_tear(content):
    whole = list(read_payloads(content))
    cuts = [*range(0, 400, 7), *range(400, len(content), 997)]
    assert all(list(read_payloads(content[:cut])) == whole[: len(list(read_payloads(content[:cut])))] for cut in cuts)


def test_a_flipped_bit_ends_the_reading_and_changes_nothing_before(content):
    whole, chance = list(read_payloads(content)), random.Random(0)
    for _ in range(40):
        place = chance.randrange(7, len(content))
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        found = list(read_payloads(bytes(damaged)))
        assert found == whole[: len(found)]


@pytest.mark.parametrize("start", [b"", b":W&B\xe1\xbe\x00", b"something else entirely"], ids=repr)
def test_a_file_without_records_is_empty(start, tmp_path):
    (tmp_path / "run-x.wandb").write_bytes(start)
    found = read_run_file(tmp_path / "run-x.wandb")
    assert (found.rows, found.exit_code, found.config) == ([], None, {})
