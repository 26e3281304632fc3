"""Random command lines, built from real keys, groups, sweeps, broken syntax and other libraries' names, end well.

Obeys a property: each gives a plan or a refusal in sentences, never a traceback, and no cell is started. Seeded; the
number is VITSWEEP_FUZZ, 300 by default; the slow tests take seven tenths of them.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from vitsweep import cli
from vitsweep.commands import plan as plan_command
from vitsweep.config.hydra import make_loader
from vitsweep.config.messages import user_errors
from vitsweep.config.suggestions import NOT_HERE, OTHER_NAMES, known_keys
from vitsweep.errors import UserError
from vitsweep.paths import conf_dir
from vitsweep.run import sweep
from vitsweep.study.plan_builder import plan_and_directory
from vitsweep.train.trial import probe

NUM_LISTS = int(os.environ.get("VITSWEEP_FUZZ", "300"))
PARTS = 10  # tests that share the lists
DEFAULT_PARTS = 3
SHARE_WHOLE = 0.1  # of the lists that go through the whole command, with Hydra; the others are planned only

KEYS = [key for key in known_keys() if "/" not in key]
GROUPS = [key for key in known_keys() if "/" in key] + ["model", "data", "recipe", "tracker"]
ELSEWHERE = [word for words in (*OTHER_NAMES.values(), *NOT_HERE.values()) for word in words.split()]
HYDRA = ["hydra.run.dir", "hydra.sweep.dir", "hydra.verbose", "hydra.job.name", "hydra.job.num", "hydra.sweep.subdir"]
HYDRA += ["hydra.mode", "hydra/launcher", "hydra/sweeper", "hydra.output_subdir", "hydra.callbacks", "hydra.foo"]
HYDRA += ["hydra/job_logging", "hydra.searchpath", "hydra.sweeper.params", "hydra.job.chdir", "hydra.launcher.n_jobs"]
HYDRA += ["hydra.job.env_set", "hydra.sweeper.params.seed", "hydra.help.template", "hydra.runtime.cwd"]
VALUES = ["0", "1", "2", "4", "8", "16", "-1", "0.5", "1e-3", "nan", "inf", "1e400", "10000000019", "9" * 40, "true"]
VALUES += ["false", "yes", "null", "None", "???", "", "''", "a", "auto", "off", "cpu", "vit", "resnet", "sgd", "quick"]
VALUES += ["[1,2]", "[]", "{}", "{a: 1}", "{name: x}", "{hidden_size: 64}"]
VALUES += ["'a b'", "/a b/c", "/a(1)/b", "a=b", "ä", "{"]
VALUES += ["${seed}", "${nothing}", "${oc.env:NOPE}", "${model}"]
VALUES += ["${oc.env:HOME}", "${", "${now:%Y}", "\\", "'", "a:b", "%"]
SWEEPS = ["4,8", "1,1", "a,b", "choice(4,8)", "choice()", "range(3)"]
SWEEPS += ["range(4,1)", "range(0,100000000)", "range(1,2,0)"]
SWEEPS += ["glob(*)", "glob(p*,exclude=p2)", "glob(x)", "interval(0,1)", "tag(log,interval(1,2))", "shuffle(4,8)"]
SWEEPS += ["sort(8,4)", "null,4", "[1,2],[3]", "{a: 1},{b: 2}", "4,", ",4", "int(4)", "str(4,8)", "range(0,1,1e-9)"]
SWEEPS += ["shuffle(range(5))", "vit,resnet", "true,false", "0.1,nan", "'a','b'", "choice(a,choice(b,c))", "???,1"]
STUDY = ["study=parts", "study=readme_small", "study=nope", "+study.factors.x=['model.bias=false']", "study.seeds=3"]
STUDY += ["study.factors.x=['model.bias=false']", "study.design=grid"]
STUDY += ["study.placebo=true", "study.claims=[5]", "study="]
STUDY += ["study.seeds=[4294967295]", "study.seeds=1000000000"]
STUDY += ["study.exclude=[5]", "study.arms={a: 1}", "study.name=''"]
BROKEN = ["", "=", "==", "a", "~", "+", "++", "~seed", "~model", "+x=1"]
BROKEN += ["++y=2", "model", "model.", ".bias=1", "a..b=1"]
BROKEN += ["~recipe.clip_norm", "~tracker", "model@x=vit"]
BROKEN += ["+model/depth@model=l4", "model.patch_size=4=5", "@=", "a=(", "['"]
BROKEN += ["-m", "--model.patch_size=4", "--model.bias", "--dry-run"]
BROKEN += ["--foo=1", "--config-name=study/parts", "-x", "--"]


def random_override(chance: random.Random) -> str:
    """Draw one word of a command line."""
    kind = chance.random()
    value = chance.choice(VALUES if chance.random() < 0.7 else SWEEPS)
    if kind < 0.35:
        return f"{chance.choice(['', '', '', '', '+', '++', '~'])}{chance.choice(KEYS)}={value}"
    if kind < 0.55:
        group = chance.choice(GROUPS)
        options = [path.stem for path in (conf_dir() / group).glob("*.yaml")]
        return f"{group}={chance.choice([*sorted(options), value])}"
    if kind < 0.65:
        return f"{chance.choice(HYDRA)}={value}"
    if kind < 0.75:
        return f"{chance.choice(['', '', '+', 'model.', '--'])}{chance.choice(ELSEWHERE)}={value}"
    if kind < 0.9:
        return chance.choice(STUDY)
    return chance.choice(BROKEN)


@pytest.fixture(scope="module")
def loader() -> Iterator:
    return make_loader(None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what would train; the probe, which times real steps, is left out."""
    found: list[str] = []
    monkeypatch.setattr(cli, "train", lambda *arguments: found.append("a single cell") or "done")
    monkeypatch.setattr(sweep, "run_cells", lambda *arguments: found.append("a sweep"))
    monkeypatch.setattr(probe, "probe_plan", lambda plan: {})
    return found


@pytest.mark.parametrize(
    "part",
    [*range(DEFAULT_PARTS), *(pytest.param(part, marks=pytest.mark.slow) for part in range(DEFAULT_PARTS, PARTS))],
)
def test_random_command_line_is_planned_or_refused_in_sentences(part, loader, started, vitsweep_main: Callable):
    for number in range(part, NUM_LISTS, PARTS):
        chance = random.Random(number)
        words = [random_override(chance) for _ in range(chance.randint(1, 5))] + ["sweep.dry_run=true"]
        words.insert(chance.randint(0, len(words)), "-m") if chance.random() < 0.5 else None
        is_whole = chance.random() < SHARE_WHOLE
        try:
            code, said = whole_command(words, vitsweep_main) if is_whole else plan_only(words, loader)
        except BaseException as error:
            raise AssertionError(f"list {number}: {words}") from error
        assert code in (0, 2) and not started, (number, words, said)
        assert code == 0 or (said.strip() and "Traceback" not in said), (number, words, said)


def whole_command(words: list[str], vitsweep_main: Callable) -> tuple[int, str]:
    code, _, err = vitsweep_main(*words)
    return code, err


def plan_only(words: list[str], loader) -> tuple[int, str]:
    """Check and plan as the command does, without a second composition by Hydra."""
    overrides = [word for word in words if not word.startswith("-")]
    try:
        with user_errors(overrides):
            plan, directory = plan_and_directory(overrides, loader, "config")
            plan_command.print_plan(plan, directory)
    except UserError as error:
        return 2, str(error)
    return 0, ""
