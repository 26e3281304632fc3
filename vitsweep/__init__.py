"""vitsweep: plan, run and judge ablation studies of Vision Transformers. Importing it loads nothing heavy."""

from pathlib import Path
from typing import Any

from vitsweep import old_imports

__version__ = "0.1.0"
__all__ = ["load_model"]

# A wheel holds vitsweep/analysis. In a checkout `analysis` lies beside the package and is found through this entry.
if not (Path(__file__).parent / "analysis").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))
old_imports.install()


def __getattr__(name: str) -> Any:
    # torch takes over a second to import; `vitsweep --help` must not pay for it.
    if name == "load_model":
        from vitsweep.train.checkpoint import load_model

        return load_model
    raise AttributeError(f"module 'vitsweep' has no attribute {name!r}")
