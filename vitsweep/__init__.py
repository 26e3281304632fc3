"""vitsweep: plan, run and judge ablation studies of Vision Transformers. Importing it loads nothing heavy."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    # torch takes over a second to import; `vitsweep --help` must not pay for it.
    if name == "load_model":
        from vitsweep.checkpoint import load_model

        return load_model
    raise AttributeError(f"module 'vitsweep' has no attribute {name!r}")
