"""Landmarks of photographs, facial regions from them, and how maps fit what FACS expects. Needs OpenCV.

MediaPipe's networks find 468 points in a photograph without the ``mediapipe`` package; the embedded faces bring theirs.
"""

try:
    import cv2
except ImportError as error:
    raise ImportError("Landmarks are found with OpenCV: pip install opencv-python-headless.") from error

from ferlab.landmarks.extraction import FaceLandmarks, extract
from ferlab.landmarks.models import ModelFileError
from ferlab.landmarks.regions import region_labels, region_maps
from ferlab.landmarks.store import coverage, landmarks_of

__all__ = [
    "FaceLandmarks",
    "ModelFileError",
    "coverage",
    "extract",
    "landmarks_of",
    "region_labels",
    "region_maps",
]
