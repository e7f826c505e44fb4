"""Music genre classification with TS-Resformer.

The public names are resolved when they are first used, so that importing the package costs
nothing and needs no more than the light install.

>>> import tsresformer
>>> tsresformer.Config().slicing.slice_s
3.0
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsresformer.classifier import Classifier, Prediction
    from tsresformer.config import Config
    from tsresformer.evaluation import evaluate
    from tsresformer.manifest import Manifest
    from tsresformer.training.fit import fit

__version__ = "0.1.0"
__all__ = ["Classifier", "Config", "Manifest", "Prediction", "__version__", "evaluate", "fit"]

_HOMES = {
    "Classifier": "classifier",
    "Config": "config",
    "Manifest": "manifest",
    "Prediction": "classifier",
    "evaluate": "evaluation",
    "fit": "training.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
