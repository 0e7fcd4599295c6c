"""Training with the paper's recipe (Section 4.1): Adam, cross-entropy, learning rate reduced on a plateau."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from fercore import checkpoints
from fercore.datasets.base import FaceDataset
from fercore.files import atomic_path
from fercore.models import to_input


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's where it states them (Section 4.1).

    Attributes:
        epochs: Passes over the training images; the paper trains "up to 100".
        batch_size: Images per step; the paper uses 32 for FER2013 and 16 elsewhere.
        lr: First learning rate of Adam; the upper end of the paper's range.
        min_lr: Last learning rate; the lower end of the paper's range.
        factor: What the learning rate is multiplied by on a plateau; not stated in the paper.
        patience: Epochs without a better validation accuracy before that; not stated in the paper.
        augment: ``"flip"`` mirrors half of the training images at random, as one of the released scripts does;
            ``"none"`` is the paper's text, which names no augmentation.
        seed: Seed of the initial weights, of the order of the images and of the flips.
    """

    epochs: int = 100
    batch_size: int = 32
    lr: float = 8e-4
    min_lr: float = 8e-5
    factor: float = 0.5
    patience: int = 2
    augment: Literal["flip", "none"] = "flip"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot train anything, by name."""
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs={self.epochs} and batch_size={self.batch_size} must be at least 1.")
        if not 0 < self.min_lr <= self.lr:
            raise ValueError(f"lr={self.lr} and min_lr={self.min_lr} must satisfy 0 < min_lr <= lr.")
        if self.augment not in ("flip", "none"):
            raise ValueError(f"augment={self.augment!r}: choose 'flip' or 'none'.")


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; ``"auto"`` is the GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def predict(
    model: nn.Module, images: np.ndarray, batch_size: int = 256, device: torch.device | str | None = None
) -> Tensor:
    """Return the logits of all images.

    Args:
        model: A network that takes (n, 3, H, W) float32 in 0..1.
        images: (N, H, W, 1 or 3) uint8.
        batch_size: Images per forward pass.
        device: Where to compute; the model's own device if None.

    Returns:
        (N, classes) float32 on the CPU.
    """
    device = device or next(model.parameters()).device
    training, logits = model.training, []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            logits.append(model(to_input(images[start : start + batch_size], device)).float().cpu())
    model.train(training)
    return torch.cat(logits)


def fit(
    model: nn.Module,
    train: FaceDataset,
    validation: FaceDataset,
    recipe: Recipe,
    folder: str | Path,
    key: str = "",
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train ``model`` in place, leaving in it the weights of the epoch with the best validation accuracy.

    Every epoch ends with two checkpoints in ``folder`` (``best.safetensors``, ``last.safetensors``) and a line in
    ``log.csv``. A killed run goes on after its last whole epoch when called again with the same arguments. Order and
    flips of epoch e are drawn from (seed, e) alone, so a resumed run gives the same numbers as an undisturbed one; on
    a CPU two runs with one seed and one number of threads agree to the last bit.

    Args:
        model: The network, on the device to train on.
        train: Training images.
        validation: Images that choose the epoch and drive the learning rate.
        recipe: The hyper-parameters.
        folder: Where checkpoints and the log go.
        key: What identifies this run; a checkpoint with another key is refused.
        progress: Show one progress bar per epoch.

    Returns:
        One dict per epoch: ``epoch``, ``lr``, ``train_loss``, ``train_accuracy``, ``validation_loss``,
        ``validation_accuracy``, ``seconds``.

    Raises:
        CheckpointError: If the folder's checkpoint is damaged or belongs to another run.
        FloatingPointError: If the loss is no longer finite.
    """
    folder = Path(folder)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr
    )
    history: list[dict[str, float]] = []
    if (folder / "last.safetensors").exists():
        about = checkpoints.load_training(folder / "last.safetensors", model, optimizer, key)
        history = about["history"]
        plateau.load_state_dict(about["plateau"])
        optimizer.param_groups[0]["lr"] = about["lr"]
    for epoch in range(len(history) + 1, recipe.epochs + 1):
        started, lr = time.perf_counter(), optimizer.param_groups[0]["lr"]
        loss, accuracy = _train_epoch(model, optimizer, train, recipe, epoch, progress)
        row = {"epoch": epoch, "lr": lr, "train_loss": loss, "train_accuracy": accuracy}
        row |= {f"validation_{name}": value for name, value in score(model, validation).items()}
        history.append(row | {"seconds": time.perf_counter() - started})
        plateau.step(row["validation_accuracy"])
        _keep(folder, model, optimizer, plateau, history, recipe, key)
    tensors, _ = checkpoints.read(folder / "best.safetensors")
    checkpoints.restore(folder / "best.safetensors", model, tensors)
    return history


def best_epoch(history: list[dict[str, float]]) -> dict[str, float]:
    """Return the row of the first epoch with the best validation accuracy."""
    return max(history, key=lambda row: (row["validation_accuracy"], -row["epoch"]))


def score(model: nn.Module, dataset: FaceDataset) -> dict[str, float]:
    """Return ``loss`` (mean cross-entropy, nats) and ``accuracy`` (0..1) of a network on a dataset."""
    logits, labels = predict(model, dataset.images), torch.from_numpy(dataset.labels)
    return {
        "loss": F.cross_entropy(logits, labels).item(),
        "accuracy": (logits.argmax(1) == labels).float().mean().item(),
    }


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: FaceDataset,
    recipe: Recipe,
    epoch: int,
    progress: bool,
) -> tuple[float, float]:
    """Run one epoch and return the mean loss and the accuracy over it."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(train))
    flips = rng.random(len(train)) < (0.5 if recipe.augment == "flip" else 0.0)
    device = next(model.parameters()).device
    total = torch.zeros(2, dtype=torch.float64, device=device)  # summed loss, hits: one read-back per epoch
    model.train()
    description = f"epoch {epoch}/{recipe.epochs}"
    with tqdm(total=len(train), desc=description, unit="image", disable=not progress, mininterval=1) as bar:
        for start in range(0, len(train), recipe.batch_size):
            index = order[start : start + recipe.batch_size]
            images = train.images[index]
            images[flips[index]] = images[flips[index], :, ::-1]
            labels = torch.from_numpy(train.labels[index]).to(device)
            logits = model(to_input(images, device))
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                total += torch.stack([loss * len(index), (logits.argmax(1) == labels).sum()])
            bar.update(len(index))
    loss, hits = total.tolist()
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"The training loss became {loss} in epoch {epoch}: lower lr (now {recipe.lr}) and train again."
        )
    return loss / len(train), hits / len(train)


def _keep(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plateau: Any,
    history: list[dict[str, float]],
    recipe: Recipe,
    key: str,
) -> None:
    """Write the epoch's checkpoints and log; ``last`` comes last, so that a kill in between only redoes the epoch."""
    if best_epoch(history) is history[-1]:
        checkpoints.save(folder / "best.safetensors", model.state_dict(), {"key": key, **history[-1]})
    with atomic_path(folder / "log.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    about = {
        "key": key,
        "history": history,
        "lr": optimizer.param_groups[0]["lr"],
        "plateau": {k: v for k, v in plateau.state_dict().items() if isinstance(v, int | float | str | list)},
        "recipe": asdict(recipe),
    }
    checkpoints.save_training(folder / "last.safetensors", model, optimizer, about)
