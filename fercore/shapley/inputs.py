"""What the explainers accept: images, baselines and targets, checked before the model sees any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Channels = Literal["first", "last"]
Images = torch.Tensor | np.ndarray
Baseline = str | float | torch.Tensor | np.ndarray
Targets = int | str | Sequence[int] | np.ndarray | torch.Tensor | None

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
        images: One image (3-D) or several (4-D); torch tensors are read as (N, C, H, W), numpy arrays as (N, H, W, C).
        channels: ``"first"`` or ``"last"`` says otherwise, and also allows a number of channels other than 1, 3 or 4.

    Returns:
        The batch, with N = 1 for a single image.

    Raises:
        TypeError: If ``images`` is neither a tensor nor an array.
        ValueError: If the batch is empty, has another number of axes, or the channel axis looks like another one.
    """
    if channels not in (None, "first", "last"):
        raise ValueError(f"channels is 'first' or 'last' (or None for the default), not {channels!r}.")
    if isinstance(images, np.ndarray):
        layout, tensor = channels or "last", torch.from_numpy(np.ascontiguousarray(images))
    elif isinstance(images, torch.Tensor):
        layout, tensor = channels or "first", images.detach()
    else:
        raise TypeError(f"images must be a torch tensor or a numpy array, not {type(images).__name__}.")
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


def as_baseline(baseline: Baseline, images: torch.Tensor) -> torch.Tensor:
    """Return the baseline b, what a hidden pixel shows, in a shape that broadcasts against the images.

    Args:
        baseline: ``"zero"`` (black, as in the paper); a number; ``"mean"``, each image's own mean colour; or a tensor
            or array that broadcasts to (C, H, W), or to (N, C, H, W) for one baseline per image. Channels come first
            whatever the layout of the images; one colour is (C, 1, 1).
        images: (N, C, H, W).

    Returns:
        Tensor of 4 axes, broadcastable to (N, C, H, W).

    Raises:
        ValueError: If the name is unknown, the shape does not fit, or a value is not finite.
    """
    if isinstance(baseline, str):
        if baseline == "zero":
            return torch.zeros(1, 1, 1, 1)
        if baseline == "mean":
            return images.to(torch.promote_types(images.dtype, torch.float32)).mean(dim=(2, 3), keepdim=True)
        raise ValueError(
            f"Unknown baseline {baseline!r}; use 'zero', 'mean', a number, or a (C, H, W) array."
        )
    if isinstance(baseline, (int, float)):
        baseline = torch.tensor(
            baseline, dtype=torch.float64
        )  # as_tensor would round a Python float to float32
    tensor = torch.as_tensor(baseline).detach()
    if tensor.ndim == 0:
        tensor = tensor.reshape(1, 1, 1, 1)
    if tensor.ndim == 3:
        tensor = tensor[None]
    fits = tensor.ndim == 4 and all(b in (1, x) for b, x in zip(tensor.shape, images.shape, strict=True))
    if not fits:
        raise ValueError(
            f"A baseline of shape {tuple(torch.as_tensor(baseline).shape)} does not fit images of shape "
            f"(N, C, H, W) = {tuple(images.shape)}: give a number, (C, 1, 1), (C, H, W) or (N, C, H, W)."
        )
    if not torch.isfinite(tensor).all():
        raise ValueError("The baseline holds NaN or infinity.")
    return tensor


def as_targets(targets: Targets, n_images: int) -> np.ndarray | Literal["all"] | None:
    """Check which classes are to be explained, as far as possible before the model has run.

    Args:
        targets: None for the predicted class of each image, one class for all images, one class per image, or
            ``"all"``.
        n_images: N.

    Returns:
        None, ``"all"``, or an int64 array (N,).

    Raises:
        ValueError: If there is not one target per image, or a name is not ``"all"``.
        TypeError: If a target is not an integer.
    """
    if targets is None:
        return None
    if isinstance(targets, str):
        if targets != "all":
            raise ValueError(
                f"targets is None, a class number, one number per image, or 'all', not {targets!r}."
            )
        return "all"
    array = targets.cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
    if array.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class numbers); got {array.dtype} {targets!r}.")
    if array.ndim == 0:
        return np.full(n_images, array, dtype=np.int64)
    if array.shape != (n_images,):
        raise ValueError(
            f"targets must hold one class per image: {n_images}, but its shape is {array.shape}."
        )
    return array.astype(np.int64)


def explained_classes(targets: np.ndarray | Literal["all"] | None, predictions: np.ndarray) -> np.ndarray:
    """Turn checked targets into class numbers, now that the number of classes is known.

    Args:
        targets: As :func:`as_targets` returns them.
        predictions: f(x), float array (N, classes).

    Returns:
        int64 array (N, K): K = 1, or the number of classes for ``"all"``.

    Raises:
        ValueError: If a target is not a class of the model.
    """
    n_images, n_classes = predictions.shape
    if targets is None:
        return predictions.argmax(axis=1)[:, None]
    if isinstance(targets, str):
        return np.tile(np.arange(n_classes), (n_images, 1))
    wrong = targets[(targets < 0) | (targets >= n_classes)]
    if wrong.size:
        raise ValueError(f"Target {wrong[0]} is out of range: the model has classes 0 to {n_classes - 1}.")
    return targets[:, None]
