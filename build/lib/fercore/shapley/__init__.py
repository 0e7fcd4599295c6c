"""Shapley values of image regions by divide and conquer (Section 3.3 of the paper), exact values to test them against.

To be read in this order, each imports from those before it: ``inputs`` (what the user hands over), ``tree`` (the
regions), ``baselines`` (what hidden pixels show), ``game`` (the value of a coalition), ``exact`` (enumeration),
``contexts`` (how a node's score is divided, in fixed contexts, all or K of them), ``quadrature`` and ``adaptive``
(chosen on the way), ``result``, ``base``, ``dnc`` (all methods under one name), ``published`` (as published).
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
