"""Training by a recipe, epoch by epoch, so that a killed run goes on where it was (Section 4.1 of the paper)."""

from __future__ import annotations

import copy
import csv
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from fercore import checkpoints
from fercore.checkpoints import atomic_path
from fercore.datasets.base import FaceDataset
from fercore.training import augmentation, evaluation
from fercore.training.device import Replay, layers, matrix_products, seeded, smaller
from fercore.training.recipes import Recipe

History = list[dict[str, float]]
# Version of the procedure that turns a setting into weights. Raise it when weights come out otherwise: every network
# is then trained again. The test of behaviour (two steps and a prediction) says when.
PROCEDURE = 1


def fit(
    model: nn.Module,
    train: FaceDataset,
    validation: FaceDataset,
    recipe: Recipe,
    folder: str | Path,
    key: str = "",
    progress: bool = True,
    compiled: bool = False,
    captured: bool = True,
    teacher: nn.Module | None = None,
    every: float = 0.0,
) -> History:
    """Train ``model`` in place, leaving in it the weights of the epoch with the best validation accuracy.

    Every epoch ends with two checkpoints in ``folder`` (``best.safetensors``, ``last.safetensors``) and a line in
    ``log.csv``. A killed run goes on after its last kept epoch when called again with the same arguments. What epoch e
    does to images and hidden units is drawn from (seed, e) alone, so a resumed run gives the same numbers as an
    undisturbed one; on a CPU two runs with one seed and one number of threads agree to the last bit. The images stay on
    the device as bytes, and nothing is read back from it inside an epoch. Where its memory does not hold a batch, parts
    of it are computed one after the other and their gradients added up.

    Args:
        model: The network, on the device to train on.
        train: Training images.
        validation: Images that choose the epoch and drive the learning rate on a plateau.
        recipe: The hyper-parameters.
        folder: Where checkpoints and the log go.
        key: What identifies this run; a checkpoint with another key is refused.
        progress: Show one progress bar per epoch.
        compiled: Compile the network with ``torch.compile``. Same numbers up to rounding.
        captured: On a GPU, replay whole steps as one CUDA graph, see :class:`fercore.training.device.Replay`.
        teacher: The network whose answers are learnt too, on the same device; needed if the recipe distils.
        every: Seconds between two checkpoints, at least; 0 writes one after every epoch.

    Returns:
        One dict per epoch with ``epoch``, ``lr`` (at its start), ``train_loss``, ``train_accuracy`` (of the altered
        images, while the weights still change), ``validation_loss``, ``validation_accuracy``, ``seconds`` (all),
        ``images_per_second`` (training alone).

    Raises:
        CheckpointError: If the folder's checkpoint is damaged or belongs to another run.
        FercoreError: If not even one image fits into the device's memory.
        FloatingPointError: If the loss is no longer finite.
        ValueError: If a batch is larger than the training part, or the recipe distils without a teacher.
    """
    if recipe.batch_size > len(train):
        raise ValueError(
            f"batch_size={recipe.batch_size} is larger than the training part ({len(train)} images): "
            f"choose at most {len(train)}."
        )
    if bool(recipe.distillation) != (teacher is not None):
        raise ValueError(
            f"distillation={recipe.distillation} {'needs a' if teacher is None else 'has no'} teacher."
        )
    folder, trainer = Path(folder), _Trainer(model, train, recipe, compiled, captured, teacher)
    history: History = []
    if (folder / "last.safetensors").exists():
        history = trainer.resume(folder / "last.safetensors", key)
    written = time.perf_counter()
    for epoch in range(len(history) + 1, recipe.epochs + 1):
        if _enough(history, recipe):
            break
        started = time.perf_counter()
        row = {"epoch": epoch, "lr": trainer.learning_rate(epoch, 0)}
        row["train_loss"], row["train_accuracy"] = trainer.epoch(epoch, progress)
        speed = len(train) / (time.perf_counter() - started)
        row |= {
            f"validation_{name}": value for name, value in evaluation.score(trainer.kept, validation).items()
        }
        history.append(row | {"seconds": time.perf_counter() - started, "images_per_second": speed})
        trainer.plateau.step(row["validation_accuracy"])
        trainer.note(history)
        last = epoch == recipe.epochs or _enough(history, recipe)
        if last or time.perf_counter() - written >= every:
            trainer.keep(folder, history, key)
            written = time.perf_counter()
    tensors, _ = checkpoints.read(folder / "best.safetensors")
    checkpoints.restore(folder / "best.safetensors", model, tensors)
    return history


