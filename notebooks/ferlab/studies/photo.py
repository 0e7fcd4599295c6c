"""A photograph of the reader's own: read, the face found and cut out as FER2013's were; all on this machine."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from fercore.checkpoints import atomic_path
from fercore.emotions import Emotion
from fercore.errors import FercoreError

SIZE = 48  # pixels a side of what the network sees
SMALLEST = 24  # a face of fewer pixels a side would be mostly made up by enlarging it
LOOKED_AT = 640  # a face is looked for in the photo scaled to this longer side
BORDER = 1 / 4  # of each side: replicated pixels around it, for faces that fill it
SHARES = (1 / 6, 3 / 2)  # of the shorter side: the range in which the side of a face is looked for
# Strict: a face that is missed leads to a message, one that is made up to a wrong explanation. Of 84 pictures of other
# things with a FER2013 face pasted in, face_box gave the face for 57, something else for 4, and refused 23.
_SEARCH = {"scale_factor": 1.1, "step_ratio": 1, "min_neighbor_number": 4}
_SAME = 0.5  # windows that share more than this part of the smaller one are of one face
_RIVAL = 1 / 2  # a second face counts from this share of the side of the largest one
_ORIENTATION, _TURNED = 0x0112, 6  # EXIF's tag, and its value for "turn me by 90 degrees clockwise"


class PhotoError(FercoreError, ValueError):
    """A photo cannot be read, or it is not clear which face of it is meant; the message says what to do."""


class Box(NamedTuple):
    """A square of a photo, in pixels of the upright photo. A photo is (H, W, 3) uint8 RGB throughout."""

    left: float
    top: float
    side: float

    def __str__(self) -> str:
        """Write it as the parameter ``box`` takes it."""
        return f"[{self.left:.0f}, {self.top:.0f}, {self.side:.0f}]"


def read(path: str | Path) -> np.ndarray:
    """Read a photo, upright by its EXIF data, as 8-bit RGB, white where it is transparent."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise PhotoError(f"There is no file {path}. Give a photo's path, from the folder {Path.cwd()} on.")
    try:
        with Image.open(path) as file:
            photo = np.array(_rgb(ImageOps.exif_transpose(file)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PhotoError(
            f"{path} is not an image that Pillow can read ({error}). Save it as JPEG or PNG; photos of iPhones are "
            "often HEIC, which has to be exported as JPEG first."
        ) from error
    height, width = photo.shape[:2]
    if min(height, width) < SIZE:
        raise PhotoError(
            f"{path} has {width} x {height} pixels; the network looks at {SIZE} x {SIZE}. Take a larger photo."
        )
    return photo


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        image = Image.fromarray(np.clip(np.round(np.asarray(image) / 257), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


@functools.cache
def _cascade() -> Any:
    """The detector that comes with scikit-image: a cascade of local binary patterns for faces seen from the front."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def find_faces(photo: np.ndarray) -> list[Box]:
    """Find frontal faces, largest first, no two overlapping by half, by a cascade (Viola & Jones 2004) on patterns."""
    import cv2

    height, width = photo.shape[:2]
    scale, shorter = LOOKED_AT / max(height, width), min(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=method)
    border = round(BORDER * scale * shorter)
    padded = np.pad(small, ((border, border), (border, border), (0, 0)), mode="edge")
    least, most = (round(share * scale * shorter) for share in SHARES)
    limits = {"min_size": (max(SMALLEST, least),) * 2, "max_size": (most,) * 2}
    found = _cascade().detect_multi_scale(img=padded, **limits, **_SEARCH, intersection_score_threshold=_SAME)
    boxes = [Box((f["c"] - border) / scale, (f["r"] - border) / scale, f["width"] / scale) for f in found]
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: (-box.side, box)):
        if all(_shared(box, other) <= box.side**2 / 2 for other in kept):
            kept.append(box)
    return kept


def _shared(a: Box, b: Box) -> float:
    """Return the pixels that two boxes share."""
    across, down = (min(p + a.side, q + b.side) - max(p, q) for p, q in ((a.left, b.left), (a.top, b.top)))
    return max(0.0, across) * max(0.0, down)


def face_box(photo: np.ndarray, box: Sequence[float] = ()) -> Box:
    """Return the square to cut out: the given one, ``[left, top, side]``, or the one face of the photo."""
    if len(box):
        return _checked(photo, box)
    found = find_faces(photo)
    faces = [face for face in found if face.side >= _RIVAL * found[0].side]
    if not faces:
        raise PhotoError(
            "No face was found. The finder sees faces from the front, upright, of at least a sixth of the photo's "
            "shorter side. Take another photo, cut this one closer, or say where the face is: "
            "box = [left, top, side] in pixels, from the brows to the chin or a little more."
        )
    if len(faces) > 1:
        listed = "\n".join(f"  box = {face}" for face in faces)
        raise PhotoError(f"{len(faces)} faces were found. Choose one of them as parameter:\n{listed}")
    return _checked(photo, faces[0], inside=False)


def _checked(photo: np.ndarray, box: Sequence[float], inside: bool = True) -> Box:
    """Refuse a box that cannot be cut out; one that was found may reach beyond the photo."""
    height, width = photo.shape[:2]
    if len(box) != 3 or not np.isfinite(box).all():
        raise PhotoError(f"box = [left, top, side] has three numbers, in pixels; it is {list(box)}.")
    left, top, side = map(float, box)
    if side < SMALLEST:
        raise PhotoError(
            f"The face has {side:.0f} pixels a side, fewer than {SMALLEST}. Take a larger photo of it."
        )
    if inside and (min(left, top) < 0 or left + side > width or top + side > height):
        raise PhotoError(
            f"box = {list(box)} reaches beyond the photo, which is {width} pixels wide and {height} high. It is "
            "[left, top, side], counted from the upper left corner."
        )
    return Box(left, top, side)


def cut(photo: np.ndarray, box: Box, margin: float = 1.0) -> np.ndarray:
    """Cut a face out as FER2013's were, at a detector's box: a grey (BT.601) square of 48 pixels, (48, 48, 1) uint8."""
    from ferlab.landmarks.crops import Square

    middle = box.left + box.side / 2, box.top + box.side / 2
    square = Square(*middle, margin * box.side).cut(np.ascontiguousarray(photo), SIZE)
    return np.array(Image.fromarray(square).convert("L"))[..., None]


def portrait(character: int = 1, emotion: Emotion = Emotion.HAPPY) -> np.ndarray:
    """Draw what stands in for a photograph: one of the embedded characters before a wall, not in the middle."""
    from ferlab import faces

    wall = (150.0, 165.0, 170.0), (120.0, 130.0, 140.0)
    scene = faces.Scene(pose=(5.0, 2.0, -3.0), background=wall, zoom=0.5, shift=(-4.0, -9.0), noise=3.0)
    person = faces.make_character(character, seed=0)
    return faces.render_face(person, emotion, 0.9, size=512, scene=scene, masks=False).image[128:]


def save_sideways(photo: np.ndarray, path: str | Path) -> None:
    """Save a photo as a JPEG as a phone that is held upright does: on its side, with a note in the EXIF data."""
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNED
    with atomic_path(path) as temporary:
        Image.fromarray(np.rot90(photo)).save(temporary, format="JPEG", quality=92, exif=exif)
