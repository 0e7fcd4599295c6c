"""What is explained: one image or several, as tensors or arrays, checked and brought to one layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Channels = Literal["first", "last"]
Images = torch.Tensor | np.ndarray | Sequence[torch.Tensor] | Sequence[np.ndarray]

_USUAL_CHANNELS = (1, 3, 4)  # grey, colour, colour with alpha


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """A checked batch.

    Attributes:
        tensor: (N, C, H, W), as given but for the order of the axes.
        data: (N, H, W, C) numpy array of the same numbers, the order that plots want.
    """

    tensor: torch.Tensor
    data: np.ndarray


def as_image_batch(images: Images, channels: Channels | None = None) -> ImageBatch:
    """Check images and bring them to one layout.

    Args:
        images: One image (3-D), several (4-D), or a list of single images of one shape; torch tensors are read as
            (N, C, H, W), numpy arrays as (N, H, W, C). Integers stay integers until the model gets them as floats.
        channels: ``"first"`` or ``"last"`` says otherwise, and also allows a number of channels other than 1, 3 or 4.

    Returns:
        The batch, with N = 1 for a single image.

    Raises:
        TypeError: If ``images`` is neither a tensor nor an array nor a list of them.
        ValueError: If the batch is empty, has another number of axes, images of a list differ in shape, or the channel
            axis looks like another one.
    """
    if channels not in (None, "first", "last"):
        raise ValueError(f"channels is 'first' or 'last' (or None for the default), not {channels!r}.")
    if isinstance(images, (list, tuple)):
        images = _stack(images)
    if isinstance(images, np.ndarray):
        layout, tensor = channels or "last", torch.from_numpy(np.ascontiguousarray(images))
    elif isinstance(images, torch.Tensor):
        layout, tensor = channels or "first", images.detach()
    else:
        raise TypeError(
            f"images must be a torch tensor or a numpy array or a list of these, not {type(images).__name__}."
        )
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim != 4:
        raise ValueError(
            f"images must have 3 axes (one image) or 4 (a batch), not shape {tuple(images.shape)}. "
            "A grey image needs its channel axis too: image[None] (first) or image[..., None] (last)."
        )
    if 0 in tensor.shape:
        raise ValueError(f"There is nothing to explain: images has shape {tuple(images.shape)}.")
    _check_channels(tensor.shape, layout, stated=channels is not None)
    first = tensor if layout == "first" else tensor.permute(0, 3, 1, 2)
    shown = first.float() if first.dtype == torch.bfloat16 else first  # numpy has no bfloat16
    return ImageBatch(tensor=first, data=shown.permute(0, 2, 3, 1).cpu().numpy())


def _stack(images: Sequence[torch.Tensor] | Sequence[np.ndarray]) -> torch.Tensor | np.ndarray:
    """Make one batch of a list of single images."""
    if not images:
        raise ValueError("There is nothing to explain: the list of images is empty.")
    kind = torch.Tensor if isinstance(images[0], torch.Tensor) else np.ndarray
    if not isinstance(images[0], kind):
        raise TypeError(
            "images must be a torch tensor or a numpy array or a list of these, not a list of "
            f"{type(images[0]).__name__}."
        )
    other = next((image for image in images if not isinstance(image, kind)), None)
    if other is not None:
        raise TypeError(
            "A list of images must hold torch tensors only or numpy arrays only; it holds a "
            f"{type(images[0]).__name__} and a {type(other).__name__}."
        )
    for number, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"The images of a list must have one shape: image 0 has {tuple(images[0].shape)}, image {number} has "
                f"{tuple(image.shape)}. Resize or pad them, or explain them one by one."
            )
    if images[0].ndim != 3:
        raise ValueError(
            f"Each image of a list has 3 axes (one image with its channel axis), not shape {tuple(images[0].shape)}."
        )
    return torch.stack(list(images)) if kind is torch.Tensor else np.stack(images)


def _check_channels(shape: Sequence[int], layout: Channels, *, stated: bool) -> None:
    """Refuse a batch whose channel axis is probably another axis: a wrong layout would pass silently."""
    count, elsewhere = (shape[1], shape[3]) if layout == "first" else (shape[3], shape[1])
    swapped = elsewhere in _USUAL_CHANNELS
    if count in _USUAL_CHANNELS or (stated and not swapped):
        return
    other: Channels = "last" if layout == "first" else "first"
    advice = (
        f"The images look like channels {other}: pass channels={other!r}."
        if swapped
        else f"If that is right, pass channels={layout!r} to confirm it."
    )
    raise ValueError(
        f"Read with channels {layout}, images of shape {tuple(shape)} have {count} channels; expected 1, 3 or 4. "
        f"{advice} By default torch tensors are (N, C, H, W) and numpy arrays (N, H, W, C)."
    )
