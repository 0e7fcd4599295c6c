"""What a hidden pixel shows: a constant, the blurred image, what its visible surroundings suggest, or other images.

A baseline that does not depend on the coalition becomes one tensor (:func:`as_baseline`), and the game takes its fast
path. The others become a :class:`Filling`, which the game asks for the hidden pixels of each batch. It puts the visible
ones in place itself, so these are the image's own, bit by bit, whatever a filling does.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from fercore.shapley.inputs import Channels, Images, as_image_batch

METHODS = ("telea", "ns")
_INPAINT_LEVELS = 2.0**16


@dataclass(frozen=True)
class Blur:
    """The image itself, blurred by a Gaussian: hidden regions keep their colour and shading and lose their detail.

    Attributes:
        sigma: Standard deviation in pixels; None is an eighth of the shorter side. That is the side of one of 64
            regions of a square image, so what tells a region from its surroundings is gone, and what many regions have
            in common (skin, light from one side) is kept.

    Raises:
        ValueError: If sigma is not a positive number.
    """

    sigma: float | None = None

    def __post_init__(self) -> None:
        """Refuse a sigma that is no width."""
        if self.sigma is not None and not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma is the width of the blur in pixels, more than 0; it is {self.sigma!r}.")


@dataclass(frozen=True)
class Inpaint:
    """Hidden pixels are filled in from the visible ones, anew for each coalition; a millisecond or more a row.

    OpenCV does it. Where nothing is visible, each pixel shows the image's mean colour.

    Attributes:
        method: ``"telea"`` (fast marching, ``cv2.INPAINT_TELEA``) or ``"ns"`` (Navier-Stokes, ``cv2.INPAINT_NS``).
        radius: Neighbourhood of a pixel that counts, in pixels.

    Raises:
        ValueError: If the method is unknown or the radius is not positive.
    """

    method: Literal["telea", "ns"] = "telea"
    radius: float = 3

    def __post_init__(self) -> None:
        """Refuse settings that OpenCV does not have."""
        if self.method not in METHODS:
            raise ValueError(f"Unknown method {self.method!r}; use 'telea' or 'ns'.")
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"radius is a number of pixels, more than 0; it is {self.radius!r}.")


@dataclass(frozen=True, eq=False)
class Background:
    """A background set: v(S) is the mean of f over B images that fill the hidden regions in turn, so v(∅) = mean f(b).

    Each coalition costs B rows, but the whole image one.

    Attributes:
        images: The set, B images of the shape of those explained; layouts as for these.
        channels: ``"first"`` or ``"last"`` where the images are laid out otherwise.

    Raises:
        TypeError, ValueError: As for images that are explained (empty, badly laid out), and if a value is not finite.
    """

    images: Images
    channels: Channels | None = None

    def __post_init__(self) -> None:
        """Check the set, all but its fit to the images."""
        try:
            tensor = as_image_batch(self.images, self.channels).tensor
        except (TypeError, ValueError) as error:
            raise type(error)(f"The background images cannot be used. {error}") from error
        _check_finite(tensor)


Baseline = str | float | torch.Tensor | np.ndarray | Blur | Inpaint | Background


class Filling(ABC):
    """What fills in hidden pixels, depending on the coalition or in several ways.

    Attributes:
        rows_per_coalition: In how many ways the hidden pixels are filled in; v is the mean over them.
    """

    rows_per_coalition: int = 1

    @abstractmethod
    def hidden(self, image: np.ndarray, filling: np.ndarray, visible: torch.Tensor) -> torch.Tensor:
        """Return what the hidden pixels of each row show; what is said about visible ones is ignored.

        Args:
            image: int64 array (rows,): which image each row shows.
            filling: int64 array (rows,): which filling, 0 ... rows_per_coalition - 1.
            visible: Boolean tensor (rows, H, W), on the device of the game.

        Returns:
            Tensor (rows, C, H, W), on any device, of any floating-point type.
        """

    def take(self, group: slice) -> Filling:
        """Return the filling of some of the images."""
        return self

    def to(self, device: torch.device, dtype: torch.dtype) -> Filling:
        """Return the filling with its tensors where the model runs."""
        return self


class _FromBackground(Filling):
    """The images (B, C, H, W) of a background set in turn."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.rows_per_coalition = images, len(images)

    def hidden(self, image: np.ndarray, filling: np.ndarray, visible: torch.Tensor) -> torch.Tensor:
        """Return the background image of each row."""
        return self.images[torch.from_numpy(filling).to(self.images.device)]

    def to(self, device: torch.device, dtype: torch.dtype) -> Filling:
        """Return the set on another device, in another type."""
        return _FromBackground(self.images.to(device, dtype))


