"""What all interactive figures share: the element, its JSON, pictures in it, and pieces of SVG."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from typing import Any

import numpy as np
from PIL import Image


def embed(kind: str, data: Any, static: str, note: str) -> str:
    """Return a figure: what its maker ``kind`` of ``figures.js`` reads, and HTML that is seen without the script.

    There are no blank lines, which would end raw HTML in Markdown.
    """
    return (
        f"{opening(kind, data)}\n"
        f'<div class="fercore-static">\n{static}\n</div>\n'
        f"<noscript><p>{html.escape(note)}</p></noscript>\n"
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


def rounded(data: Any, digits: int = 6) -> Any:
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


def picture(image: np.ndarray) -> str:
    """Return a uint8 image (H, W) or (H, W, 1 or 3) as a PNG data URI."""
    file = io.BytesIO()
    grey = image.ndim == 3 and image.shape[2] == 1
    Image.fromarray(image[:, :, 0] if grey else image).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


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


def pixels(image: np.ndarray, x: float, y: float, width: float) -> str:
    """Return an image in SVG, ``width`` wide, its pixels unblurred."""
    height = f"{width * image.shape[0] / image.shape[1]:g}"
    where = {"x": f"{x:g}", "y": f"{y:g}", "width": f"{width:g}", "height": height}
    return tag("image", href=picture(image), style="image-rendering:pixelated", **where)


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
