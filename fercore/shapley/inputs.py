"""What the explainers are asked: which classes to explain, checked before the model runs and completed after."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from fercore.errors import ModelOutputError

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


Model = Callable[[torch.Tensor], torch.Tensor]
Output = Literal["probability", "logit"] | Callable[[torch.Tensor], torch.Tensor]
OUTPUTS = ("probability", "logit")
Precision = Literal["bfloat16", "float16"] | None
PRECISIONS = (None, "bfloat16", "float16")

# A row costs its own bytes times this: the first layers of a VGG hold about 2 x 64 channels for 3 of the input.
_ACTIVATION_FACTOR = 64
_CPU_BUDGET = 512 * 2**20
_CPU_MAX_ROWS = 64  # VGGs at 48 px: 256 rows take 20 to 55 % longer per row, for activations leave the cache
_GPU_MAX_ROWS = 4096
_CONTAINERS = (
    torch.nn.Sequential,
    torch.nn.ModuleList,
    torch.nn.ModuleDict,
)  # their own mode changes nothing


def auto_batch_size(row_bytes: int, device: torch.device) -> int:
    """Return how many rows of ``row_bytes`` bytes to evaluate at once; the rule is in :class:`ImageGame`."""
    if device.type == "cuda":
        budget, most = torch.cuda.mem_get_info(device)[0] // 4, _GPU_MAX_ROWS
    else:
        budget, most = _CPU_BUDGET, _CPU_MAX_ROWS
    return int(min(max(budget // (row_bytes * _ACTIVATION_FACTOR), 1), most))


def check_settings(model: Model, output: Output, batch_size: int | str, precision: str | None = None) -> None:
    """Refuse a model, an output, a batch size or a precision that makes no sense; see :class:`ImageGame`."""
    if not callable(model):
        raise TypeError(
            f"model must be a torch.nn.Module or a function of a tensor, not {type(model).__name__}."
        )
    if not callable(output) and output not in OUTPUTS:
        raise ValueError(f"Unknown output {output!r}; use 'probability', 'logit' or a callable.")
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if batch_size != "auto" and not (whole and batch_size >= 1):
        raise ValueError(f"batch_size is 'auto' or a whole number of rows, at least 1; not {batch_size!r}.")
    if precision not in PRECISIONS:
        raise ValueError(
            f"Unknown precision {precision!r}; use 'bfloat16', 'float16', or None for the model's own type."
        )


def warn_if_training(model: Model, stacklevel: int = 3) -> None:
    """Warn (``UserWarning``) if a module, or a part of it that is more than a container, is in training mode."""
    parts = model.modules() if isinstance(model, torch.nn.Module) else ()
    if any(part.training and type(part) not in _CONTAINERS for part in parts):
        warnings.warn(
            "The model is in training mode; it is explained in evaluation mode and put back afterwards.",
            UserWarning,
            stacklevel=stacklevel,
        )


@contextmanager
def evaluation_mode(model: Model) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, torch.nn.Module) else []
    try:
        if any(training for _, training in modes):
            model.eval()
        yield
    finally:
        for part, training in modes:
            if part.training != training:  # setting it is slow, and done many times per image
                part.training = training


def placement(
    model: Model, images: torch.Tensor, device: torch.device | str | None
) -> tuple[torch.device, torch.dtype]:
    """Return the device and floating-point type of a model; of the images where the model has no say."""
    wanted = None if device is None else torch.device(device)
    dtype = images.dtype if images.is_floating_point() else torch.get_default_dtype()
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, torch.nn.Module) else []
    if not tensors:
        return wanted or images.device, dtype
    found = tensors[0].device
    if found.type == "meta":
        raise ValueError(
            "The model is on the meta device, so its weights hold no numbers: load them before it is explained."
        )
    if wanted is not None and (wanted.type != found.type or wanted.index not in (None, found.index)):
        raise ValueError(
            f"The model is on {found}, not on {wanted}: move it with model.to({str(wanted)!r}) first."
        )
    return found, next((t.dtype for t in tensors if t.is_floating_point()), dtype)


def autocast_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the type for autocast, None for none, refusing what the device cannot do."""
    if precision is None:
        return None
    if not torch.amp.is_autocast_available(device.type):
        raise ValueError(
            f"precision={precision!r} needs torch.autocast, which {device.type} devices do not have."
        )
    return getattr(torch, precision)


def check_shape(scores: Any, rows: int, source: str) -> None:
    """Refuse outputs that are not a tensor (rows, classes)."""
    if not isinstance(scores, torch.Tensor):
        raise ModelOutputError(
            f"The {source} returned a {type(scores).__name__}, not a tensor (rows, classes). Wrap it in a function "
            "that picks the class scores."
        )
    if scores.ndim != 2 or scores.shape[0] != rows or scores.shape[1] == 0:
        raise ModelOutputError(
            f"The {source} returned shape {tuple(scores.shape)} for {rows} rows; expected ({rows}, classes)."
        )


def check_finite(scores: torch.Tensor) -> None:
    """Refuse outputs (rows, classes) that hold NaN or infinity, saying how many rows do."""
    bad = int((~torch.isfinite(scores)).any(dim=1).sum())
    if bad:
        raise ModelOutputError(
            f"The model returned NaN or infinity in {bad} of {len(scores)} rows, so no value is given. Check that the "
            "images and the baseline are finite and scaled as in training, that the weights are finite (a training "
            "run that diverged), and that half precision does not overflow."
        )


Targets = int | str | Sequence[int] | Sequence[Sequence[int]] | np.ndarray | torch.Tensor | None


def as_targets(targets: Targets, n_images: int) -> np.ndarray | Literal["all"] | None:
    """Check which classes are to be explained, as far as possible before the model has run.

    Args:
        targets: None for the predicted class of each image, one class for all images, one class per image (N,), K
            chosen classes per image (N, K) or for all images (1, K), or ``"all"``. A class may be chosen twice.
        n_images: N.

    Returns:
        None, ``"all"``, or an int64 array (N, K).

    Raises:
        ValueError: If the shape is none of these, there is no target, or a name is not ``"all"``.
        TypeError: If a target is not an integer.
    """
    if targets is None:
        return None
    if isinstance(targets, str):
        if targets != "all":
            raise ValueError(
                f"targets is None, a class number, one number per image, an array (N, K), or 'all', not {targets!r}."
            )
        return "all"
    array = targets.cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
    if array.size == 0:
        raise ValueError(
            f"targets is empty (shape {array.shape}): name a class, or leave it out for the predicted one."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class numbers); got {array.dtype} {targets!r}.")
    rows = array[:, None] if array.ndim == 1 else np.atleast_2d(array)
    per_image = len(rows) == n_images or (array.ndim != 1 and len(rows) == 1)
    if rows.ndim != 2 or not per_image:
        raise ValueError(
            f"targets must hold one class per image: {n_images}, or K classes per image: ({n_images}, K) or (1, K); "
            f"its shape is {array.shape}."
        )
    return np.broadcast_to(rows, (n_images, rows.shape[1])).astype(np.int64)


def explained_classes(targets: np.ndarray | Literal["all"] | None, predictions: np.ndarray) -> np.ndarray:
    """Turn checked targets into class numbers, now that the number of classes is known.

    Args:
        targets: As :func:`as_targets` returns them.
        predictions: f(x), float array (N, classes).

    Returns:
        int64 array (N, K): K = 1 for the predicted class, the number of classes for ``"all"``, else as chosen.

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
    return targets
