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
from fercore.errors import CheckpointError
from fercore.training import augmentation, evaluation
from fercore.training.device import Replay, matrix_products, seeded, smaller
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

    A killed run, called again, goes on after its last kept epoch. What epoch e does to images and hidden units is drawn
    from (seed, e) alone, so it gives the numbers of an undisturbed one: on a CPU with one number of threads to the last
    bit. Where the device's memory does not hold a batch, parts of it are computed in turn and their gradients added up.

    Args:
        model: The network, on the device to train on.
        train: Training images.
        validation: Images that choose the epoch and drive the learning rate on a plateau.
        recipe: The hyper-parameters.
        folder: Where ``best.safetensors``, ``last.safetensors`` and ``log.csv`` go.
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
    size, count = recipe.batch_size, len(train)
    if size > count:
        raise ValueError(f"batch_size={size} is larger than the training part: choose at most {count}.")
    if bool(recipe.distillation) != (teacher is not None):
        wants = "needs a" if teacher is None else "has no"
        raise ValueError(f"distillation={recipe.distillation} {wants} teacher.")
    folder, trainer = Path(folder), _Trainer(model, train, recipe, compiled, captured, teacher)
    history: History = []
    if (folder / "last.safetensors").exists():
        history = trainer.resume(folder, key)
    written = time.perf_counter()
    while not _done(history, recipe):
        epoch, started = len(history) + 1, time.perf_counter()
        row = {"epoch": epoch, "lr": trainer.learning_rate(epoch, 0)}
        row["train_loss"], row["train_accuracy"] = trainer.epoch(epoch, progress)
        speed = count / (time.perf_counter() - started)
        score = evaluation.score(trainer.kept, validation)
        row |= {f"validation_{name}": value for name, value in score.items()}
        history.append(row | {"seconds": time.perf_counter() - started, "images_per_second": speed})
        trainer.plateau.step(row["validation_accuracy"])
        if best_epoch(history) is history[-1]:
            trainer.best = {name: tensor.clone() for name, tensor in trainer.kept.state_dict().items()}
        if _done(history, recipe) or time.perf_counter() - written >= every:
            trainer.keep(folder, history, key)
            written = time.perf_counter()
    best = folder / "best.safetensors"
    checkpoints.restore(best, model, checkpoints.read(best)[0])
    return history


def best_epoch(history: History) -> dict[str, float]:
    """Return the row of the first epoch with the best validation accuracy."""
    return max(history, key=lambda row: (row["validation_accuracy"], -row["epoch"]))


