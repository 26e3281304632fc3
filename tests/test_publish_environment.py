"""Published sweeps carry packages and patches of their environment, without private paths."""

from pathlib import Path

from vitsweep.analysis.publish import publish_environment


def published(tmp_path: Path, files: dict[str, str]) -> list[str]:
    """Publish an environment of these files; return the names that arrive."""
    (tmp_path / "study" / "environment").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "study" / "environment" / name).write_text(text)
    publish_environment(tmp_path / "study", tmp_path / "out")
    return sorted(path.name for path in (tmp_path / "out").rglob("*.*"))


def test_packages_and_patches_are_published(tmp_path):
    files = {"packages-0123456789ab.txt": "torch==2\n", "changes-0123456789ab.patch": "+x = 1\n", "notes.txt": "mine"}
    assert published(tmp_path, files) == ["changes-0123456789ab.patch", "packages-0123456789ab.txt"]


def test_patch_with_a_private_path_is_left_out_and_named(tmp_path, capsys):
    assert published(tmp_path, {"changes-0123456789ab.patch": "+root = '/data/ada/cifar'\n"}) == []
    assert "holds a path of this machine; published without" in capsys.readouterr().err
