"""Where MediaPipe's two network files come from: a folder that the user names, or Google's public address.

Both are Apache-2.0 (Google). Neither is part of this package; each is used only if its SHA-256 is the pinned one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pooch

from fercore.checkpoints import digest
from fercore.errors import FercoreError

# Google keeps other builds under the same names elsewhere. That the pinned ones lie here is in MediaPipe's
# third_party/external_files.bzl, rules com_google_mediapipe_tasks_testdata_vision_* and com_google_mediapipe_*.
ADDRESSES = (
    "https://storage.googleapis.com/mediapipe-assets/tasks/testdata/vision/",
    "https://storage.googleapis.com/mediapipe-assets/",
)
VARIABLE = "FERCORE_MODELS"  # names a folder that holds the files


class ModelFileError(FercoreError, FileNotFoundError):
    """A network file cannot be had, or is not the one that is needed; the message says where to get it."""


class ModelFile(NamedTuple):
    """A network in TensorFlow Lite's format: its file's name and checksum, and the tensors that are read."""

    name: str
    sha256: str
    outputs: tuple[str, ...]


# 192 x 192 RGB in 0..1 -> 468 points (x, y, z) in pixels of the input, and the logit that there is a face.
LANDMARKS = ModelFile(
    "face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ("conv2d_21", "conv2d_31"),
)
# BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047): 128 x 128 RGB in -1..1 -> 896 boxes with six points, and logits.
DETECTOR = ModelFile(
    "face_detection_short_range.tflite",
    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ("regressors", "classificators"),
)
FILES = (LANDMARKS, DETECTOR)


def find(model: ModelFile, progress: bool = True) -> Path:
    """Return a network file from the folder that ``FERCORE_MODELS`` names, else from the user's cache, else fetch it.

    ModelFileError if it cannot be had, or the named folder holds another file.
    """
    folder = os.environ.get(VARIABLE)
    path = Path(folder or "").expanduser() / model.name
    if folder and path.is_file():
        if (found := digest(path)) != model.sha256:
            raise ModelFileError(
                f"{path} is not the file that is needed: its SHA-256 is {found}, not {model.sha256}. "
                f"Get {ADDRESSES[0]}{model.name} again."
            )
        return path
    try:
        return _fetch(model, progress)
    except Exception as error:  # pooch lets through whatever requests, urllib3 and the file system raise
        raise ModelFileError(
            f"{model.name}, a network of MediaPipe, is needed to find landmarks. {VARIABLE} names "
            f"{folder or 'no folder'}, it is not there, and it could not be fetched ({error}). Get "
            f"{ADDRESSES[0]}{model.name} (SHA-256 {model.sha256}), put it into a folder of your choice, and set "
            f"{VARIABLE} to that folder. Landmarks need {' and '.join(file.name for file in FILES)}."
        ) from error


def _fetch(model: ModelFile, progress: bool) -> Path:
    """Return pooch's copy of a network file, from the first address that has the pinned one."""
    about = {"known_hash": f"sha256:{model.sha256}", "fname": model.name, "progressbar": progress}
    for address in ADDRESSES:
        try:
            return Path(pooch.retrieve(address + model.name, path=pooch.os_cache("fercore"), **about))
        except Exception as error:  # of requests, urllib3 or the checksum: the next address may do
            failed = error
    raise failed


@functools.cache
def network(model: ModelFile) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a network, found and read once per process; not to be shared between threads.

    It takes the pixels of one image, (S, S, 3) float32 RGB in its own range, and gives its outputs in their order.
    """
    # OpenCV 5's new engine gives only one of a TensorFlow Lite network's outputs; OpenCV 4 has but the classic one.
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    net = cv2.dnn.readNetFromTFLite(str(find(model)), *([] if classic is None else [classic]))

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        net.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
        return list(net.forward(list(model.outputs)))

    return run