def best_epoch(history: History) -> dict[str, float]:
    """Return the row of the first epoch with the best validation accuracy."""
    return max(history, key=lambda row: (row["validation_accuracy"], -row["epoch"]))


def _enough(history: History, recipe: Recipe) -> bool:
    """Whether the recipe ends the training early."""
    return bool(recipe.stop and history) and len(history) - best_epoch(history)["epoch"] >= recipe.stop


class _Trainer:
    """The state of one training run: network, optimiser, learning rate and averaged weights."""

    def __init__(
        self,
        model: nn.Module,
        train: FaceDataset,
        recipe: Recipe,
        compiled: bool = False,
        captured: bool = False,
        teacher: nn.Module | None = None,
    ) -> None:
        self.model, self.recipe, self.teacher = model, recipe, teacher
        self.device = next(model.parameters()).device
        self.images = torch.from_numpy(train.images).permute(0, 3, 1, 2).contiguous().to(self.device)
        self.labels = torch.from_numpy(train.labels).to(self.device)
        self.steps = -(-len(train) // recipe.batch_size)
        self.optimizer = _optimizer(model, recipe, self.device)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, mode="max", factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr
        )
        self.averaged = copy.deepcopy(model).requires_grad_(False) if recipe.averaging else None
        self.updates = 0  # of the averaged weights
        self.decay = torch.zeros((), device=self.device)
        self.forward = torch.compile(model) if compiled else model
        self.at_once = recipe.batch_size
        self.replay = Replay(self) if captured and self.device.type == "cuda" else None
        self.best: dict[str, Tensor] | None = None  # weights of the best epoch that are not written yet

    @property
    def kept(self) -> nn.Module:
        """The network to validate and keep: the averaged one where the recipe averages."""
        return self.model if self.averaged is None else self.averaged

    def learning_rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step (from 0) of an epoch (from 1)."""
        recipe = self.recipe
        if recipe.schedule == "plateau":
            return float(self.optimizer.param_groups[0]["lr"])
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
        with (
            bar,
            matrix_products(self.recipe.precision),
            seeded(self.device, self.recipe.seed, number),
        ):
            for step in range(self.steps):
                part = slice(step * size, min((step + 1) * size, count))
                self._advance(number, step)
                if self.replay is not None and part.stop - part.start == size:
                    total += self.replay(plan, step)
                else:
                    total += self.step(plan, part, step)
                bar.update(part.stop - part.start)
            loss, hits = total.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The training loss became {loss} in epoch {number}: lower lr (now {self.recipe.lr}) and train again."
            )
        return loss / count, hits / count

    def _advance(self, number: int, step: int) -> None:
        """Set what changes from step to step: the learning rate, and how fast the averaged weights move."""
        group = self.optimizer.param_groups[0]
        if self.recipe.schedule != "plateau":  # which changes between epochs alone
            rate = self.learning_rate(number, step)
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
        # Fast in the first steps, then with the recipe's decay; the very first step copies.
        decay = min(self.recipe.averaging, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        self.decay.fill_(decay)
        self.updates += 1

    def step(self, plan: augmentation.Plan, part: slice | Tensor, number: int | Tensor) -> Tensor:
        """Take one step of an epoch; return the summed loss and the number of hits, (2,) float64 on the device."""
        images, labels = augmentation.batch(self.images, plan, part), self.labels[plan.order[part]]
        if plan.blends is None:
            return self._update(images, labels)
        return self._update(augmentation.mix(images, plan, number), labels, plan.blends[number])

    def _update(self, images: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """Update the weights once, by images that may be mixed with the batch in reverse order (label weight)."""
        others = labels.flip(0)
        while True:
            try:
                self.optimizer.zero_grad(set_to_none=True)
                parts = zip(*(x.split(self.at_once) for x in (images, labels, others)), strict=True)
                totals = [self._gradients(*one, weight, len(images)) for one in parts]
                break
            except torch.OutOfMemoryError:
                failed = min(self.at_once, len(images))
            self.at_once = smaller(failed, self.recipe.batch_size)
        self.optimizer.step()
        if self.averaged is not None:
            self._average()
        return torch.stack(totals).sum(dim=0)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights and statistics towards the present ones; whole numbers are copied."""
        kept, now = self.averaged.state_dict().values(), self.model.state_dict().values()
        pairs = list(zip(kept, now, strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        old, new = ([pair[side] for pair in moving] for side in (0, 1))
        torch._foreach_mul_(old, self.decay)
        torch._foreach_add_(old, torch._foreach_mul(new, 1 - self.decay))
        for one, other in pairs:
            if not one.is_floating_point():
                one.copy_(other)

    def _gradients(
        self, images: Tensor, labels: Tensor, others: Tensor, weight: Tensor | None, whole: int
    ) -> Tensor:
        """Add the gradients of a part of a batch of ``whole`` images; return its summed loss and hits."""
        recipe = self.recipe
        with layers(self.device, recipe.precision):
            logits = self.forward(images)
            with torch.no_grad():
                said = None if self.teacher is None else self.teacher(images)
        logits = logits.float()

        def entropy(wanted: Tensor) -> Tensor:
            return F.cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing, reduction="sum")

        loss = (
            entropy(labels)
            if weight is None
            else weight.mul(entropy(labels)) + (1 - weight) * entropy(others)
        )
        if said is not None:
            loss = (1 - recipe.distillation) * loss + recipe.distillation * _distance(
                logits, said.float(), recipe
            )
        (loss.sum() / whole).backward()
        with torch.no_grad():
            return torch.stack([loss.detach().sum(), (logits.argmax(1) == labels).sum()]).double()

    def resume(self, path: Path, key: str) -> History:
        """Go back to the end of the last kept epoch and return the history so far."""
        about = checkpoints.load_training(path, self.model, self.optimizer, key, self.averaged)
        self.plateau.load_state_dict(about["plateau"])
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(about["lr"], self.device)
        return about["history"]

    def note(self, history: History) -> None:
        """Remember the weights of the epoch that was just finished if it is the best so far."""
        if best_epoch(history) is history[-1]:
            self.best = {name: tensor.clone() for name, tensor in self.kept.state_dict().items()}

    def keep(self, folder: Path, history: History, key: str) -> None:
        """Write checkpoints and log; ``last`` comes last: a kill in between only redoes what came after it."""
        if self.best is not None:
            checkpoints.save(folder / "best.safetensors", self.best, {"key": key, **best_epoch(history)})
            self.best = None
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
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "plateau": plateau,
            "recipe": asdict(self.recipe),
        }
        checkpoints.save_training(
            folder / "last.safetensors", self.model, self.optimizer, about, self.averaged
        )


def _distance(logits: Tensor, said: Tensor, recipe: Recipe) -> Tensor:
    """Return the summed cross-entropy of softened answers, in the scale of the plain one (Hinton et al. 2015)."""
    warm = recipe.temperature
    wanted = (said / warm).softmax(dim=1)
    return warm**2 * F.cross_entropy(logits / warm, wanted, reduction="sum")


def _rate(value: float, device: torch.device) -> float | Tensor:
    """Return a learning rate that the optimiser reads on the device, where steps may be captured."""
    return torch.tensor(value, device=device) if device.type == "cuda" else value


def _optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Build the optimiser; on a GPU in the form that a CUDA graph can hold."""
    on_gpu = {"fused": True} if device.type == "cuda" else {}
    common = {"lr": _rate(recipe.lr, device), "weight_decay": recipe.weight_decay, **on_gpu}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **common)
    if on_gpu:
        common["capturable"] = True
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(model.parameters(), **common)
