"""Refusals of a study file, word for word: its entries, its levels, its YAML; and the names of its directory.

Nothing is trained.
"""

import re

import pytest
import yaml

from tests.support.small_studies import THREE
from vitsweep.commands import plan as price
from vitsweep.errors import ConfigError
from vitsweep.study.plan_builder import build_plan

REFUSED = {
    "design": (
        {"design": "best"},
        "study.design=best  is unknown; allowed: fraction, grid, list, loco, ofat, pairs, path",
    ),
    "no factors": ({"factors": {}}, "study.factors={}  is empty; design=ofat needs at least one factor"),
    "empty factor": ({"factors": {"a": []}}, "study.factors.a=[]  must be a list of at least one level"),
    "no level": (
        {"factors": {"a": [8]}},
        "study.factors.a=[8]  must be overrides such as model.bias=false, or lists of them",
    ),
    "no override": (
        {"factors": {"a": ["big"]}},
        "study.factors.a=['big']  must be overrides such as model.bias=false, or lists of them",
    ),
    "only the baseline": (
        {"factors": {"a": ["model.patch_size=4"]}},
        "study.factors.a  has only the baseline's level; add another or drop it",
    ),
    "unknown key": (
        {"factors": {"a": ["model.patch_sise=8"]}},
        "model.patch_sise  is unknown; did you mean model.patch_size?; see --cfg job for all keys"
        "    [model.patch_sise=8]",
    ),
    "unknown option": (
        {"factors": {"a": ["model/depth=l99"]}},
        "model/depth=l99  is unknown; allowed: l10, l12, l2, l4, l6, l8    [model/depth=l99]",
    ),
    "impossible level": (
        {"factors": {"a": ["model.patch_size=5"]}},
        "model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32    [model.patch_size=5]",
    ),
    "impossible baseline": (
        {"baseline": ["model.patch_size=5"]},
        "model.patch_size=5  does not divide model.image_size=32; allowed: 1, 2, 4, 8, 16, 32    [model.patch_size=5]",
    ),
    "equal arms": (
        {"factors": {"a": ["model.patch_size=8"], "b": ["model/patch_size=p8"]}},
        "`model.patch_size=8` and `model/patch_size=p8`  resolve to the same model, data and recipe; keep one of them",
    ),
    "equal labels": (
        {"factors": {"a": ["recipe.lr=1", "recipe.weight_decay=1"]}},
        "study.factors.a=['recipe.lr=1', 'recipe.weight_decay=1']  has two levels that read the same; keep one of them",
    ),
    "shadowed group": (
        {"baseline": ["model.patch_size=16"], "factors": {"a": ["model/patch_size=p8", "model.bias=false"]}},
        "`model/patch_size=p8` of study.factors.a  sets model.patch_size=8, but `model.patch_size=16` beats it; "
        "drop one of them",
    ),
    "shadowed by another factor": (
        {"design": "grid", "factors": {"a": ["model/patch_size=p8"], "b": ["model.patch_size=16"]}},
        "`model/patch_size=p8` of arm a=p8+b=16  sets model.patch_size=8, but `model.patch_size=16` beats it; "
        "drop one of them",
    ),
    "one key in two factors": (
        {"design": "grid", "factors": {"a": ["recipe.lr=1"], "b": ["recipe.lr=2"]}},
        "`recipe.lr=1` and `recipe.lr=2`  set one key in one arm; make them levels of one factor",
    ),
    "seed as a level": (
        {"factors": {"a": ["seed=3"]}},
        "study.factors.a=`seed=3`  sets the seed, which is the replicate; use study.seeds",
    ),
    "seed in the baseline": (
        {"baseline": ["seed=3"]},
        "study.baseline=`seed=3`  sets the seed, which is the replicate; use study.seeds",
    ),
    "device as a level": (
        {"factors": {"a": ["device=cpu"]}},
        "study.factors.a=`device=cpu`  changes where or how a cell is computed, not what is learned; "
        "pass it on the command line, for all arms",
    ),
    "hydra as a level": (
        {"factors": {"a": ["hydra.sweep.dir=x"]}},
        "study.factors.a=`hydra.sweep.dir=x`  does not belong in a study file; pass it on the command line",
    ),
    "several values in a level": (
        {"factors": {"a": ["model.patch_size=8,16"]}},
        "model.patch_size=8,16  names several values where one belongs; give one    [model.patch_size=8,16]",
    ),
    "exclude all": (
        {"factors": {"bias": ["model.bias=false"]}, "exclude": [{"bias": "false"}]},
        "study.exclude  leaves only the baseline; exclude less",
    ),
    "exclude nothing": (
        {"exclude": [{"bias": "true"}]},
        "study.exclude={'bias': 'true'}  matches no arm; see the levels of the plan",
    ),
    "seeds repeated": ({"seeds": [1, 1]}, "study.seeds=[1, 1]  names a seed twice; each seed is one replicate"),
    "seeds negative": (
        {"seeds": [-1]},
        "study.seeds=[-1]  must be a list of integers in 0 .. 2**32 - 1, or their number",
    ),
    "seeds none": ({"seeds": 0}, "study.seeds=0  must be a list of integers in 0 .. 2**32 - 1, or their number"),
    "name of a path": (
        {"name": "../x"},
        "study.name='../x'  must be letters, digits, . _ or -; it names the directory",
    ),
    "loco with two levels": (
        {"design": "loco", "factors": {"a": ["model.patch_size=8", "model.patch_size=16"]}},
        "study.factors.a  must have one level for design=loco; make it two factors",
    ),
    "fraction of one": (
        {"design": "fraction", "factors": {"a": ["model.bias=false"]}},
        "study.design=fraction  needs 3 to 10 factors, not 1; use design=grid or pairs",
    ),
    "resolution": (
        {"design": "fraction"},
        "study.resolution=4  cannot be had with 3 factors; allowed: 3 to 3",
    ),
    "pairs of one": (
        {"design": "pairs", "factors": {"a": ["model.bias=false"]}},
        "study.design=pairs  needs at least 2 factors; use design=ofat for one",
    ),
    "list without arms": (
        {"design": "list", "factors": {}},
        "study.arms={}  is empty; design=list needs arms: {name: [override, ...]}",
    ),
    "list with factors": (
        {"design": "list", "arms": {"x": ["model.bias=false"]}},
        "study.factors  is not read by design=list; write them as arms, or use another design",
    ),
    "arms without list": (
        {"arms": {"x": ["model.bias=false"]}},
        "study.arms  is not read by design=ofat; drop it, or use design=list",
    ),
    "arm called baseline": (
        {"design": "list", "factors": {}, "arms": {"baseline": ["model.bias=false"]}},
        "study.arms.baseline  must be letters, digits, . _ = + or -, and neither of baseline, placebo; "
        "it names a directory",
    ),
    "arm that is the baseline": (
        {"design": "list", "factors": {}, "arms": {"x": ["model.bias=true"]}},
        "`baseline` and `model.bias=true`  resolve to the same model, data and recipe; keep one of them",
    ),
    "rope": ({"rope": -1.0}, "study.rope=-1.0  must be finite and not negative"),
    "error": ({"error": "student"}, "study.error=student  is unknown; allowed: paired, pooled, welch"),
    "published": (
        {"published": {"baseline": "high"}},
        "study.published.baseline=high  must be a number, in percent, or {value: ..., n: ..., source: ...}",
    ),
    "unknown entry": (
        {"factor": {"a": ["model.bias=false"]}},
        "study/mine.yaml: study.factor  is unknown; did you mean study.factors?; allowed: arms, baseline, claims, "
        "design, error, exclude, factors, interactions, looks, name, placebo, published, resolution, rope, scale, "
        "seeds, spending, tune",
    ),
    "wrong kind of entry": (
        {"baseline": {"model.bias": False}},
        'study/mine.yaml: study.baseline={"model.bias": false}  must be a list',
    ),
    "text for a list": (
        {"baseline": "model.bias=false"},
        "study/mine.yaml: study.baseline=model.bias=false  must be a list",
    ),
    "number for a switch": ({"placebo": 7}, "study/mine.yaml: study.placebo=7  must be true or false"),
    "number of seeds": ({"seeds": 1_000_000_000}, "study.seeds=1000000000  must be at most 10000"),
    "seed beside a placebo": (
        {"seeds": [4294967295], "placebo": True},
        "study.seeds=4294967295  must be at most 4293967292 beside placebo: true",
    ),
    "seed that a placebo has": (
        {"seeds": [0, 1_000_003], "placebo": True},
        "study.seeds=0  has the placebo of seed 0 train as seed 1000003, another replicate; drop one of them",
    ),
    "grid too large": (
        {"design": "grid", "factors": {f"f{i}": ["recipe.lr=1", "recipe.lr=2"] for i in range(10)}},
        "study.design=grid  makes 59049 arms x 1 seeds; a study has at most 50000 cells: sweep less",
    ),
    "list for a mapping": (
        {"factors": ["model.bias=false"]},
        'study/mine.yaml: study.factors=["model.bias=false"]  must be a mapping',
    ),
    "wrong type": ({"placebo": "maybe"}, "study/mine.yaml: study.placebo=maybe  must be true or false"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_study_is_refused_with_key_rule_and_remedy(refusal, case):
    entries, sentence = REFUSED[case]
    assert refusal(**entries) == [sentence]


def test_all_errors_of_a_file_are_reported_at_once(refusal):
    entries = {"name": "a/b", "design": "best", "rope": -1.0, "seeds": [-1], "baseline": ["seed=3"]}
    keys = [sentence.partition("=")[0] for sentence in refusal(**entries)]
    assert keys == ["study.name", "study.rope", "study.baseline", "study.seeds", "study.design"]


def test_wrong_name_does_not_hide_a_wrong_level(refusal):
    sentences = refusal(name="a/b", factors={"a": ["model.patch_sise=8"]})
    assert [s.split()[0] for s in sentences] == ["study.name='a/b'", "model.patch_sise"]


@pytest.mark.parametrize("name", [{}, {"name": ""}])
def test_study_without_a_name_is_named_after_its_file(folder, composer, written, name):
    written(text=yaml.safe_dump({"factors": THREE, "seeds": 2} | name))
    assert build_plan(["study=mine"], composer).study == "mine"


def test_study_without_a_name_is_run_in_a_directory_of_its_file(folder, written, vitsweep_main):
    written(text=yaml.safe_dump({"factors": THREE, "seeds": 2}))
    code, out, _ = vitsweep_main("study=mine", "sweep.dry_run=true", "--config-dir", str(folder))
    assert code == 0 and "mine: 4 arms x 2 seeds = 8 cells" in out and "outputs/mine" in out


@pytest.mark.parametrize("text", ["# nothing\n", "{}\n"])
def test_empty_study_file_is_refused(refusal, text):
    assert refusal(text=text) == [
        "study/mine.yaml  must be a mapping (name: ..., factors: ..., design: ..., seeds: ...), not nothing"
    ]


def test_aliases_that_grow_without_end_are_refused(refusal):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    text = "name: mine\nfactors:\n" + "".join(f"  {line}\n" for line in lines)
    assert refusal(text=text) == [
        "study/mine.yaml  repeats its aliases (*name) to more than 1000000 entries; write it without them"
    ]


def test_all_errors_of_all_cells_are_reported_at_once(refusal):
    levels = {"a": ["model.patch_size=5"], "b": ["model.hidden_size=33"], "c": ["recipe.lr=-1"]}
    assert len(refusal(factors=levels)) == 3


def test_command_that_plans_refuses_in_the_same_words(written, folder):
    written(baseline={"model.bias": False})
    with pytest.raises(ConfigError) as refused:
        price.main(["study=mine", "--config-dir", str(folder)])
    assert str(refused.value) == REFUSED["wrong kind of entry"][1]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("name: mine\nfactors:\n  a: [model.bias=false\nseeds: 3\n", "line 4, column 6: .*expected ',' or '\\]'.*"),
        ("name: mine\nfactors:\n\ta: [x=1]\n", "line 3, column 1: found character .*that cannot start any token"),
        ("name: mine\nname: yours\n", "line 2, column 1: found duplicate key name"),
        ("name: a: b\n", "line 1, column 8: mapping values are not allowed .*"),
    ],
)
def test_yaml_error_names_file_line_and_column(refusal, folder, text, sentence):
    (message,) = refusal(text=text)  # Hydra 1.4 reads with libyaml, whose words differ a little
    assert re.fullmatch(f"{re.escape(str(folder))}/study/mine.yaml, {sentence}; correct the YAML there", message)


def test_study_file_that_is_a_list_is_refused(refusal):
    assert refusal(text="- a\n- b\n") == [
        "study/mine.yaml  must be a mapping (name: ..., factors: ..., design: ..., seeds: ...), not a list"
    ]


def test_study_file_that_is_no_text_is_refused(folder, composer):
    (folder / "study").mkdir(exist_ok=True)
    (folder / "study" / "mine.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match=r"^study/mine.yaml  is not UTF-8 text \(byte 6.*save it as UTF-8$"):
        build_plan(["study=mine"], composer)
