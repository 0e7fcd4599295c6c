"""What all interactive figures share: the element, its JSON, pictures in it, and pieces of SVG."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

DIGITS = 6  # significant digits of a number in the data


def embed(kind: str, data: Any, static: str, without_script: str) -> str:
    """Return an interactive figure.

    Args:
        kind: Which maker of ``figures.js`` draws it, e.g. ``"players"``.
        data: What the maker reads: JSON-able, NumPy arrays and numbers included; floats are rounded to six digits.
        static: HTML that is seen without the script and in print.
        without_script: A sentence for readers without JavaScript: what the figure would do.

    Returns:
        A ``<div class="fercore-figure">`` without blank lines, which would end raw HTML in Markdown.

    Raises:
        ValueError: If the data hold NaN or infinity, which JSON has no words for.
    """
    return (
        f"{opening(kind, data)}\n"
        f'<div class="fercore-static">\n{static}\n</div>\n'
        f"<noscript><p>{html.escape(without_script)}</p></noscript>\n"
        "</div>"
    )


def opening(kind: str, data: Any) -> str:
    """Return the start of the element, data included; what follows, and ``</div>``, is the caller's."""
    # "</" would end the script element early, "<!--" would swallow its end.
    content = json.dumps(rounded(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        f'<div class="fercore-figure" data-figure="{html.escape(kind)}">\n'
        f'<script type="application/json">{content}</script>'
    )


def rounded(data: Any, digits: int = DIGITS) -> Any:
    """Return data for JSON: arrays as lists, and every float with so many significant digits."""
    if isinstance(data, dict):
        return {key: rounded(value, digits) for key, value in data.items()}
    if isinstance(data, np.ndarray | np.generic):
        return rounded(data.tolist(), digits)
    if isinstance(data, list | tuple):
        return [rounded(value, digits) for value in data]
    if isinstance(data, float) and np.isfinite(data):
        short = float(f"{data:.{digits}g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    return data


def face(image: np.ndarray, name: str) -> np.ndarray:
    """Return an image as (H, W) or (H, W, 3), for :func:`picture`.

    Args:
        image: uint8 (H, W), (H, W, 1) or (H, W, 3).
        name: What to call it in an error.

    Raises:
        ValueError: If it is something else.
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    right = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not right or not image.size:
        raise ValueError(
            f"The image of {name!r} must be uint8 (H, W) or (H, W, 3), values 0 to 255; "
            f"it is {image.dtype} of shape {image.shape}."
        )
    return image


def picture(image: np.ndarray) -> str:
    """Return a uint8 image (H, W), (H, W, 3) or (H, W, 4) as a PNG data URI."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def finite(values: Any, what: str) -> np.ndarray:
    """Return values as a float array.

    Raises:
        ValueError: If they are no numbers, or not all finite; says what they are.
    """
    try:
        result = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be numbers: {error}.") from error
    if not np.isfinite(result).all():
        raise ValueError(f"{what} must be finite; {np.sum(~np.isfinite(result))} of them are not.")
    return result


def distinct(names: Sequence[str], what: str) -> list[str]:
    """Return names as a list.

    Raises:
        ValueError: If there are none, one is empty, or two are the same.
    """
    result = [str(name) for name in names]
    if not result or not all(name.strip() for name in result) or len(set(result)) < len(result):
        raise ValueError(f"{what} must be named, each by a name of its own; the names are {result}.")
    return result


def tag(name: str, *content: str, **attributes: Any) -> str:
    """Return an element; ``_`` in an attribute's name stands for ``-``, and content is HTML already."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{listed}>{''.join(content)}</{name}>"


def text(content: str, x: float, y: float, **attributes: Any) -> str:
    """Return a line of SVG text."""
    return tag("text", html.escape(content), x=f"{x:g}", y=f"{y:g}", **attributes)


def drawing(title: str, width: float, height: float, *parts: str) -> str:
    """Return an SVG with a title that screen readers read."""
    head = tag("title", html.escape(title))
    return tag("svg", head, *parts, role="img", viewBox=f"0 0 {width:g} {height:g}")


def shown(value: float) -> str:
    """Return a number for a reader: about three significant digits, a true minus sign, never in powers of ten."""
    if not value:
        return "0"
    decimals = min(5, max(1, 2 - math.floor(math.log10(abs(value)))))
    plain = f"{value:,.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if plain in ("0", "-0") else plain.replace("-", "\u2212")
