"""Ray as a module in memory: nodes that a test describes, and tasks whose ends a test decides."""

import importlib.machinery
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest


class RayError(Exception):
    """A task that was lost."""


def node(name: str, **resources: float) -> dict[str, Any]:
    """A node as ray.nodes() describes it."""
    found = {"CPU": 2.0, "memory": 1e9, f"node:{name}": 1.0} | resources
    return {"NodeID": name, "NodeManagerHostname": name, "NodeManagerAddress": "::1", "Alive": True, "Resources": found}


@dataclass
class FakeRay:
    """The answers of Ray that a test sets, and the calls that it finds."""

    nodes: list[dict[str, Any]] = field(default_factory=lambda: [node("n1"), node("n2")])
    on_task: Callable[[str], Any] = lambda cell_id: (cell_id, 0)
    """Result of a task, from its argument; raises what ray.get raises."""
    refusal: Exception | None = None
    """Error of ray.init."""
    submitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Argument and options of each task."""
    cancelled: list[Any] = field(default_factory=list)

    def init(self, **options: Any) -> None:
        if self.refusal:
            raise self.refusal

    def wait(self, refs: list[Any], **options: Any) -> tuple[list[Any], list[Any]]:
        """Every task ends at once."""
        return refs, []

    def get(self, ref: tuple[int, str]) -> Any:
        return self.on_task(ref[1])

    def remote(self, function: Any) -> "FakeTask":
        return FakeTask(self, {})


@dataclass
class FakeTask:
    """A remote function."""

    ray: FakeRay
    given: dict[str, Any]

    def options(self, **options: Any) -> "FakeTask":
        return FakeTask(self.ray, options)

    def remote(self, argument: str) -> tuple[int, str]:
        self.ray.submitted.append((argument, self.given))
        return len(self.ray.submitted), argument


def install(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Put the module `ray` of a new FakeRay in place of an installed one."""
    fake = FakeRay()
    for name in ("ray", "ray.exceptions", "ray.util", "ray.util.scheduling_strategies"):
        module: Any = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    ray: Any = sys.modules["ray"]
    ray.nodes, ray.cancel, ray.is_initialized = lambda: fake.nodes, fake.cancelled.append, lambda: False
    for name in ("init", "wait", "get", "remote"):
        setattr(ray, name, getattr(fake, name))
    sys.modules["ray.exceptions"].RayError = RayError  # type: ignore[attr-defined]
    strategies: Any = sys.modules["ray.util.scheduling_strategies"]
    strategies.NodeAffinitySchedulingStrategy = lambda name, soft: name
    return fake
