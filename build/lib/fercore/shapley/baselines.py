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
from typing import Literal

import numpy as np
import torch

from fercore.shapley.inputs import Channels, Images, as_images

_INPAINT_LEVELS = 2.0**16
_OTHERS = "a number, a (C, H, W) array, or one of Blur, Inpaint and Background"


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
        if self.method not in ("telea", "ns"):
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
            tensor = as_images(self.images, self.channels)
        except (TypeError, ValueError) as error:
            raise type(error)(f"The background images cannot be used. {error}") from error
        bad = torch.nonzero(~torch.isfinite(tensor).flatten(1).all(dim=1)).flatten().tolist()
        if bad:
            told = f"({len(bad)} of {len(tensor)} do)"
            raise ValueError(f"Background image {bad[0]} holds NaN or infinity {told}.")


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
        return self.images[torch.from_numpy(filling).to(self.images.device)]

    def to(self, device: torch.device, dtype: torch.dtype) -> Filling:
        return _FromBackground(self.images.to(device, dtype))


class _Inpainted(Filling):
    """Inpainting of images (N, C, H, W), channel by channel in 32-bit floats: 8 bits would quantise them."""

    def __init__(self, images: torch.Tensor, settings: Inpaint) -> None:
        try:
            import cv2
        except ImportError as error:
            told = "Inpainting needs OpenCV: pip install opencv-python-headless; 'blur' is nearest without."
            raise ImportError(told) from error
        self._cv2, self._radius = cv2, settings.radius
        self._flag = cv2.INPAINT_NS if settings.method == "ns" else cv2.INPAINT_TELEA
        values = np.ascontiguousarray(images.double().cpu().numpy())
        # OpenCV's Telea adds up to two grey levels whatever the range of the image: made for 0 ... 255, it is far off
        # on 0 ... 1. So each channel is stretched to a range on which two levels are nothing, and shrunk back.
        self._low = values.min(axis=(2, 3), keepdims=True)
        spread = values.max(axis=(2, 3), keepdims=True) - self._low
        self._scale = np.where(spread > 0, spread, 1.0) / _INPAINT_LEVELS
        self._stretched = ((values - self._low) / self._scale).astype(np.float32)

    def take(self, group: slice) -> Filling:
        part = copy.copy(self)
        part._low, part._scale = self._low[group], self._scale[group]
        part._stretched = self._stretched[group]
        return part

    def hidden(self, image: np.ndarray, filling: np.ndarray, visible: torch.Tensor) -> torch.Tensor:
        rows = self._stretched[image]  # a copy
        for row, mask in zip(rows, (~visible).cpu().numpy().astype(np.uint8), strict=True):
            if mask.all():
                row[:] = row.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            elif mask.any():
                for channel in row:
                    channel[:] = self._cv2.inpaint(channel, mask, self._radius, self._flag)
        return torch.from_numpy(rows * self._scale[image] + self._low[image])


def as_baseline(baseline: Baseline, images: torch.Tensor) -> torch.Tensor | Filling:
    """Return b for images (N, C, H, W); see :class:`DnCShap` for the choices.

    It is a tensor of 4 axes, broadcastable to the images, or a filling for inpainting and background sets.
    """
    if isinstance(baseline, str):
        plain = {"zero": 0.0, "blur": Blur(), "inpaint": Inpaint()}
        if baseline not in (*plain, "mean"):
            raise ValueError(
                f"Unknown baseline {baseline!r}; use 'zero', 'mean', 'blur', 'inpaint', {_OTHERS}."
            )
        baseline = plain[baseline] if baseline in plain else _floats(images).mean(dim=(2, 3), keepdim=True)
    if isinstance(baseline, Blur):
        return blurred(images, baseline.sigma)
    if isinstance(baseline, Inpaint):
        return _Inpainted(images, baseline)
    if isinstance(baseline, Background):
        tensor = as_images(baseline.images, baseline.channels)
        theirs, ours = tuple(tensor.shape[1:]), tuple(images.shape[1:])
        if theirs != ours:
            raise ValueError(f"Background images {theirs} cannot fill in images {ours}: resize them first.")
        return _FromBackground(tensor)
    return _as_tensor(baseline, images)


def rows_per_coalition(baseline: torch.Tensor | Filling) -> int:
    """Return in how many ways a baseline fills hidden pixels in."""
    return baseline.rows_per_coalition if isinstance(baseline, Filling) else 1


def of_group(baseline: torch.Tensor | Filling, group: slice) -> torch.Tensor | Filling:
    """Return the baseline of some of the images."""
    if isinstance(baseline, Filling):
        return baseline.take(group)
    return baseline if len(baseline) == 1 else baseline[group]


def blurred(images: torch.Tensor, sigma: float | None = None) -> torch.Tensor:
    """Blur images (N, C, H, W) by a Gaussian, of which only the part inside the image counts: float32 or float64.

    ``sigma`` is that of :class:`Blur`. A plain image stays as it is.
    """
    images = _floats(images)
    sigma = min(images.shape[2:]) / 8 if sigma is None else sigma
    weights = []  # of each place in the mean around each place, (side, side), rows sum to 1
    for side in images.shape[2:]:
        places = torch.arange(side, dtype=torch.float64)
        # Of the squared distances only differences count, so a narrow Gaussian does not underflow to 0 / 0.
        exponents = -((places[:, None] - places) ** 2) / (2 * sigma**2)
        weights.append(torch.softmax(exponents, dim=1).to(images))
    over_rows, over_columns = weights
    return over_rows @ images @ over_columns.T


def _floats(images: torch.Tensor) -> torch.Tensor:
    """Return images in float32 at least."""
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _as_tensor(baseline: float | torch.Tensor | np.ndarray, images: torch.Tensor) -> torch.Tensor:
    """Check numbers, tensors and arrays: a tensor of 4 axes, broadcastable to the images."""
    if isinstance(baseline, (int, float)):
        baseline = torch.tensor(baseline, dtype=torch.float64)  # as_tensor would round it to float32
    try:
        given = torch.as_tensor(baseline).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"A {type(baseline).__name__} is no baseline: give a name, {_OTHERS}.") from error
    tensor = given.reshape(1, 1, 1, 1) if given.ndim == 0 else given[None] if given.ndim == 3 else given
    if tensor.ndim != 4 or not all(b in (1, x) for b, x in zip(tensor.shape, images.shape, strict=True)):
        raise ValueError(
            f"A baseline of shape {tuple(given.shape)} does not fit images of shape "
            f"(N, C, H, W) = {tuple(images.shape)}: give a number, (C, 1, 1), (C, H, W) or (N, C, H, W)."
        )
    if not torch.isfinite(tensor).all():
        raise ValueError("The baseline holds NaN or infinity.")
    return tensor