def _done(history: History, recipe: Recipe) -> bool:
    """Whether all epochs are over, or so many without progress that the recipe ends the training early."""
    idle = len(history) - best_epoch(history)["epoch"] if history else 0
    return len(history) >= recipe.epochs or 0 < recipe.stop <= idle


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
        recipe, count, size = self.recipe, len(self.labels), self.recipe.batch_size
        self.updates = (number - 1) * self.steps
        plan = augmentation.draw(recipe, count, tuple(self.images.shape[2:]), number, self.device)
        total = torch.zeros(2, dtype=torch.float64, device=self.device)  # one read-back per epoch
        self.model.train()
        title = f"epoch {number}/{recipe.epochs}"
        with (
            tqdm(total=count, desc=title, unit="image", disable=not progress, mininterval=1) as bar,
            matrix_products(recipe.precision),
            seeded(self.device, recipe.seed, number),
        ):
            for step in range(self.steps):
                part = slice(step * size, min((step + 1) * size, count))
                self._advance(number, step)
                whole = part.stop - part.start == size
                total += self.replay(plan, step) if self.replay and whole else self.step(plan, part, step)
                bar.update(part.stop - part.start)
            loss, hits = total.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(f"The loss became {loss} in epoch {number}: lower lr (now {recipe.lr}).")
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
        batch = images, labels, labels.flip(0)
        while True:
            try:
                self.optimizer.zero_grad(set_to_none=True)
                parts = zip(*(whole.split(self.at_once) for whole in batch), strict=True)
                totals = [self._gradients(*part, weight, len(images)) for part in parts]
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
        kept, now = self.averaged.state_dict(), self.model.state_dict()
        moving = [name for name, tensor in kept.items() if tensor.is_floating_point()]
        old, new = [kept.pop(name) for name in moving], [now[name] for name in moving]
        torch._foreach_mul_(old, self.decay)
        torch._foreach_add_(old, torch._foreach_mul(new, 1 - self.decay))
        for name, tensor in kept.items():
            tensor.copy_(now[name])

    def _gradients(
        self, images: Tensor, labels: Tensor, others: Tensor, weight: Tensor | None, whole: int
    ) -> Tensor:
        """Add the gradients of a part of a batch of ``whole`` images; return its summed loss and hits."""
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = self.forward(images)
            with torch.no_grad():
                said = None if self.teacher is None else self.teacher(images)
        logits = logits.float()

        def entropy(wanted: Tensor) -> Tensor:
            return F.cross_entropy(logits, wanted, label_smoothing=recipe.label_smoothing, reduction="sum")

        loss = entropy(labels)
        if weight is not None:
            loss = weight.mul(loss) + (1 - weight) * entropy(others)
        if said is not None:  # softened answers, in the scale of the plain loss (Hinton et al. 2015)
            warm = recipe.temperature
            wanted = (said.float() / warm).softmax(dim=1)
            soft = warm**2 * F.cross_entropy(logits / warm, wanted, reduction="sum")
            loss = (1 - recipe.distillation) * loss + recipe.distillation * soft
        (loss.sum() / whole).backward()
        with torch.no_grad():
            return torch.stack([loss.detach().sum(), (logits.argmax(1) == labels).sum()]).double()

    def resume(self, folder: Path, key: str) -> History:
        """Go back to the end of the last kept epoch and return the history so far."""
        last, remedy = folder / "last.safetensors", f"Delete the folder {folder} and train again."
        about = checkpoints.load_training(last, self.model, self.optimizer, key, self.averaged)
        self.plateau.load_state_dict(about["plateau"])
        self.optimizer.param_groups[0]["lr"] = _rate(about["lr"], self.device)
        try:
            best = checkpoints.read(folder / "best.safetensors")[1]
        except CheckpointError as error:
            raise CheckpointError(f"{error} {remedy}") from error
        history, chosen = about["history"], best_epoch(about["history"])["epoch"]
        # A kill between the two writes leaves a best one of a later epoch, which is computed again.
        later = len(history) < best["epoch"] <= self.recipe.epochs
        if best["key"] != key or not (best["epoch"] == chosen or later):
            raise CheckpointError(f"The checkpoints in {folder} do not belong together. {remedy}")
        return history

    def keep(self, folder: Path, history: History, key: str) -> None:
        """Write checkpoints and log; ``last`` comes last: a kill in between only redoes what came after it."""
        if self.best is not None:
            checkpoints.save(folder / "best.safetensors", self.best, {"key": key, **best_epoch(history)})
            self.best = None
        with atomic_path(folder / "log.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            writer.writeheader()
            writer.writerows(history)
        about = {"key": key, "history": history, "recipe": asdict(self.recipe)}
        about["lr"] = float(self.optimizer.param_groups[0]["lr"])
        about["plateau"] = {name: getattr(self.plateau, name) for name in ("best", "num_bad_epochs")}
        last = folder / "last.safetensors"
        checkpoints.save_training(last, self.model, self.optimizer, about, self.averaged)


def _rate(value: float, device: torch.device) -> float | Tensor:
    """Return a learning rate that the optimiser reads on the device, where steps may be captured."""
    return torch.tensor(value, device=device) if device.type == "cuda" else value


def _optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Build the optimiser; on a GPU in the form that a CUDA graph can hold."""
    on_gpu, rate = device.type == "cuda", _rate(recipe.lr, device)
    common = {"lr": rate, "weight_decay": recipe.weight_decay, "fused": on_gpu or None}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(model.parameters(), capturable=on_gpu, **common)
