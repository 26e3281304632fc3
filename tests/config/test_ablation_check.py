"""The check of an ablation's parts: nothing is missing here, and each part that a small made-up axis lacks is named."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ablation_check import CODE, Part, missing_parts
from vitsweep.added_fields import added_field


def test_no_ablation_lacks_a_part():
    assert missing_parts() == []


@dataclass(kw_only=True)
class GatedConfig:
    """Settings of a network with one axis."""

    width: int = 8
    gate: str = added_field("none")
    gate_bias: bool = added_field(False)

    @property
    def is_gated(self) -> bool:
        """True with a gate."""
        return self.gate != "none"

    def errors(self) -> list[str]:
        """Return one message for each broken rule."""
        return [] if self.gate_bias in (True, False) else ["model.gate_bias"]

    def implied_values(self) -> dict[str, object]:
        """Return the values for which null stands."""
        return {}


PART = Part(
    name="model",
    kind=GatedConfig,
    words={"gate": ("none", "sigmoid")},
    first=("width",),
    schema="schema.py",
    rows=("rows.py", "AXES"),
    references=("tests/model/test_*.py",),
    page="page.md",
)
NOTE = "# A gate.\n# why: w; source: s\n# command: c\n# expected: e\n"
FILES = {
    "vitsweep/model/gate.py": "def make(config: GatedConfig):\n    config.width, config.is_gated, config.gate_bias",
    "vitsweep/train/trial/noop.py": 'EXPECTED = ("model", "gate gate_bias", {"evaluation"})',
    "conf/config.yaml": f"{NOTE}defaults: [_self_, model/gate: null]",
    "conf/model/gate/none.yaml": f"{NOTE}gate: none\ngate_bias: false",
    "conf/model/gate/sigmoid.yaml": f"{NOTE}defaults: [none@_here_, _self_]\ngate: sigmoid",
    "conf/model/gate/biased.yaml": f"{NOTE}defaults: [sigmoid@_here_, _self_]\ngate_bias: true",
    "rows.py": 'AXES = {"gate": {"none": {}, "sigmoid": {"gate": "sigmoid", "gate_bias": True}}}',
    "tests/train/test_noop.py": 'ACTING = {"model.gate=sigmoid": {}, "model.gate=sigmoid model.gate_bias=true": {}}',
    "tests/model/test_gate.py": 'def test_gate():\n    assert ViT(small_config(gate="sigmoid", gate_bias=True))',
    "page.md": "| `gate` | `gate`, `gate_bias` | none, sigmoid, biased | an oracle |",
}
"""A checkout with one axis that lacks nothing."""


def messages(folder: Path, part: Part = PART, **changed: tuple[str, str]) -> list[str]:
    """Return what a checkout lacks in which texts of files were replaced."""
    for name, text in FILES.items():
        old, new = changed.get(Path(name).stem, ("", ""))
        assert old in text
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace(old, new) if old else text)
    return missing_parts(folder, [part])


def test_axis_with_all_parts_is_complete(tmp_path):
    assert messages(tmp_path) == []


REFERENCE = "write one: equal to another library, or to an oracle of its own"
LACKING = {
    "field that no code reads": (
        {"gate": ("config.gate_bias", "'config.gate_bias'")},
        ["schema.py: nothing reads model.gate_bias; write its branch in {code}"],
    ),
    "field that a comment alone names": (
        {"gate": (", config.gate_bias", "  # config.gate_bias")},
        ["schema.py: nothing reads model.gate_bias; write its branch in {code}"],
    ),
    "attribute of something else": (
        {"gate": ("config.gate_bias", "layer.gate_bias")},
        ["schema.py: nothing reads model.gate_bias; write its branch in {code}"],
    ),
    "property that no code reads": (
        {"gate": ("config.is_gated", "1")},
        ["schema.py: nothing reads model.gate; write its branch in {code}"],
    ),
    "source in the head": (
        {"sigmoid": ("; source: s", "")},
        ["conf/model/gate/sigmoid.yaml: the head lacks `# source: ...`; write it"],
    ),
    "text after a word of the head": (
        {"sigmoid": ("why: w", "why:")},
        ["conf/model/gate/sigmoid.yaml: the head lacks `# why: ...`; write it"],
    ),
    "group in the defaults": (
        {"config": ("model/gate", "model/gates")},
        ["conf/config.yaml: the command line does not know model/gate; write `- model/gate: null` below defaults"],
    ),
    "default in a group": (
        {"none": ("gate: none", "gate: sigmoid")},
        ["conf/model/gate: no option is the default; write one that sets every key of the group to it"],
    ),
    "key in the default": (
        {"none": ("\ngate_bias: false", "")},
        ["conf/model/gate/none.yaml: other options set what it leaves alone; write `gate_bias: false`"],
    ),
    "option for a word": (
        {"sigmoid": ("gate: sigmoid", "gate: none")},
        ["conf/model: no option sets gate: sigmoid; write conf/model/AXIS/OPTION.yaml"],
    ),
    "option for a switch": (
        {"biased": ("gate_bias: true", "gate_bias: false")},
        ["conf/model: no option sets gate_bias: true; write conf/model/AXIS/OPTION.yaml"],
    ),
    "row with a field": (
        {"rows": (', "gate_bias": True', "")},
        ['rows.py: AXES lacks "gate_bias"; write a row with it'],
    ),
    "row with a word": (
        {"rows": ('"gate": "sigmoid"', '"gate": "none"')},
        ['rows.py: AXES lacks "gate": "sigmoid"; write a row with it'],
    ),
    "row with a switch": (
        {"rows": ("True", "False")},
        ['rows.py: AXES lacks "gate_bias": true; write a row with it'],
    ),
    "effects in the no-op check": (
        {"noop": (" gate_bias", "")},
        ["vitsweep/train/trial/noop.py: EXPECTED lacks model.gate_bias; write which effects it may have"],
    ),
    "row of the no-op check": (
        {"test_noop": (" model.gate_bias=true", "")},
        ['tests/train/test_noop.py: ACTING lacks model.gate_bias; write `"model.gate_bias=VALUE": {EFFECTS}`'],
    ),
    "reference for a field": (
        {"test_gate": (", gate_bias=True", "")},
        [f"tests/model/test_*.py: no test has model.gate_bias; {REFERENCE}"],
    ),
    "reference for a word": (
        {"test_gate": ("sigmoid", "tanh")},
        [f"tests/model/test_*.py: no test has model.gate=sigmoid; {REFERENCE}"],
    ),
    "field on the page": (
        {"page": (", `gate_bias`", "")},
        ["page.md: no row has `gate_bias`; write it there"],
    ),
    "group on the page": (
        {"page": ("| `gate` |", "| gates |")},
        ["page.md: no row begins with `gate`; write group, fields, options, reference"],
    ),
    "option on the page": (
        {"page": (", biased", "")},
        ["page.md: the options of `gate` lack biased; write them there"],
    ),
}
"""Part -> the text that is replaced in a file, and the messages."""


@pytest.mark.parametrize("part", LACKING)
def test_part_that_an_axis_lacks_is_named(part, tmp_path):
    changes, expected = LACKING[part]
    code = "vitsweep/model or vitsweep/train or vitsweep/data"
    assert messages(tmp_path, **changes) == [text.replace("{code}", code) for text in expected]


def test_reading_a_field_for_its_price_is_not_honoring_it(tmp_path):
    price = tmp_path / "vitsweep/model/cost.py"
    price.parent.mkdir(parents=True)
    price.write_text(FILES["vitsweep/model/gate.py"])
    found = messages(tmp_path, gate=("config.gate_bias", "0"))
    assert found == [f"schema.py: nothing reads model.gate_bias; write its branch in {' or '.join(CODE)}"]


def test_field_that_would_change_old_hashes_is_named(tmp_path):
    part = dataclasses.replace(PART, first=())
    text = "schema.py: model.width would change the hashes of earlier studies; write `= added_field(DEFAULT)`"
    assert text in messages(tmp_path, part)
