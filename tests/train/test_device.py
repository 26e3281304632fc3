"""Without a compiler training goes on uncompiled: the same result, and one sentence."""

import logging

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from vitsweep.train.device import compile_network


def refuse(function, **_):
    """torch.compile on a machine where its back end finds no compiler."""

    def raises(*_):
        raise TorchDynamoException("no working C++ compiler\nand more lines")

    return raises


def test_network_is_used_uncompiled_where_it_cannot_be_compiled(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", refuse)
    forward = compile_network(torch.neg, torch.device("cpu"))
    with caplog.at_level(logging.WARNING):
        assert [forward(torch.tensor(value)).item() for value in (1.0, 2.0)] == [-1.0, -2.0]
    assert [record.getMessage() for record in caplog.records] == [
        "not compiled, trained without: no working C++ compiler"
    ]


def test_mistake_of_the_network_itself_is_not_swallowed(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    forward = compile_network(lambda image: image + torch.ones(3), torch.device("cpu"))
    with pytest.raises(RuntimeError, match="must match the size"):
        forward(torch.ones(2))


def test_every_size_is_compiled_for_itself_and_replayed_as_a_graph_on_cuda(monkeypatch):
    asked = {}
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.update(options) or function)
    compile_network(torch.neg, torch.device("cuda"))
    assert asked == {"mode": "reduce-overhead", "dynamic": False}
