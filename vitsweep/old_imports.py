"""Import paths of version 0.1, which users' scripts and notebooks may hold, as aliases of today's modules.

Only what was documented or plainly public is listed. The finder stands last in sys.meta_path: a module that exists
under the old name, such as a user's own `analysis`, is found first.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from vitsweep.public import make_callable

MOVED = {
    "vitsweep.vit": "vitsweep.model.vit",
    "vitsweep.resnet": "vitsweep.model.resnet",
    "vitsweep.models": "vitsweep.model.build",
    "vitsweep.layers": "vitsweep.model.layers",
    "vitsweep.checkpoint": "vitsweep.train.checkpoint",
    "vitsweep.record": "vitsweep.study.record",
    "vitsweep.plan": "vitsweep.study.plan",
    "analysis": "vitsweep.analysis",
    "analysis.callback": "vitsweep.analysis.callback",
    "analysis.pictures": "vitsweep.analysis.pictures",
    "analysis.load": "vitsweep.analysis.records.load",
    "analysis.rollout": "vitsweep.analysis.attention.rollout",
    "analysis.stats": "vitsweep.analysis.statistics.paired",
}


class OldImports:
    """Finder and loader that give today's module for a name of MOVED.

    Not of importlib.abc's classes: their import takes longer than all else that `import vitsweep` does.
    """

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for an old name, None for every other."""
        return ModuleSpec(fullname, self, is_package=fullname == "analysis") if fullname in MOVED else None  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import and return today's module."""
        module = import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        if spec.name == "vitsweep.plan":  # a public function has this name now
            make_callable(module.__name__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back; it was executed under its own name."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Append the finder to sys.meta_path, once."""
    if not any(isinstance(finder, OldImports) for finder in sys.meta_path):
        sys.meta_path.append(OldImports())
