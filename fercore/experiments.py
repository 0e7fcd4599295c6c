"""One trained network per setting: trained once, found again by what it depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fercore import checkpoints, models, paper, provenance, training
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.errors import CheckpointError
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

    def parameters(self) -> dict[str, Any]:
        """Return all fields in one flat dict, as a record keeps them."""
        fields = asdict(self)
        recipe = fields.pop("recipe")
        return {**fields, **recipe}

    def name(self, split: Split) -> str:
        """Return a readable name, e.g. ``"proposed-concatenate-w0.25-official-0"``."""
        return f"{self.model}-{self.fusion}-w{self.width:g}-{split.protocol}-{self.fold}"


def setting(
    dataset: str, model: str, fusion: models.Fusion, width: float, fold: int, batch_size: int, **recipe: Any
) -> Setting:
    """Build a setting from a notebook's parameters.

    Args:
        dataset: Name of the dataset; decides the batch size if ``batch_size`` is 0.
        model: As in :class:`Setting`.
        fusion: As in :class:`Setting`.
        width: As in :class:`Setting`.
        fold: As in :class:`Setting`.
        batch_size: Images per step; 0 takes the paper's (Section 4.1).
        **recipe: The other fields of :class:`fercore.training.Recipe`.

    Raises:
        ValueError: If a value is of the wrong kind or out of range; names it.
    """
    whole = {
        "fold": fold,
        "batch_size": batch_size,
        **{n: recipe[n] for n in ("epochs", "seed") if n in recipe},
    }
    for name, value in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name}={value!r} must be a whole number, not negative.")
    numbers = {"width": width, **{n: recipe[n] for n in ("lr", "min_lr", "factor") if n in recipe}}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{name}={value!r} must be a number above zero.")
    batch_size = batch_size or paper.batch_size(dataset)
    return Setting(model, fusion, width, fold, training.Recipe(batch_size=batch_size, **recipe))


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

    Weights are looked for in ``results/<dataset>/<name>.safetensors`` (published) and under ``runs/results/``. New ones
    go to :func:`fercore.provenance.output_folder`, the checkpoints of training to ``runs/<dataset>/<name>-<key>/``.

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
    place = f"{dataset.name}/{name}.safetensors"
    published, private = root / "results" / place, root / "runs" / "results" / place
    weights = provenance.output_folder(root) / place
    chosen = training.choose_device(device)
    size = dataset.images.shape[1:3]
    model = models.build(setting.model, setting.fusion, setting.width, size, setting.recipe.seed).to(chosen)
    found = _find([published, private], key)
    if found is None:
        history = _train(model, dataset, split, setting, root, key, progress)
        half = {name: tensor.half() for name, tensor in model.state_dict().items()}
        about = {"key": key, "history": history, "hardware": hardware(chosen)}
        checkpoints.save(weights, half, about)
        found = weights, half, about
    elif found[0] == private and weights == published:
        checkpoints.save(weights, *found[1:])
    path, tensors, about = found
    checkpoints.restore(path, model, tensors)
    return Trained(model.eval(), about["history"], key, path, about["hardware"])


def _train(
    model: nn.Module,
    dataset: FaceDataset,
    split: Split,
    setting: Setting,
    root: Path,
    key: str,
    progress: bool,
) -> list[dict[str, float]]:
    """Train the network, or go on with its training, and return the history."""
    run = root / "runs" / dataset.name / f"{setting.name(split)}-{key[:12]}"
    _check_run(run, key)
    train, validation = dataset.subset(split.train), dataset.subset(split.validation)
    history = training.fit(model, train, validation, setting.recipe, run, key, progress)
    _check_run(run, key)
    return history


def _find(places: list[Path], key: str) -> tuple[Path, dict[str, torch.Tensor], dict[str, Any]] | None:
    """Read the first weights file that is there and of this key."""
    for weights in filter(Path.exists, places):
        tensors, about = checkpoints.read(weights)
        if about.get("key") == key:
            return weights, tensors, about
        print(f"{weights.name} belongs to other settings, data or code: not used.")
    return None


def _check_run(run: Path, key: str) -> None:
    """Check that the two checkpoints of a training run belong together, so that resuming cannot mix two runs."""
    if not (run / "last.safetensors").exists():
        return
    remedy = f"Delete the folder {run} and train again."
    try:
        last, best = (checkpoints.read(run / f"{name}.safetensors")[1] for name in ("last", "best"))
    except CheckpointError as error:
        raise CheckpointError(f"{error} {remedy}") from error
    chosen = training.best_epoch(last["history"])["epoch"]
    # A kill between the two writes leaves a best one epoch ahead, which resuming computes again.
    if last["key"] != key or best["key"] != key or best["epoch"] not in (chosen, len(last["history"]) + 1):
        raise CheckpointError(f"The checkpoints in {run} do not belong together. {remedy}")
