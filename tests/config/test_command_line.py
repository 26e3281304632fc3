"""The command line as people and W&B's agents write it, and what is refused before anything is composed or trained.

Agrees with the order that Hydra wants; refuses with the right words; obeys the property that nothing is trained.
"""

from pathlib import Path

import pytest

import vitsweep
from vitsweep import cli
from vitsweep.config.command_line import check_words, order_words
from vitsweep.config.suggestions import NOT_HERE, OTHER_NAMES, did_you_mean, known_keys
from vitsweep.errors import ConfigError
from vitsweep.run.launchers import launch_errors

ORDERED = {
    "model.patch_size=4,8 -m seed=0,1": "--multirun model.patch_size=4,8 seed=0,1",
    "seed=0,1 --multirun": "--multirun seed=0,1",
    "-m seed=0,1 --config-dir c study=a": "--multirun --config-dir=c seed=0,1 study=a",
    "a=1 -cn mine b=2 -cd c d=3": "--config-name=mine --config-dir=c a=1 b=2 d=3",
    "--model.patch_size=4 --recipe.lr=0.001": "model.patch_size=4 recipe.lr=0.001",
    "--recipe.clip_norm=None --data.train_limit=None": "recipe.clip_norm=null data.train_limit=null",
    "model.patch_size=None": "model.patch_size=None",  # may not be null, so the message names what was written
    "--cfg job seed=1": "--cfg=job seed=1",
}


@pytest.mark.parametrize("line", ORDERED)
def test_words_are_put_in_hydras_order(line):
    assert order_words(line.split()) == ORDERED[line].split()


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("--dry-run", "--dry-run  is no option; did you mean sweep.dry_run?; a setting is written key=value"),
        ("-x seed=1", "-x  is no option; a setting is written key=value"),
        ("--model.bias", "--model.bias  has no value; write model.bias=true or model.bias=false"),
        ("--config-dir=a --config-dir=b", "--config-dir  is given twice; add the second folder by hydra.searchpath"),
    ],
)
def test_word_that_is_no_option_is_refused(line, sentence):
    with pytest.raises(ConfigError) as refusal:
        order_words(line.split())
    assert str(refusal.value).startswith(sentence)


REFUSED = {
    "--config-name=study/parts": "--config-name=study/parts  is an option of the group study; write study=parts",
    "--config-name=model/vit": "--config-name=model/vit  is an option of the group model; write model=vit",
    "~recipe.clip_norm": "~recipe.clip_norm  cannot be deleted; give it a value: recipe.clip_norm=null",
    "~model.hidden_size": "~model.hidden_size  cannot be deleted; give it a value: model.hidden_size=...",
    "~study": "~study  cannot be deleted; leave study=... out instead",
    "model.hidden_size=???": "model.hidden_size=???  gives no value: ??? marks a missing one; write a value",
    "model={}": "model={}  sets nothing; choose an option, or leave it out",
    "model={bias: 3}": "model.bias=3  must be true or false",
    "sweep.probe=4": "sweep.probe=4  must be true or false",
    "tracker.project=None": "tracker.project=None  is Python's None; write a text",
    "model=${foo}": "model=${foo}  must be the name of an option, not an interpolation",
    "data.root=/a(1)/b": "data.root=/a(1)/b  cannot be parsed (mismatched input '('); quote its value: "
    "\"data.root='/a(1)/b'\"",
    "data.root=/a=b": "data.root=/a=b  cannot be parsed (mismatched input '='); quote its value: \"data.root='/a=b'\"",
    "hydra.verbose=2": "hydra.verbose=2  must be true, false, or the names of loggers: [name,name]",
    "hydra.sweep.dir=null": "hydra.sweep.dir=null  must be a folder",
    "hydra.run.dir=???": "hydra.run.dir=???  gives no value",
    "hydra.sweep.subdir=run_${hydra.job.num}": "hydra.sweep.subdir=run_${hydra.job.num}  is not read: a cell's folder",
    "+hydra.sweeper.params.seed=1": "+hydra.sweeper.params.seed=1  is not read; a sweep stands on the command line: -m",
    "hydra/sweeper=basic": "hydra/sweeper=basic  would train without a plan; vitsweep has its own sweeper",
    "+hydra.foo=1": "+hydra.foo=1  is no setting of Hydra",
    "hydra.run.folder=a": "hydra.run.folder=a  is no setting of Hydra",
}


@pytest.mark.parametrize("word", REFUSED)
def test_setting_that_nothing_reads_is_refused(word):
    with pytest.raises(ConfigError) as refusal:
        check_words(order_words([word]))
    (sentence,) = refusal.value.errors
    assert sentence.startswith(REFUSED[word])


@pytest.mark.parametrize(
    "word",
    ["hydra.run.dir=a", "hydra.verbose=[a,b]", "hydra.job.name=x", "~tracker", "~hydra.callbacks.report", "seed=1"]
    + ["model={hidden_size: 64, bias: false}", "data.root='/a(1)'", "data.root=/a b", "hydra.launcher.n_jobs=2"]
    + ["hydra/sweeper=vitsweep", "hydra.job.env_set.A=1", "model.patch_size=4,8", "model/depth=glob(*)"],
)
def test_setting_that_is_read_passes(word):
    check_words([word])


def test_all_errors_of_a_users_file_are_reported(tmp_path: Path):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("epochs: many\nlrr: 3\nhorizontal_flip: 3\nlr: 1e-3\n")
    with pytest.raises(ConfigError) as refusal:
        check_words([f"--config-dir={tmp_path}", "recipe=mine"])
    assert refusal.value.errors == [
        "recipe/mine.yaml: recipe.epochs=many  must be an integer",
        "recipe/mine.yaml: recipe.lrr  is unknown; did you mean recipe.lr?; see --cfg job for all keys",
        "recipe/mine.yaml: recipe.horizontal_flip=3  must be true or false",
    ]


