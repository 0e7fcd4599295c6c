"""Maps that know nothing of the network: what any explainer has to beat."""

from __future__ import annotations

import zlib

import numpy as np

from ferlab.explainers.base import Case, Explain


def random_map(case: Case) -> Explain:
    """Prepare maps of independent standard normal pixels: others for each image, the same for the same image."""
    size, seed = tuple(case.images.shape[2:]), case.settings.seed

    def run(index: int) -> np.ndarray:
        content = zlib.crc32(np.ascontiguousarray(case.image(index).cpu().numpy()))
        return np.random.default_rng((seed, content)).standard_normal(size)

    return run


def centre(case: Case) -> Explain:
    """Prepare the same map for every image: a Gaussian in the middle, a quarter of each side wide (sigma)."""
    rows, columns = (np.linspace(-2, 2, side) for side in case.images.shape[2:])
    values = np.exp(-(rows[:, None] ** 2 + columns**2) / 2)
    return lambda index: values
