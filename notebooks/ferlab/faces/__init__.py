"""The embedded data set: stylised faces rendered from FACS action units, with known ground truth.

A face is MediaPipe's 468-vertex mesh in the shape of a seeded character. Action units displace the vertices, and OpenCV
draws from them: landmarks, facial regions and the pixels an emotion moved are known exactly.
"""

from ferlab.faces.action_units import ACTION_UNITS, NAMES, TABLE, ActionUnit, Move
from ferlab.faces.characters import BEARDS, HAIR_STYLES, Character, make_character
from ferlab.faces.dataset import Clip, clip, contact_sheet, load, render_sample, sample_expression
from ferlab.faces.mesh import REGIONS
from ferlab.faces.render import MOVED_THRESHOLD, FaceSample, moved_mask, prototype, region_mask, render_face
from ferlab.faces.scene import Light, Scene, sample_scene

__all__ = [
    "ACTION_UNITS", "BEARDS", "HAIR_STYLES", "MOVED_THRESHOLD", "NAMES", "REGIONS", "TABLE",
    "ActionUnit", "Character", "Clip", "FaceSample", "Light", "Move", "Scene",
    "clip", "contact_sheet", "load", "make_character", "moved_mask", "prototype", "region_mask", "render_face",
    "render_sample", "sample_expression", "sample_scene",
]  # fmt: skip
