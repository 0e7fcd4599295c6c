"""What people call explainers and measures."""

from __future__ import annotations

from ferlab.explainers import METHODS

# What people read, and whether more is better (None: neither).
MEASURES: dict[str, tuple[str, bool | None]] = {
    "insertion_black": ("insertion, black", True),
    "insertion_blurred": ("insertion, blurred", True),
    "deletion_black": ("deletion, black", False),
    "deletion_blurred": ("deletion, blurred", False),
    "infidelity": ("infidelity", False),
    "sensitivity": ("max-sensitivity", False),
    "mass": ("relevance mass accuracy", True),
    "rank": ("relevance rank accuracy", True),
    "pointing": ("pointing game", True),
    "correlation": ("correlation with the exact map", True),
    "error": ("relative error to the exact map", False),
    "same_rank": ("rank correlation", None),
    "same_magnitude": ("rank correlation of magnitudes", None),
    "same_structure": ("SSIM", None),
}


def title(name: str) -> str:
    """Return what people call a method or a measure."""
    return METHODS[name].title if name in METHODS else MEASURES[name][0]
