"""The embedded data set: stylised faces rendered from FACS action units, with known ground truth.

A face is MediaPipe's 468-vertex mesh in the shape of a seeded character; action units displace the vertices, and a
picture is drawn from them, so that landmarks, facial regions and the pixels an emotion moved are known exactly. Needs
OpenCV, which ``import fercore`` does not.
"""

try:
    import cv2
except ImportError as error:
    raise ImportError(
        "The embedded faces are drawn with OpenCV: pip install opencv-python-headless."
    ) from error

from ferlab.faces.action_units import ACTION_UNITS
from ferlab.faces.action_units import NAMES
from ferlab.faces.action_units import TABLE
from ferlab.faces.action_units import ActionUnit
from ferlab.faces.action_units import Move
from ferlab.faces.characters import BEARDS
from ferlab.faces.characters import HAIR_STYLES
from ferlab.faces.characters import Character
from ferlab.faces.characters import make_character
from ferlab.faces.dataset import Clip
from ferlab.faces.dataset import clip
from ferlab.faces.dataset import contact_sheet
from ferlab.faces.dataset import load
from ferlab.faces.dataset import render_sample
from ferlab.faces.dataset import sample_expression
from ferlab.faces.mesh import REGIONS
from ferlab.faces.render import MOVED_THRESHOLD
from ferlab.faces.render import FaceSample
from ferlab.faces.render import moved_mask
from ferlab.faces.render import prototype
from ferlab.faces.render import region_mask
from ferlab.faces.render import render_face
from ferlab.faces.scene import Light
from ferlab.faces.scene import Scene
from ferlab.faces.scene import sample_scene

__all__ = [
    "ACTION_UNITS",
    "BEARDS",
    "HAIR_STYLES",
    "MOVED_THRESHOLD",
    "NAMES",
    "REGIONS",
    "TABLE",
    "ActionUnit",
    "Character",
    "Clip",
    "FaceSample",
    "Light",
    "Move",
    "Scene",
    "clip",
    "contact_sheet",
    "load",
    "make_character",
    "moved_mask",
    "prototype",
    "region_mask",
    "render_face",
    "render_sample",
    "sample_expression",
    "sample_scene",
]
