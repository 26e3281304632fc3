"""Dashboards: what the specification says, offline; saved and brought up to date on the stand-in server.

Kinds: properties of the specification, deterministic, refusals, agrees with what the server was sent.
"""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.support.wandb_fixtures import no_account, own_server  # noqa: F401
from vitsweep.__main__ import main as vitsweep
from vitsweep.commands.wandb.dashboard import report_sections
from vitsweep.paths import install_command

STUDY = ["study=parts", "data=shapes", "recipe=quick"]
REPORT = """\
# Ablation study: parts

## Findings

- The baseline reaches 80 %.

## Comparison

Test accuracy at the last epoch.

| arm | verdict |
| :--- | :--- |
| bias=false | undecided |

<picture><img src="figures/effects.svg" alt="Effects"></picture>

What the picture shows.

## Training

Curves.
"""

pytest.importorskip("wandb_workspaces", reason="needs the extra `dashboards`")
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # of wandb-workspaces' own code


@pytest.fixture
def dashboard(monkeypatch, capsys):
    """`python -m vitsweep wandb dashboard ...` in this process: exit code, output, error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vitsweep", "wandb", "dashboard", *STUDY, *arguments])
        code = vitsweep()
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def specification(tmp_path_factory) -> dict:
    """Output of --dry-run for a study without a report."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        patch.setattr("sys.argv", ["vitsweep", "wandb", "dashboard", *STUDY, "--dry-run"])
        assert vitsweep() == 0
    return json.loads(out.getvalue())


def sections_of(specification: dict) -> dict[str, list[dict]]:
    """Workspace section -> its panels' configurations."""
    bank = specification["workspace"]["section"]["panelBankConfig"]
    return {s["name"]: [p["config"] | {"kind": p["viewType"]} for p in s["panels"]] for s in bank["sections"]}


def test_arms_are_groups_of_the_studys_runs(specification):
    (runs,) = specification["workspace"]["section"]["runSets"]
    assert [f["value"] for f in runs["filters"]["filters"]] == ["parts-shapes-quick"]
    assert runs["grouping"] == [{"section": "config", "name": "arm.value"}]


def test_curves_are_means_with_bands_over_epochs_of_all_runs(specification):
    for panel in sections_of(specification)["Learning curves"]:
        assert (panel["groupBy"], panel["groupAgg"], panel["groupArea"]) == ("arm.value", "mean", "minmax")
        assert (panel["xAxis"], panel["limit"]) == ("epoch", 10)  # 5 arms x 2 seeds


def test_every_promised_panel_is_there(specification):
    found = {panel["kind"] for panels in sections_of(specification).values() for panel in panels}
    assert found == {
        "Markdown Panel",
        "Run History Line Plot",
        "Bar Chart",
        "Parallel Coordinates Plot",
        "Parameter Importance",
        "Media Browser",
        "Run Comparer",
    }
    assert sections_of(specification)["Differences between runs"][0]["diffOnly"] is True
    assert [panel["mediaKeys"] for panel in sections_of(specification)["Pictures"]] == [["rollout"], ["training"]]


def test_parallel_axes_are_what_the_arms_change(specification):
    columns = [column["accessor"] for column in sections_of(specification)["Factors"][0]["columns"]]
    assert {"config:model.value.bias", "config:model.value.patch_size", "config:recipe.value.lr"} <= set(columns)
    assert columns[-1] == "summary:final/val/accuracy"


def test_nothing_is_chosen_by_the_test_accuracy(specification):
    assert "test/" not in json.dumps(sections_of(specification)["Factors"])


def test_report_has_the_same_panels_as_the_workspace(specification):
    grids = [block for block in specification["report"]["blocks"] if block["type"] == "panel-grid"]
    kinds = [p["viewType"] for grid in grids for p in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    ours = [panel["kind"] for panels in sections_of(specification).values() for panel in panels]
    assert kinds == ours[1:]  # the verdicts are text there


def test_verdicts_are_the_text_of_our_report(dashboard):
    folder = Path("outputs/parts-shapes-quick/report")
    folder.mkdir(parents=True)
    (folder / "report.md").write_text(REPORT)
    found = json.loads(dashboard("--dry-run")[1])
    text = sections_of(found)["Verdicts"][0]["value"]
    assert "| bias=false | undecided |" in text and "The baseline reaches 80 %." in text
    assert text in [block.get("content") for block in found["report"]["blocks"]]


def test_verdicts_leave_out_pictures_and_other_sections():
    text = report_sections(REPORT)
    assert text.startswith("## Findings") and text.endswith("| bias=false | undecided |")


def test_specification_is_the_same_every_time_and_leaves_chance_alone(dashboard):
    import random

    random.seed(5)
    first, drawn = dashboard("--dry-run")[1], random.random()
    random.seed(6)
    assert dashboard("--dry-run")[1] == first
    random.seed(5)
    assert random.random() == drawn


def test_dry_run_sends_no_request(dashboard, server):
    assert dashboard("--dry-run")[0] == 0
    assert server.requests == []


def test_the_specification_is_what_the_server_gets_and_a_second_call_replaces_it(dashboard, server, specification):
    code, out, err = dashboard()
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["workspace", "report"]
    (workspace,) = [view for view in server.answers.views.values() if view["type"] == "project-view"]
    assert workspace["spec"] == specification["workspace"]
    assert (workspace["entityName"], workspace["projectName"]) == ("local", "vitsweep")
    before = {name: view["spec"] for name, view in server.answers.views.items()}
    assert len(before) == 2
    assert dashboard()[0] == 0
    assert {name: view["spec"] for name, view in server.answers.views.items()} == before


def test_no_key_and_no_answer_are_refused_in_words(dashboard, monkeypatch):
    assert "WANDB_API_KEY  is not set" in dashboard()[2]
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    code, _, err = dashboard("--entity", "local")
    assert code == 2 and "does not answer; print the dashboard without it: --dry-run" in err


def test_account_without_an_entity_is_refused(dashboard, server):
    server.answers.on_viewer = lambda variables: {"viewer": {"id": "u1", "entity": None}}
    code, _, err = dashboard()
    assert code == 2 and "did not return your W&B user (its account has no entity); pass --entity" in err


def test_a_server_that_refuses_is_one_sentence(dashboard, server):
    assert dashboard("--entity", "local")[0] == 0
    server.mood.statuses = [200, *[400] * 50]
    code, _, err = dashboard("--entity", "local")
    assert code == 2 and "did not accept the dashboard" in err and "Traceback" not in err


def test_without_the_extra_a_sentence_says_what_to_install(dashboard, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb_workspaces"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = dashboard("--dry-run")
    assert code == 2 and install_command("dashboards") in err
