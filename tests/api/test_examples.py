"""The example in the docstring of every public name, and of every public method of its class, gives what it shows."""

import doctest
import inspect

import matplotlib.pyplot as plt
import pytest
import torch
from vitsweep.analysis.api.plots import Plots

import vitsweep as vs

OBJECTS = {name: getattr(vs, name) for name in vs.__all__} | {"plot": Plots}
OWN = ("vitsweep.analysis.api", "vitsweep.analysis.attention.maps")


def examples(thing: object) -> list[doctest.DocTest]:
    """Examples of an object and its own methods."""
    function = getattr(thing, "_function", thing)  # vs.run is a module that can be called
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=inspect.isclass(function))
    found = finder.find(function, name=function.__name__, module=False)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", OBJECTS)
def test_example_gives_what_it_shows(name, study, home, monkeypatch):
    monkeypatch.chdir(home)
    found = examples(OBJECTS[name])
    assert found, f"vs.{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in found:
        test.globs = {"vs": vs, "study": study, "cell": study["patch_size=8"][0], "plt": plt, "torch": torch}
        output: list[str] = []
        assert runner.run(test, out=output.append).failed == 0, "".join(output)
    plt.close("all")


@pytest.mark.parametrize("kind", [vs.Study, Plots, vs.Cell])
def test_every_public_method_has_an_example(kind):
    own = {name for name, value in vars(kind).items() if not name.startswith("_") and inspect.isroutine(value)}
    assert own and own <= {test.name.rpartition(".")[2] for test in examples(kind)}
