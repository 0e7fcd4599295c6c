"""Where MediaPipe's two network files come from: a folder that the user names, or Google's public address.

Both are Apache-2.0 (Google). Neither is part of this package; each is used only if its SHA-256 is the pinned one.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


@dataclass(frozen=True)
class ModelFile:
    """A network in TensorFlow Lite's format.

    Attributes:
        name: File name, here and at :data:`ADDRESSES`.
        sha256: Its checksum, hexadecimal.
        outputs: Names of the tensors that are read.
    """

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
    """Return where a network file lies; fetch it if the user has named no folder that holds it.

    Looks into the folder that the environment variable ``FERCORE_MODELS`` names, then into the user's cache, where
    ``pooch`` keeps what it has fetched from Google's public address.

    Args:
        model: Which network.
        progress: Show a bar while it is fetched.

    Returns:
        The path of a file with the pinned checksum.

    Raises:
        ModelFileError: If it is in neither place and cannot be fetched, or the named folder holds another file.
    """
    folder = os.environ.get(VARIABLE)
    if folder:
        path = Path(folder).expanduser() / model.name
        if path.is_file():
            _check(path, model)
            return path
    try:
        return _fetch(model, progress)
    except Exception as error:  # pooch lets through whatever requests, urllib3 and the file system raise
        raise ModelFileError(_missing(model, folder, error)) from error


def _check(path: Path, model: ModelFile) -> None:
    if (found := digest(path)) != model.sha256:
        raise ModelFileError(
            f"{path} is not the file that is needed: its SHA-256 is {found}, not {model.sha256}. "
            f"Get {ADDRESSES[0]}{model.name} again."
        )


def _fetch(model: ModelFile, progress: bool) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise ImportError("pooch, which would fetch it, is not installed: pip install pooch") from error
    about = {
        "known_hash": f"sha256:{model.sha256}",
        "fname": model.name,
        "path": pooch.os_cache("fercore"),
        "progressbar": progress,
    }
    *others, last = ADDRESSES
    for address in others:
        try:
            return Path(pooch.retrieve(address + model.name, **about))
        except Exception:  # whatever requests, urllib3 or the checksum raise: the next address may do
            continue
    return Path(pooch.retrieve(last + model.name, **about))


def _missing(model: ModelFile, folder: str | None, error: Exception) -> str:
    looked = f"{folder} (named by {VARIABLE}) does not hold it" if folder else f"{VARIABLE} names no folder"
    return (
        f"{model.name}, a network of MediaPipe, is needed to find landmarks and is not here: {looked}, and it could "
        f"not be fetched ({error}). Get {ADDRESSES[0]}{model.name} (SHA-256 {model.sha256}), put it into a folder "
        f"of your choice, and set {VARIABLE} to that folder. Landmarks need {' and '.join(f.name for f in FILES)}."
    )


class Network:
    """A network file, run by OpenCV on one image at a time. Not to be shared between threads.

    Args:
        model: Which network.

    Raises:
        ModelFileError: As :func:`find` does.
    """

    def __init__(self, model: ModelFile) -> None:
        import cv2

        path = str(find(model))
        # OpenCV 5's new engine gives only one of a TensorFlow Lite network's outputs; OpenCV 4 has but the classic one.
        classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        engine: tuple[Any, ...] = () if classic is None else (classic,)
        self._net = cv2.dnn.readNetFromTFLite(path, *engine)
        self._outputs = list(model.outputs)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Run the network.

        Args:
            pixels: (S, S, 3) float32 RGB, in the range that the network takes.

        Returns:
            Its outputs, float32, in the order of :attr:`ModelFile.outputs`.
        """
        self._net.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
        return list(self._net.forward(self._outputs))


@functools.cache
def network(model: ModelFile) -> Network:
    """Return a network, found and read once per process."""
    return Network(model)
