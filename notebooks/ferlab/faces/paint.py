"""Drawing primitives: anti-aliased polygons, tapered strokes and layers with masks, in sub-pixel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[float, ...]
_BITS = 4  # 1/16 pixel: Fractional bits of OpenCV's fixed-point coordinates.


def fixed(points: np.ndarray) -> np.ndarray:
    """Canvas coordinates (K, 2), corner-based, as OpenCV's fixed-point integers, centre-based."""
    # Half a step more than -0.5 pixels, so that truncation rounds.
    return (points * 16.0 - 7.5).astype(np.int32)


def _scalar(colour: Colour | float) -> tuple[float, ...] | float:
    """OpenCV takes Python floats only, not NumPy's integers."""
    return tuple(map(float, colour)) if isinstance(colour, tuple) else float(colour)


def polygon(image: np.ndarray, points: np.ndarray, colour: Colour | float) -> None:
    """Fill a polygon (K, 2) on ``image``, in place."""
    polygon_fixed(image, fixed(points), colour)


def polygon_fixed(image: np.ndarray, points: np.ndarray, colour: Colour | float) -> None:
    """Fill a polygon (K, 2) given by :func:`fixed`, in place."""
    cv2.fillPoly(image, [points], _scalar(colour), cv2.LINE_AA, _BITS)


def line(
    image: np.ndarray, points: np.ndarray, colour: Colour | float, width: float, closed: bool = False
) -> None:
    """Draw a line of even width (pixels, at least one) through (K, 2) points, in place."""
    cv2.polylines(image, [fixed(points)], closed, _scalar(colour), max(1, round(width)), cv2.LINE_AA, _BITS)


def lines(image: np.ndarray, paths: np.ndarray, colour: Colour | float, width: float) -> None:
    """Draw lines (L, K, 2) of one colour and one width (pixels), in place."""
    cv2.polylines(image, list(fixed(paths)), False, _scalar(colour), max(1, round(width)), cv2.LINE_AA, _BITS)


def disc(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour | float) -> None:
    """Fill a circle, in place."""
    x, y = fixed(np.asarray(centre, dtype=np.float64)[None])[0]
    cv2.circle(
        image, (int(x), int(y)), max(1, round(radius * (1 << _BITS))), _scalar(colour), -1, cv2.LINE_AA, _BITS
    )


def normals_2d(points: np.ndarray) -> np.ndarray:
    """Unit normals (..., K, 2) along curves (..., K, 2)."""
    tangent, normal = np.empty_like(points), np.empty_like(points)
    tangent[..., 1:-1, :] = points[..., 2:, :] - points[..., :-2, :]
    tangent[..., 0, :] = points[..., 1, :] - points[..., 0, :]
    tangent[..., -1, :] = points[..., -1, :] - points[..., -2, :]
    length = np.maximum(np.hypot(tangent[..., 0], tangent[..., 1]), 1e-9)
    normal[..., 0] = -tangent[..., 1] / length
    normal[..., 1] = tangent[..., 0] / length
    return normal


def ribbon(points: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """Outline (..., 2K, 2) of strokes along curves (..., K, 2) with half widths (K,) or (..., K), pixels."""
    offset = normals_2d(points) * np.asarray(half_width)[..., None]
    return np.concatenate([points + offset, (points - offset)[..., ::-1, :]], axis=-2)


@lru_cache(maxsize=128)
def steps(start: float, end: float, count: int, endpoint: bool = True) -> np.ndarray:
    """``np.linspace``, kept because the same few are wanted for every picture; read-only."""
    values = np.linspace(start, end, count, endpoint=endpoint)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=64)
def taper(count: int, start: float = 0.15, end: float = 0.15) -> np.ndarray:
    """Width profile (count,) of a stroke that is 1 in the middle and thins out to ``start`` and ``end``."""
    t = np.linspace(0.0, 1.0, count)
    edge = np.where(t < 0.5, start, end)
    return edge + (1.0 - edge) * np.sin(np.pi * t) ** 0.8


def box(points: np.ndarray, margin: float, size: int) -> tuple[slice, slice] | None:
    """Rows and columns of the canvas that hold ``points``; None where they all lie outside."""
    low = np.floor(points.min(axis=0) - margin).astype(int).clip(0, size)
    high = np.ceil(points.max(axis=0) + margin).astype(int).clip(0, size)
    if (high - low).min() < 1:
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def mask_of(size: int, shapes: Sequence[np.ndarray], blur: float = 0.0) -> np.ndarray:
    """Coverage of polygons: (size, size) uint8, 0..255, optionally blurred by ``blur`` pixels."""
    mask = np.zeros((size, size), np.uint8)
    for points in shapes:
        polygon(mask, points, 255)
    return soften(mask, blur)


def soften(mask: np.ndarray, blur: float) -> np.ndarray:
    """Blur a mask by about ``blur`` pixels; two box filters are as smooth as needed, at any width."""
    if blur < 0.4:
        return mask
    width = 2 * max(1, round(blur)) + 1
    return cv2.blur(cv2.blur(mask, (width, width)), (width, width))


def paste(canvas: np.ndarray, layer: np.ndarray | Colour, mask: np.ndarray, opacity: float = 1.0) -> None:
    """Lay ``layer`` (an image or one colour) over ``canvas`` where ``mask`` (uint8) says, in place."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return
    part = (slice(y, y + height), slice(x, x + width))
    under = canvas[part]
    if isinstance(layer, np.ndarray):
        over = layer[part]
    else:
        over = np.empty_like(under)
        over[:] = [min(max(value, 0), 255) for value in layer]
    weight = mask[part].astype(np.float32) * np.float32(opacity / 255.0)
    canvas[part] = cv2.blendLinear(
        np.ascontiguousarray(over), np.ascontiguousarray(under), weight, 1.0 - weight
    )
