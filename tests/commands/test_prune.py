"""`vitsweep prune`: removes checkpoints of finished cells alone."""

from vitsweep.commands import prune


def test_prune_removes_the_last_checkpoint_of_finished_cells(study, capsys):
    directory, plan = study
    prune.main([str(directory)])
    assert not (directory / plan.cells[0].id / "last.safetensors").exists()
    assert (directory / plan.cells[0].id / "best.safetensors").exists()
    assert (directory / plan.cells[2].id / "state.pt").exists()
    assert "Removed 1 checkpoints of 1 finished cells" in capsys.readouterr().out


def test_prune_all_removes_the_best_checkpoint_too(study):
    directory, plan = study
    prune.main([str(directory), "--all"])
    assert sorted(path.name for path in (directory / plan.cells[0].id).iterdir()) == ["record.json"]


def test_prune_removes_the_weights_of_single_epochs_of_finished_cells_alone(study, capsys):
    directory, plan = study
    folders = [directory / cell.id / "checkpoints" for cell in (plan.cells[0], plan.cells[2])]
    for folder in folders:
        folder.mkdir()
        (folder / "epoch-001.safetensors").write_bytes(b"x")
    prune.main([str(directory)])
    assert [folder.exists() for folder in folders] == [False, True]
    assert "Removed 2 checkpoints of 1 finished cells" in capsys.readouterr().out
