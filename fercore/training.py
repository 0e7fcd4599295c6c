"""Training by a recipe, epoch by epoch, so that a killed run goes on where it was (Section 4.1 of the paper)."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from fercore import augmentation, checkpoints, compute, evaluation
from fercore.datasets.base import FaceDataset
from fercore.files import atomic_path
from fercore.recipes import Recipe

History = list[dict[str, float]]


def fit(
    model: nn.Module,
    train: FaceDataset,
    validation: FaceDataset,
    recipe: Recipe,
    folder: str | Path,
    key: str = "",
    progress: bool = True,
    compiled: bool = False,
) -> History:
    """Train ``model`` in place, leaving in it the weights of the epoch with the best validation accuracy.

    Every epoch ends with two checkpoints in ``folder`` (``best.safetensors``, ``last.safetensors``) and a line in
    ``log.csv``. A killed run goes on after its last whole epoch when called again with the same arguments. What epoch e
    does to the images is drawn from (seed, e) alone, so a resumed run gives the same numbers as an undisturbed one; on
    a CPU two runs with one seed and one number of threads agree to the last bit. The images stay on the device as
    bytes. Where its memory does not hold a batch, parts of it are computed one after the other and their gradients
    added up.

    Args:
        model: The network, on the device to train on.
        train: Training images.
        validation: Images that choose the epoch and drive the learning rate on a plateau.
        recipe: The hyper-parameters.
        folder: Where checkpoints and the log go.
        key: What identifies this run; a checkpoint with another key is refused.
        progress: Show one progress bar per epoch.
        compiled: Compile the network with ``torch.compile`` (on a GPU as CUDA graphs). Same numbers up to rounding.

    Returns:
        One dict per epoch with ``epoch``, ``lr`` (at its start), ``train_loss``, ``train_accuracy`` (of the altered
        images, while the weights still change), ``validation_loss``, ``validation_accuracy``, ``seconds`` (all),
        ``images_per_second`` (training alone).

    Raises:
        CheckpointError: If the folder's checkpoint is damaged or belongs to another run.
        FercoreError: If not even one image fits into the device's memory.
        FloatingPointError: If the loss is no longer finite.
        ValueError: If a batch is larger than the training part.
    """
    if recipe.batch_size > len(train):
        raise ValueError(
            f"batch_size={recipe.batch_size} is larger than the training part ({len(train)} images): "
            f"choose at most {len(train)}."
        )
    folder, trainer = Path(folder), _Trainer(model, train, recipe, compiled)
    history: History = []
    if (folder / "last.safetensors").exists():
        history = trainer.resume(folder / "last.safetensors", key)
    for epoch in range(len(history) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        row = {"epoch": epoch, "lr": trainer.learning_rate(epoch, 0)}
        row["train_loss"], row["train_accuracy"] = trainer.epoch(epoch, progress)
        speed = len(train) / (time.perf_counter() - started)
        row |= {
            f"validation_{name}": value for name, value in evaluation.score(trainer.kept, validation).items()
        }
        history.append(row | {"seconds": time.perf_counter() - started, "images_per_second": speed})
        trainer.plateau.step(row["validation_accuracy"])
        trainer.keep(folder, history, key)
    tensors, _ = checkpoints.read(folder / "best.safetensors")
    checkpoints.restore(folder / "best.safetensors", model, tensors)
    return history


def best_epoch(history: History) -> dict[str, float]:
    """Return the row of the first epoch with the best validation accuracy."""
    return max(history, key=lambda row: (row["validation_accuracy"], -row["epoch"]))


class _Trainer:
    """The state of one training run: network, optimiser, learning rate and averaged weights."""

    def __init__(self, model: nn.Module, train: FaceDataset, recipe: Recipe, compiled: bool) -> None:
        self.model, self.recipe = model, recipe
        self.device = next(model.parameters()).device
        self.images = torch.from_numpy(train.images).permute(0, 3, 1, 2).contiguous().to(self.device)
        self.labels = torch.from_numpy(train.labels).to(self.device)
        self.steps = -(-len(train) // recipe.batch_size)
        self.optimizer = _optimizer(model, recipe)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, mode="max", factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr
        )
        self.averaged = None
        if recipe.averaging:
            self.averaged = AveragedModel(model, multi_avg_fn=self._average, use_buffers=True)
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self.forward = torch.compile(model, mode=mode) if compiled else model
        self.at_once = recipe.batch_size

    @property
    def kept(self) -> nn.Module:
        """The network to validate and keep: the averaged one where the recipe averages."""
        return self.model if self.averaged is None else self.averaged.module

    def learning_rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step (from 0) of an epoch (from 1)."""
        recipe = self.recipe
        if recipe.schedule == "plateau":
            return self.optimizer.param_groups[0]["lr"]
        done = epoch - 1 + (step + 1) / self.steps
        if done <= recipe.warmup:
            return recipe.lr * done / recipe.warmup
        share = (done - recipe.warmup) / (recipe.epochs - recipe.warmup)
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * share)) / 2

    def epoch(self, number: int, progress: bool) -> tuple[float, float]:
        """Run one epoch and return the mean loss and the accuracy over it."""
        count, size = len(self.labels), self.recipe.batch_size
        self.updates = (number - 1) * self.steps
        plan = augmentation.draw(self.recipe, count, tuple(self.images.shape[2:]), number, self.device)
        total = torch.zeros(2, dtype=torch.float64, device=self.device)  # one read-back per epoch
        self.model.train()
        description = f"epoch {number}/{self.recipe.epochs}"
        bar = tqdm(total=count, desc=description, unit="image", disable=not progress, mininterval=1)
        with bar, compute.matrix_products(self.recipe.precision):
            for step in range(self.steps):
                part = slice(step * size, min((step + 1) * size, count))
                weight = 1.0 if plan.blends is None else float(plan.blends[step])
                self.optimizer.param_groups[0]["lr"] = self.learning_rate(number, step)
                images, labels = augmentation.batch(self.images, plan, part), self.labels[plan.order[part]]
                total += self._step(images, labels, weight)
                bar.update(part.stop - part.start)
        loss, hits = total.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The training loss became {loss} in epoch {number}: lower lr (now {self.recipe.lr}) and train again."
            )
        return loss / count, hits / count

    def _step(self, images: Tensor, labels: Tensor, weight: float) -> Tensor:
        """Update the weights once; return the summed loss and the number of hits."""
        others = labels.flip(0)
        if weight < 1:
            images = augmentation.blend(images, weight)
        while True:
            try:
                self.optimizer.zero_grad(set_to_none=True)
                parts = zip(*(x.split(self.at_once) for x in (images, labels, others)), strict=True)
                total = torch.stack([self._gradients(*part, weight, len(images)) for part in parts]).sum(
                    dim=0
                )
                break
            except torch.OutOfMemoryError:
                failed = min(self.at_once, len(images))
            self.at_once = compute.smaller(failed, self.recipe.batch_size)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
            self.updates += 1
        return total

    def _average(self, kept: list[Tensor], now: list[Tensor], _: Tensor) -> None:
        """Move the averaged weights towards the present ones: fast in the first steps, then with the recipe's decay."""
        decay = min(self.recipe.averaging, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(kept, now, self.updates)

    def _gradients(self, images: Tensor, labels: Tensor, others: Tensor, weight: float, whole: int) -> Tensor:
        """Add the gradients of a part of a batch of ``whole`` images; return its summed loss and hits."""
        smoothing = self.recipe.label_smoothing
        with compute.layers(self.device, self.recipe.precision):
            logits = self.forward(images)
        logits = logits.float()
        loss = weight * F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
        if weight < 1:
            loss = loss + (1 - weight) * F.cross_entropy(
                logits, others, label_smoothing=smoothing, reduction="sum"
            )
        (loss / whole).backward()
        with torch.no_grad():
            return torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()]).double()

    def resume(self, path: Path, key: str) -> History:
        """Go back to the end of the last whole epoch and return the history so far."""
        about = checkpoints.load_training(path, self.model, self.optimizer, key, self.averaged)
        self.plateau.load_state_dict(about["plateau"])
        self.optimizer.param_groups[0]["lr"] = about["lr"]
        return about["history"]

    def keep(self, folder: Path, history: History, key: str) -> None:
        """Write the epoch's checkpoints and log; ``last`` comes last: a kill in between only redoes the epoch."""
        if best_epoch(history) is history[-1]:
            checkpoints.save(folder / "best.safetensors", self.kept.state_dict(), {"key": key, **history[-1]})
        with atomic_path(folder / "log.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            writer.writeheader()
            writer.writerows(history)
        plateau = {
            k: v for k, v in self.plateau.state_dict().items() if isinstance(v, int | float | str | list)
        }
        about = {
            "key": key,
            "history": history,
            "lr": self.optimizer.param_groups[0]["lr"],
            "plateau": plateau,
            "recipe": asdict(self.recipe),
        }
        checkpoints.save_training(
            folder / "last.safetensors", self.model, self.optimizer, about, self.averaged
        )


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(model.parameters(), **common)
