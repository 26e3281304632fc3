"""Public names of `import vitsweep as vs`: each is imported when it is first used, so that importing stays light.

`vitsweep.run` is a room and a public function, and `vitsweep.plan` an import path of version 0.1: such a module can be
called, as the function.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Signature

HOMES = {
    "Arm": "vitsweep.analysis.api.cells",
    "AttentionMaps": "vitsweep.analysis.attention.maps",
    "Cell": "vitsweep.analysis.api.cells",
    "ModelConfig": "vitsweep.config.model_schema",
    "Study": "vitsweep.analysis.api.study",
    "StudyPlan": "vitsweep.analysis.api.planning",
    "UserError": "vitsweep.errors",
    "ViT": "vitsweep.model.vit",
    "attention_maps": "vitsweep.analysis.attention.maps",
    "load": "vitsweep.analysis.api.study",
    "load_model": "vitsweep.train.checkpoint",
    "plan": "vitsweep.analysis.api.planning",
    "rollout": "vitsweep.analysis.attention.rollout",
    "run": "vitsweep.analysis.api.running",
}
"""Public name -> module that defines it."""


def find(name: str) -> Any:
    """Import and return a public object.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in HOMES:
        raise AttributeError(f"module 'vitsweep' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


class CallableModule(ModuleType):
    """Module that is also the public function of the same name."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self._function(*args, **settings)

    @property
    def _function(self) -> Any:
        return find(self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> "Signature":
        from inspect import signature  # late: it takes as long to import as all that is above

        return signature(self._function)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]  # help(vs.run) shows the function's text
        return self._function.__doc__


def make_callable(name: str) -> None:
    """Make an imported module that has a public function's name callable."""
    sys.modules[name].__class__ = CallableModule
