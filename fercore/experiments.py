"""One trained network per setting: trained once, found again by what it depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from fercore import checkpoints, models, training
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.provenance import code_digest, hardware, project_root


@dataclass(frozen=True)
class Setting:
    """Which network is trained how, on which part of which dataset.

    Attributes:
        model: Name of the network in :data:`fercore.models.MODELS`.
        fusion: ``"concatenate"`` (the paper's text) or ``"add"`` (its released code).
        width: Multiplier of all channels and hidden units.
        fold: Fold of the protocol.
        recipe: The hyper-parameters of training.
    """

    model: str = "proposed"
    fusion: models.Fusion = "concatenate"
    width: float = 1.0
    fold: int = 0
    recipe: training.Recipe = field(default_factory=training.Recipe)

    def name(self, split: Split) -> str:
        """Return a readable name, e.g. ``"proposed-concatenate-w0.25-official-0"``."""
        return f"{self.model}-{self.fusion}-w{self.width:g}-{split.protocol}-{self.fold}"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how it came about.

    Attributes:
        model: The network in evaluation mode, with the weights of the best validation epoch rounded to half precision
            (what the weights file holds), computing in float32.
        history: One dict per epoch, see :func:`fercore.training.fit`.
        key: What the weights depend on, as a SHA-256: setting, data, split and the code of models and training.
        weights: The weights file (half precision, safetensors).
        hardware: The machine that trained it.
    """

    model: nn.Module
    history: list[dict[str, float]]
    key: str
    weights: Path
    hardware: str


def training_key(setting: Setting, dataset: FaceDataset, split: Split) -> str:
    """Return the SHA-256 of everything that decides the weights, blind to comments and to other modules."""
    parts = {
        "setting": asdict(setting),
        "size": list(dataset.images.shape[1:3]),
        "data": dataset.checksum,
        "split": split.checksum(),
        "code": code_digest(Path(models.__file__), Path(training.__file__)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def trained(
    setting: Setting,
    dataset: FaceDataset,
    split: Split,
    device: str = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> Trained:
    """Return the network of a setting: from its weights file if it is still the same, else trained (or resumed).

    Weights go to ``results/<dataset>/<name>.safetensors``, the checkpoints of training to
    ``runs/<dataset>/<name>-<key>/``, both under ``folder``.

    Args:
        setting: Network and recipe.
        dataset: The whole dataset.
        split: Its parts under the protocol.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        folder: The project folder by default.
        progress: Show progress bars.

    Returns:
        The network and its history.

    Raises:
        CheckpointError: If a checkpoint is damaged; says which file to delete.
    """
    root = project_root() if folder is None else Path(folder)
    key, name = training_key(setting, dataset, split), setting.name(split)
    weights = root / "results" / dataset.name / f"{name}.safetensors"
    chosen = training.choose_device(device)
    size = dataset.images.shape[1:3]
    model = models.build(setting.model, setting.fusion, setting.width, size, setting.recipe.seed).to(chosen)
    found = _find(weights, key)
    if found is None:
        history = training.fit(
            model,
            dataset.subset(split.train),
            dataset.subset(split.validation),
            setting.recipe,
            root / "runs" / dataset.name / f"{name}-{key[:12]}",
            key,
            progress,
        )
        half = {name: tensor.half() for name, tensor in model.state_dict().items()}
        checkpoints.save(weights, half, {"key": key, "history": history, "hardware": hardware(chosen)})
        found = checkpoints.read(weights)
    tensors, about = found
    checkpoints.restore(weights, model, tensors)
    return Trained(model.eval(), about["history"], key, weights, about["hardware"])


def _find(weights: Path, key: str) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Read a weights file if it is there and of this key."""
    if not weights.exists():
        return None
    tensors, about = checkpoints.read(weights)
    if about.get("key") == key:
        return tensors, about
    print(f"{weights.name} was trained with other settings, data or code: training anew.")
    return None
