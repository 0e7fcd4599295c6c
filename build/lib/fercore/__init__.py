"""Companion code to "Towards Interpretable Facial Emotion Recognition" (Malik, Kumar & Raman, ICVGIP 2021).

``from fercore import DnCShap`` explains any PyTorch image model; ``fercore.load("fer2013")`` loads a dataset;
``fercore.load_pretrained()`` is a small classifier of FER2013 that comes with the package. The parts are imported when
first used, so ``import fercore`` itself takes no time; they need torch, torchvision, NumPy and Pillow only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fercore.datasets import FaceDataset, load
    from fercore.emotions import EMOTIONS, Emotion
    from fercore.models import ProposedNet
    from fercore.pretrained import load_pretrained
    from fercore.shapley import Background, Blur, DnCResult, DnCShap, Inpaint, PaperDnCShap, ReleasedDnCShap

__version__ = "0.1.0"
_HOMES = {
    "EMOTIONS": "fercore.emotions",
    "Background": "fercore.shapley",
    "Blur": "fercore.shapley",
    "DnCResult": "fercore.shapley",
    "DnCShap": "fercore.shapley",
    "Emotion": "fercore.emotions",
    "FaceDataset": "fercore.datasets",
    "Inpaint": "fercore.shapley",
    "PaperDnCShap": "fercore.shapley",
    "ProposedNet": "fercore.models",
    "ReleasedDnCShap": "fercore.shapley",
    "load": "fercore.datasets",
    "load_pretrained": "fercore.pretrained",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fercore' has no attribute {name!r}")
    from fercore import _torchvision  # before anything imports torchvision

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names too."""
    return sorted({*globals(), *__all__})
