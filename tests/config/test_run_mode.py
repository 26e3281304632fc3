"""A study on the command line is a sweep without `-m`; one in a configuration file is refused."""

import pytest

from vitsweep.config.overrides import with_run_mode


@pytest.mark.parametrize("override", ["study=parts", "study.seeds=2", "+study=mine"])
def test_study_is_a_sweep(override):
    assert with_run_mode(["seed=1", override]) == ["seed=1", "hydra.mode=MULTIRUN", override]


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=1"],
        ["study=null"],
        ["~study"],
        ["study=parts", "-m"],
        ["--multirun", "study=parts"],
        ["study=parts", "--cfg", "job"],
        ["study=parts", "hydra.mode=RUN"],
    ],
)
def test_other_command_lines_are_kept(arguments):
    assert with_run_mode(arguments) == arguments


@pytest.mark.parametrize("multirun", [[], ["-m", "seed=0,1"]])
def test_study_in_a_configuration_file_is_refused(vitsweep_main, tmp_path, tiny, multirun):
    text = "defaults:\n  - config\n  - override study: parts\n  - _self_\n"
    (tmp_path / "mine.yaml").write_text(text)
    code, out, err = vitsweep_main("--config-dir", str(tmp_path), "--config-name", "mine", *multirun, *tiny)
    assert code == 2 and not list(tmp_path.rglob("record.json"))
    assert err == "study=parts  is chosen in a configuration file; remove it there and pass study=parts\n"