class _Inpainted(Filling):
    """Inpainting of images (N, C, H, W), channel by channel in 32-bit floats: 8 bits would quantise them."""

    def __init__(self, images: torch.Tensor, settings: Inpaint) -> None:
        self._cv2 = _import_cv2()
        self._flag = {"telea": self._cv2.INPAINT_TELEA, "ns": self._cv2.INPAINT_NS}[settings.method]
        self._radius = settings.radius
        values = np.ascontiguousarray(images.double().cpu().numpy())
        # OpenCV's Telea adds up to two grey levels whatever the range of the image: made for 0 ... 255, it is far off
        # on 0 ... 1. So each channel is stretched to a range on which two levels are nothing, and shrunk back.
        self._low = values.min(axis=(2, 3), keepdims=True)
        spread = values.max(axis=(2, 3), keepdims=True) - self._low
        self._scale = np.where(spread > 0, spread, 1.0) / _INPAINT_LEVELS
        self._stretched = ((values - self._low) / self._scale).astype(np.float32)

    def take(self, group: slice) -> Filling:
        """Return the filling of some of the images."""
        part = copy.copy(self)
        part._low, part._scale = self._low[group], self._scale[group]
        part._stretched = self._stretched[group]
        return part

    def hidden(self, image: np.ndarray, filling: np.ndarray, visible: torch.Tensor) -> torch.Tensor:
        """Inpaint each row: float64 tensor (rows, C, H, W) on the CPU."""
        rows = self._stretched[image]  # a copy
        for row, mask in zip(rows, (~visible).cpu().numpy().astype(np.uint8), strict=True):
            if mask.all():
                row[:] = row.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            elif mask.any():
                for channel in row:
                    channel[:] = self._cv2.inpaint(channel, mask, self._radius, self._flag)
        return torch.from_numpy(rows * self._scale[image] + self._low[image])


def as_baseline(baseline: Baseline, images: torch.Tensor) -> torch.Tensor | Filling:
    """Return the baseline b, what a hidden pixel shows.

    Args:
        baseline: ``"zero"`` (black, as in the paper); a number; ``"mean"``, each image's own mean colour; ``"blur"``
            (:class:`Blur`), ``"inpaint"`` (:class:`Inpaint`), or one of these classes with settings of its own; a
            :class:`Background` set; or a tensor or array that broadcasts to (C, H, W), or to (N, C, H, W) for one
            baseline per image. Channels come first whatever the layout of the images; one colour is (C, 1, 1).
        images: (N, C, H, W).

    Returns:
        A tensor of 4 axes, broadcastable to (N, C, H, W), or a :class:`Filling` for inpainting and background sets.

    Raises:
        TypeError: If the baseline is none of these.
        ValueError: If the name is unknown, the shape does not fit, or a value is not finite.
        ImportError: If inpainting is wanted and OpenCV is not installed.
    """
    if isinstance(baseline, str):
        baseline = _by_name(baseline, images)
    if isinstance(baseline, Blur):
        return blurred(images, baseline.sigma)
    if isinstance(baseline, Inpaint):
        return _Inpainted(images, baseline)
    if isinstance(baseline, Background):
        return _FromBackground(_fitting_background(baseline, images))
    return _as_tensor(baseline, images)


def of_group(baseline: torch.Tensor | Filling, group: slice) -> torch.Tensor | Filling:
    """Return the baseline of some of the images."""
    if isinstance(baseline, Filling):
        return baseline.take(group)
    return baseline if len(baseline) == 1 else baseline[group]


