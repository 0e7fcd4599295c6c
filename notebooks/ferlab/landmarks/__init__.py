"""Landmarks of photographs, and facial regions from them.

MediaPipe's networks find 468 points in a photograph without the ``mediapipe`` package; the embedded faces bring theirs.
"""

from ferlab.landmarks.extraction import FaceLandmarks, extract
from ferlab.landmarks.models import ModelFileError
from ferlab.landmarks.regions import region_labels, region_maps
from ferlab.landmarks.store import coverage, landmarks_of

__all__ = [
    "FaceLandmarks", "ModelFileError", "coverage", "extract", "landmarks_of", "region_labels", "region_maps",
]  # fmt: skip
