"""Music genre classification with TS-Resformer.

The public names are resolved when they are first used, so that importing the package costs
nothing and needs no more than the light install.

>>> import tsresformer
>>> tsresformer.Config().slicing.slice_s
3.0
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsresformer.classifier import Classifier, Prediction
    from tsresformer.config import Config
    from tsresformer.evaluate import evaluate
    from tsresformer.manifest import Manifest
    from tsresformer.training.fit import fit

__version__ = "0.1.0"
__all__ = ["Classifier", "Config", "Manifest", "Prediction", "__version__", "evaluate", "fit"]

_HOMES = {
    "Classifier": "classifier",
    "Config": "config",
    "Manifest": "manifest",
    "Prediction": "classifier",
    "evaluate": "evaluate",
    "fit": "training.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the submodule `evaluate` sets it as an attribute of the package, which would
        # hide the public function of the same name.
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
