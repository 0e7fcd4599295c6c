"""Drawing primitives: anti-aliased polygons, tapered strokes and layers with masks, in sub-pixel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Colour = tuple[float, ...]
_BITS = 4  # 1/16 pixel: Fractional bits of OpenCV's fixed-point coordinates.


def _fixed(points: np.ndarray) -> np.ndarray:
    """Canvas coordinates (K, 2), corner-based, as OpenCV's fixed-point integers, centre-based."""
    # Half a step more than -0.5 pixels, so that truncation rounds.
    return (points * 16.0 - 7.5).astype(np.int32)


def _scalar(colour: Colour | float) -> tuple[float, ...] | float:
    """OpenCV takes Python floats only, not NumPy's integers."""
    return tuple(map(float, colour)) if isinstance(colour, tuple) else float(colour)


def polygon(image: np.ndarray, points: np.ndarray, colour: Colour | float) -> None:
    """Fill a polygon (K, 2) on ``image``, in place."""
    cv2.fillPoly(image, [_fixed(points)], _scalar(colour), cv2.LINE_AA, _BITS)


def line(
    image: np.ndarray, points: np.ndarray, colour: Colour | float, width: float, closed: bool = False
) -> None:
    """Draw a line (K, 2), or L of them (L, K, 2), of even width (pixels, at least one), in place."""
    paths = list(_fixed(points)) if points.ndim == 3 else [_fixed(points)]
    cv2.polylines(image, paths, closed, _scalar(colour), max(1, round(width)), cv2.LINE_AA, _BITS)


def disc(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour | float) -> None:
    """Fill a circle, in place."""
    middle, wide = _fixed(centre).tolist(), max(1, round(radius * (1 << _BITS)))
    cv2.circle(image, middle, wide, _scalar(colour), -1, cv2.LINE_AA, _BITS)


def _normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (..., K, 2) along curves (..., K, 2)."""
    x, y = np.moveaxis(np.gradient(points, axis=-2), -1, 0)
    return np.stack([-y, x], axis=-1) / np.maximum(np.hypot(x, y), 1e-9)[..., None]


def ribbon(points: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """Outline (..., 2K, 2) of strokes along curves (..., K, 2) with half widths (K,) or (..., K), pixels."""
    offset = _normals(points) * np.asarray(half_width)[..., None]
    return np.concatenate([points + offset, (points - offset)[..., ::-1, :]], axis=-2)


def taper(count: int, end: float) -> np.ndarray:
    """Width profile (count,) of a stroke that is 1 in the middle and thins out to ``end`` at both ends."""
    return end + (1.0 - end) * np.sin(np.pi * np.linspace(0.0, 1.0, count)) ** 0.8


def mask_of(size: int, shapes: Sequence[np.ndarray], blur: float = 0.0, value: float = 255) -> np.ndarray:
    """Coverage of polygons: (size, size) uint8, ``value`` inside, optionally blurred by ``blur`` pixels."""
    mask = np.zeros((size, size), np.uint8)
    for points in shapes:
        polygon(mask, points, value)
    return soften(mask, blur)


def soften(mask: np.ndarray, blur: float) -> np.ndarray:
    """Blur a mask by about ``blur`` pixels; two box filters are as smooth as needed, at any width."""
    if blur < 0.4:
        return mask
    width = 2 * max(1, round(blur)) + 1
    return cv2.blur(cv2.blur(mask, (width, width)), (width, width))


def paste(canvas: np.ndarray, layer: np.ndarray | Colour, mask: np.ndarray, opacity: float = 1.0) -> None:
    """Lay ``layer`` (an image or one colour) over ``canvas`` where ``mask`` (uint8) says, in place."""
    part = covered(mask)
    if isinstance(layer, tuple):
        layer, colour = np.empty_like(canvas), layer
        layer[part] = np.clip(colour, 0, 255)
    canvas[part] = blend(
        layer[part], canvas[part], mask[part].astype(np.float32) * np.float32(opacity / 255.0)
    )


def covered(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of a mask that hold all that is not 0."""
    x, y, width, height = cv2.boundingRect(mask)
    return slice(y, y + height), slice(x, x + width)


def blend(over: np.ndarray, under: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mix two images (H, W, 3); ``weight`` (H, W) float32 in 0..1 is that of the first."""
    if not under.size:
        return under
    return cv2.blendLinear(np.ascontiguousarray(over), np.ascontiguousarray(under), weight, 1.0 - weight)
