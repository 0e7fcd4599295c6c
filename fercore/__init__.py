"""Companion code to "Towards Interpretable Facial Emotion Recognition" (Malik, Kumar & Raman, ICVGIP 2021)."""

from fercore import _torchvision  # noqa: F401  must run before anything imports torchvision

__version__ = "0.1.0"
