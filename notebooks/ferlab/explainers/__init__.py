"""The explainers that the paper compares, and their rivals and controls, behind one call: :func:`explain`.

Each module imports only from those before it: ``base`` (what an explainer is given and returns), ``rivals`` and
``regions`` (methods that hide image regions), ``gradients`` (methods that differentiate), ``controls`` (maps that know
nothing of the network), ``registry`` (all of them by name), ``store`` (keeps maps). shap, captum and lime are imported
where they are used.
"""

from ferlab.explainers.base import Maps, Settings
from ferlab.explainers.registry import CONTROLS, METHODS, Method, explain, installed

__all__ = ["CONTROLS", "METHODS", "Maps", "Method", "Settings", "explain", "installed"]
