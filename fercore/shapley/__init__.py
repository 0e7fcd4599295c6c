"""Shapley values of image regions by divide and conquer (Section 3.3 of the paper), exact values to test them against.

The modules, each importing only from those before it: ``tree`` (the regions), ``images`` (what is explained),
``baselines`` (what hidden pixels show), ``inputs`` (which classes), ``game`` (the value of a coalition), ``exact``
(enumeration), ``result``, ``base``, ``contexts`` and ``splits`` (what methods choose from), ``fixed``, ``sampled``,
``quadrature`` and ``adaptive`` (the methods), ``dnc`` (all of them under one name), ``published`` (as published).
"""

from __future__ import annotations

from fercore.shapley.baselines import Background, Blur, Inpaint
from fercore.shapley.dnc import DnCShap
from fercore.shapley.exact import exact_owen, exact_shapley
from fercore.shapley.published import PaperDnCShap, ReleasedDnCShap
from fercore.shapley.result import DnCResult
from fercore.shapley.tree import build_tree

__all__ = [
    "Background",
    "Blur",
    "DnCResult",
    "DnCShap",
    "Inpaint",
    "PaperDnCShap",
    "ReleasedDnCShap",
    "build_tree",
    "exact_owen",
    "exact_shapley",
]