def test_names_of_other_libraries_are_answered():
    for key, words in OTHER_NAMES.items():
        for word in words.split():
            assert did_you_mean(word), word
        assert key in [*known_keys(), "hydra.run.dir"]
    for what, words in NOT_HERE.items():
        for word in words.split():
            assert did_you_mean(word) == f"; this version has no setting for {what}"


@pytest.mark.parametrize(
    "word, meant",
    [
        ("learning_rate", "recipe.lr"),
        ("weight-decay", "recipe.weight_decay"),
        ("mlp_dim", "model.intermediate_size"),
        ("depth", "model/depth or model.num_hidden_layers"),
        ("dropout", "model/dropout or model.hidden_dropout_prob"),
        ("qkv_bias", "model.qkv_bias"),
        ("batch", "recipe.batch_size"),
    ],
)
def test_name_of_another_library_gets_ours(word, meant):
    assert did_you_mean(word) == f"; did you mean {meant}?"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list:
    found: list = []
    monkeypatch.setattr(cli, "train", lambda *arguments: found.append(arguments) or "done")
    return found


@pytest.mark.parametrize("words", [["sweep.dry_run=true"], ["sweep.dry_run=true", "seed=3", "model.bias=false"]])
def test_dry_run_of_one_cell_prints_its_plan_and_trains_nothing(trained, vitsweep_main, words):
    code, out, _ = vitsweep_main(*words)
    assert code == 0 and not trained and "not started yet" in out and "nothing was trained" in out
    assert not list(Path("outputs").rglob("*.*"))


def test_probe_of_one_cell_times_steps_and_trains_nothing(trained, vitsweep_main, tiny):
    code, out, _ = vitsweep_main(*tiny, "sweep.probe=true")
    assert code == 0 and not trained and "ms/step" in out


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["+lr=0.5"], "lr  is unknown; did you mean recipe.lr?; see --cfg job for all keys"),
        (["hydra.mode=RUN", "study=parts"], "study=...  is planned by -m and vitsweep's sweeper; leave hydra.mode out"),
        (["model.hidden_size=10000000019"], "model.hidden_size=10000000019  must be at most 1000000"),
        (["hydra/launcher=joblib_", "-m"], "hydra/launcher=joblib_  is unknown; allowed: basic"),
        (["hydra/job_logging=colorlog"], "hydra/job_logging=colorlog  needs a plugin that is not installed; "),
        (["+hydra.job.env_set.A=1", "-m", "seed=0,1"], "+hydra.job.env_set.A=1  is not read by the cells of a sweep"),
        (
            ["model.patch_size=big", "recipe.lr=fast", "foo=1"],
            "model.patch_size=big  must be an integer\nrecipe.lr=fast  must be a number\nfoo  is unknown",
        ),
    ],
)
def test_line_is_refused_in_sentences_and_nothing_is_trained(trained, vitsweep_main, words, sentence):
    code, _, err = vitsweep_main(*words)
    assert code == 2 and err.startswith(sentence) and not trained and "Traceback" not in err


def test_added_key_that_an_interpolation_reads_is_no_error(trained, vitsweep_main):
    code, _, err = vitsweep_main("+width=64", "model.hidden_size=${width}", "+tag=a", "hydra.run.dir=o/${tag}")
    assert (code, err) == (0, "") and trained[0][0].model.hidden_size == 64


def test_slurm_without_sbatch_is_refused(monkeypatch):
    from omegaconf import OmegaConf

    target = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    config = OmegaConf.create({"hydra": {"launcher": {"_target_": target}, "overrides": {"hydra": []}}})
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert launch_errors(config) == [
        "hydra/launcher=submitit_slurm  needs Slurm's sbatch, which is not on PATH; start on a machine of the cluster, "
        "or use hydra/launcher=submitit_local"
    ]
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/sbatch")
    assert launch_errors(config) == []


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["status", "DIR"], "status  is a command, not an override; python -m vitsweep status DIR\n"),
        (["stauts"], "stauts  is neither a command nor an override key=value; did you mean status?"),
        (["train", "seed=1"], "train  is neither a command nor an override key=value; did you mean run?"),
        (["-m", "hydra.sweeper.params.seed=0,1"], "hydra.sweeper.params.seed=0,1  is not read; a sweep stands on the"),
        (["+experiment=mine"], "experiment  is unknown; a study file does this here: study=NAME"),
    ],
)
def test_other_programs_ways_are_answered_with_ours(trained, vitsweep_main, words, sentence):
    code, _, err = vitsweep_main(*words)
    assert code == 2 and err.startswith(sentence) and not trained


def test_sweep_of_a_configuration_file_is_answered_with_its_command_line(trained, vitsweep_main, tmp_path):
    lines = ["defaults: [config, _self_]", "hydra:", "  sweeper:", "    params: {model.bias: 'true,false', seed: 3}"]
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    code, _, err = vitsweep_main("--config-dir", str(tmp_path), "--config-name", "mine", "-m", "data=shapes")
    assert code == 2 and "a sweep stands on the command line: -m model.bias=true,false seed=3 (or" in err


def test_group_of_the_users_own_needs_a_plus(trained, vitsweep_main, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 5\n")
    code, _, err = vitsweep_main("--config-dir", str(tmp_path), "experiment=mine")
    assert (code, err) == (2, "experiment  is a group without a default; write +experiment=mine\n")
    assert vitsweep_main("--config-dir", str(tmp_path), "+experiment=mine")[0] == 0
    assert trained[0][0].seed == 5


def test_version_is_ours(vitsweep_main):
    assert vitsweep_main("--version") == (0, f"vitsweep {vitsweep.__version__}\n", "")
