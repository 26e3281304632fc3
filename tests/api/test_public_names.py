"""The public names are frozen, each is found, and importing the package imports nothing heavy."""

import ast
import inspect
import subprocess
import sys

import vitsweep as vs
from tests.support.imports import ROOT
from vitsweep import public

NAMES = {
    "Arm": "a mapping of seeds",
    "AttentionMaps": "maps of images",
    "Cell": "one training",
    "ModelConfig": "settings of a network",
    "Study": "a mapping of arms",
    "StudyPlan": "arms, cost, power",
    "UserError": "the base of all errors of input",
    "ViT": "the network",
    "attention_maps": "maps of a model",
    "load": "a Study from disk or W&B",
    "load_model": "a trained network",
    "plan": "a StudyPlan",
    "rollout": "attention rollout of matrices",
    "run": "train, then a Study",
}
"""What the version promises. A name may be added; one that is removed or renamed needs a new major version."""


def run(code: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_public_names_are_those_that_were_promised():
    assert sorted(NAMES) == vs.__all__ == sorted(public.HOMES)
    assert set(NAMES) <= set(dir(vs))


def test_page_on_python_has_every_name():
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if f"vs.{name}" not in page]


def test_every_name_is_defined_where_type_checkers_read_it():
    tree = ast.parse((ROOT / "vitsweep/__init__.py").read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    assert {alias.name: line.module for line in block.body for alias in line.names} == public.HOMES
    assert (ROOT / "vitsweep/py.typed").is_file()


def test_importing_is_light():
    """No library outside of Python's own is imported."""
    done = run("import sys; before = set(sys.modules); import vitsweep as vs; print(*(set(sys.modules) - before))")
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"vitsweep", *sys.stdlib_module_names}


def test_loading_a_study_needs_no_torch():
    code = "import sys, vitsweep as vs; vs.load('docs/results/small_fixed').cells"
    assert run(f"{code}; print({{'torch', 'wandb'}} & {{*sys.modules}})").stdout == "set()\n"


def test_unknown_name_is_an_attribute_error():
    assert run("import vitsweep; vitsweep.no_such_name").stderr.endswith(
        "AttributeError: module 'vitsweep' has no attribute 'no_such_name'\n"
    )


def test_room_and_function_of_one_name_live_together():
    from vitsweep.analysis.api.running import run as function

    import vitsweep.run.slots

    assert vitsweep.run.slots.Slot and callable(vs.run)
    assert inspect.signature(vs.run) == inspect.signature(function)
    assert vs.run.__doc__ == function.__doc__


def test_old_import_path_of_plans_leaves_the_function_callable():
    code = "import vitsweep.plan, vitsweep as vs; vs.plan.read_plan; print(callable(vs.plan))"
    assert run(code).stdout == "True\n"
