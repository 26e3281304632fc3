"""vitsweep: plan, run and judge ablation studies of Vision Transformers. Importing it loads nothing heavy.

    import vitsweep as vs

    study = vs.run("model.patch_size=4,8", "seed=0,1,2", data="shapes", recipe="quick")
    study.arms                                  # the comparison table, a pandas.DataFrame
    study.plot.effects()                        # the report's figure, on axes of yours if you like
    study["patch_size=8"][0].model()            # a trained network

docs/python.md lists the public names, which are those of `__all__`; everything else may change.
"""

import os.path
from typing import TYPE_CHECKING, Any

from vitsweep import old_imports, public

if TYPE_CHECKING:
    from vitsweep.analysis.api.cells import Arm, Cell
    from vitsweep.analysis.api.planning import StudyPlan, plan
    from vitsweep.analysis.api.running import run
    from vitsweep.analysis.api.study import Study, load
    from vitsweep.analysis.attention.maps import AttentionMaps, attention_maps
    from vitsweep.analysis.attention.rollout import rollout
    from vitsweep.config.model_schema import ModelConfig
    from vitsweep.errors import UserError
    from vitsweep.model.vit import ViT
    from vitsweep.train.checkpoint import load_model

__version__ = "0.1.0"
__all__ = [
    "Arm",
    "AttentionMaps",
    "Cell",
    "ModelConfig",
    "Study",
    "StudyPlan",
    "UserError",
    "ViT",
    "attention_maps",
    "load",
    "load_model",
    "plan",
    "rollout",
    "run",
]

# A wheel holds vitsweep/analysis. In a checkout `analysis` lies beside the package and is found through this entry.
if not os.path.isdir(os.path.join(os.path.dirname(__file__), "analysis")):
    __path__.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
old_imports.install()


def __getattr__(name: str) -> Any:
    value = public.find(name)
    if name != "run":  # the room of that name comes in its place when something imports it, and can be called too
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
