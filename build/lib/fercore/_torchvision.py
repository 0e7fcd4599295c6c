"""Make ``import torchvision`` work when its compiled operators cannot load.

The torchvision wheel of one index beside the torch build of another (a CPU build, say) cannot load its shared library,
and its import then stops with "operator torchvision::nms does not exist". Models, datasets and transforms need none of
the compiled operators, so declaring the two missing schemas is enough. This is the only place that knows about it;
:mod:`fercore` imports it with the first public name, and before anything of its own that imports torchvision.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

# Schemas as torchvision's own C++ registers them.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _compiled_operators_load() -> bool:
    """Return whether torchvision's shared library loads against this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # no torchvision at all: let its own import error speak
    shared = [path for path in Path(spec.origin).parent.glob("_C*") if path.suffix in (".so", ".pyd")]
    try:
        for path in shared:
            torch.ops.load_library(str(path))
    except OSError:
        return False
    return bool(shared)


if not _compiled_operators_load():
    _library = torch.library.Library("torchvision", "FRAGMENT")  # alive as long as its operators
    for _schema in _SCHEMAS:
        _library.define(_schema)