def blurred(images: torch.Tensor, sigma: float | None = None) -> torch.Tensor:
    """Blur images by a Gaussian, of which only the part inside the image counts: a plain image stays as it is.

    Args:
        images: (N, C, H, W).
        sigma: Standard deviation in pixels; None is an eighth of the shorter side.

    Returns:
        Tensor (N, C, H, W), float32 or float64.
    """
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    sigma = min(images.shape[2:]) / 8 if sigma is None else sigma
    over_rows, over_columns = (_gaussian(side, sigma).to(images) for side in images.shape[2:])
    return over_rows @ images @ over_columns.T


def _gaussian(side: int, sigma: float) -> torch.Tensor:
    """Return the weights of each place in the mean around each place, float64 tensor (side, side), rows sum to 1."""
    places = torch.arange(side, dtype=torch.float64)
    # Of the squared distances only differences count; without the shift a narrow Gaussian would underflow to 0 / 0.
    return torch.softmax(-((places[:, None] - places) ** 2) / (2 * sigma**2), dim=1)


def _by_name(name: str, images: torch.Tensor) -> Baseline:
    """Return what a name stands for."""
    if name == "zero":
        return 0.0
    if name == "mean":
        return images.to(torch.promote_types(images.dtype, torch.float32)).mean(dim=(2, 3), keepdim=True)
    if name in ("blur", "inpaint"):
        return Blur() if name == "blur" else Inpaint()
    raise ValueError(
        f"Unknown baseline {name!r}; use 'zero', 'mean', 'blur', 'inpaint', a number, a (C, H, W) array, or one of "
        "Blur, Inpaint and Background."
    )


def _as_tensor(baseline: float | torch.Tensor | np.ndarray, images: torch.Tensor) -> torch.Tensor:
    """Check numbers, tensors and arrays: a tensor of 4 axes, broadcastable to the images."""
    if isinstance(baseline, (int, float)):
        # as_tensor would round a Python float to float32
        baseline = torch.tensor(baseline, dtype=torch.float64)
    try:
        given = torch.as_tensor(baseline).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"A {type(baseline).__name__} is no baseline: give a name, a number, a (C, H, W) array, or one of Blur, "
            "Inpaint and Background."
        ) from error
    tensor = given.reshape(1, 1, 1, 1) if given.ndim == 0 else given[None] if given.ndim == 3 else given
    fits = tensor.ndim == 4 and all(b in (1, x) for b, x in zip(tensor.shape, images.shape, strict=True))
    if not fits:
        raise ValueError(
            f"A baseline of shape {tuple(given.shape)} does not fit images of shape "
            f"(N, C, H, W) = {tuple(images.shape)}: give a number, (C, 1, 1), (C, H, W) or (N, C, H, W)."
        )
    if not torch.isfinite(tensor).all():
        raise ValueError("The baseline holds NaN or infinity.")
    return tensor


def _fitting_background(background: Background, images: torch.Tensor) -> torch.Tensor:
    """Return the images (B, C, H, W) of a background set, refusing those of another shape than the images."""
    tensor = as_image_batch(background.images, background.channels).tensor
    if tensor.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"Background images of shape (C, H, W) = {tuple(tensor.shape[1:])} cannot fill in images of shape "
            f"{tuple(images.shape[1:])}: resize them first."
        )
    return tensor


def _check_finite(images: torch.Tensor) -> None:
    """Refuse a background set with NaN or infinity, saying in which images."""
    bad = torch.nonzero(~torch.isfinite(images).flatten(1).all(dim=1)).flatten().tolist()
    if bad:
        raise ValueError(f"Background image {bad[0]} holds NaN or infinity ({len(bad)} of {len(images)} do).")


def _import_cv2() -> Any:
    """Import OpenCV, which only inpainting needs."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "Inpainting needs OpenCV: pip install opencv-python-headless. Without it, "
            "baseline='blur' is the nearest choice."
        ) from error
    return cv2
