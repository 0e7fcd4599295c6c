"""The steps in the order of their worth: the wide network, its student, what they explain, then the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from ferlab import explainers, networks
from ferlab.explainers import store
from ferlab.networks import Setting
from ferlab.studies import maps
from lease import Lease, NotNowError, Step
from torch import nn

from fercore import load_pretrained, models
from fercore.datasets import splits
from fercore.shapley import DnCShap
from fercore.training import evaluation
from fercore.training.device import matrix_products
from fercore.training.trainer import _Trainer, best_epoch

RECIPE = "strong"
SHARES = {
    "wide": 260,
    "student": 100,
}  # seconds of epochs; answers and checkpoints come on top
EVERY = 60.0  # seconds between two checkpoints
PUBLISHED = ("proposed", "proposed-add", "baseline", "vgg16", "resnet50")  # networks by the paper's recipe
EVALUATIONS = {"absent": 2, "both": 4, "adaptive": 8}  # for each region


def all_steps() -> list[Step]:
    """Return the steps in order."""
    steps = [
        Step("check", "loss falls, GPU and CPU agree", 20, check),
        Step("epoch", "one epoch of each kind, timed; fixes the number of epochs", 60, epoch),
        Step("wide-0", "the proposed network at full width", 330, partial(wide, seed=0)),
        Step("student", "a network of a quarter of the width, taught by it", 150, student),
        Step("maps", "emotion maps of all faces that it classifies correctly", 40, emotion_maps),
        Step("explainers", "the explainers of Tables 3 and 4", 60, compare),
        Step("timings", "what an explanation costs beside plain passes", 60, timings),
        Step("compiled", "an epoch of the compiled network, timed", 120, compiled),
        Step("wide-1", "another seed of the wide network", 330, partial(wide, seed=1)),
        Step("wide-2", "another seed of the wide network", 330, partial(wide, seed=2)),
    ]
    for name in PUBLISHED:
        model, _, fusion = name.partition("-")
        for fold in range(splits.FOLDS):
            run = partial(published, model=model, fusion=fusion or "concatenate", fold=fold)
            steps.append(Step(f"paper-{name}-{fold}", f"the paper's recipe, {model}, fold {fold}", 150, run))
    return steps


def epochs_of(lease: Lease, what: str) -> int:
    """Return the number of epochs that the measured epochs allow, so that the schedule ends."""
    record = lease.read("epoch")
    if record is None:
        raise NotNowError("waits for the step 'epoch', which fixes the number of epochs")
    return record["found"]["epochs"][what]


def wide_setting(lease: Lease, seed: int = 0, epochs: int = 0) -> Setting:
    """Return the wide network's setting; epochs as measured where none are given."""
    return _setting(lease.width, epochs=epochs or epochs_of(lease, "wide"), seed=seed)


def student_setting(lease: Lease, teacher: str, epochs: int = 0) -> Setting:
    """Return the student's setting: a quarter of the width, three quarters of what it learns said by the teacher."""
    about = {"epochs": epochs or epochs_of(lease, "student"), "distillation": 0.75, "temperature": 3.0}
    return replace(_setting(lease.width / 4, **about), teacher=teacher)


def _setting(width: float, **changes: Any) -> Setting:
    about = {"width": width, "recipe": RECIPE, "precision": "bfloat16"}
    return networks.setting("fer2013", "proposed", **about, **changes)


def explained(lease: Lease) -> tuple[networks.Trained, networks.Outcome]:
    """Return the wide network, whose weights must lie here, and what it answers."""
    setting = wide_setting(lease)
    weights = lease.root / "runs" / "weights" / "fer2013" / f"{setting.name(lease.parts)}.safetensors"
    if not weights.is_file():
        raise NotNowError(f"waits for the weights of the wide network ({weights})")
    given = (setting, lease.data, lease.parts, str(lease.device), lease.root)
    return networks.trained(*given, progress=False), networks.outcome(*given, progress=False)


def check(lease: Lease) -> dict[str, Any]:
    """Check that training learns and that maps don't depend on the device; measure the ceiling."""
    some = lease.data.subset(lease.parts.train[:512])
    setting = wide_setting(lease, epochs=4)
    recipe = replace(setting.recipe, batch_size=64, lr=0.02, warmup=1)
    trainer = _Trainer(_built(lease, setting), some, recipe, captured=True)
    losses = [trainer.epoch(number, progress=False)[0] for number in range(1, 5)]
    if not losses[-1] < losses[0]:
        raise RuntimeError(f"the loss on 512 images does not fall: {losses}")
    gap = _device_gap(lease)
    if gap > 1e-4:
        raise RuntimeError(f"maps on {lease.device} and on the CPU differ by {gap:.1e}, more than 1e-4")
    ceiling = networks.ceiling(lease.device, "bfloat16")
    brief = f"loss {losses[0]:.2f} to {losses[-1]:.2f}, maps agree to {gap:.0e}, {ceiling / 1e12:.2g} TFLOP/s"
    return {"losses": losses, "gap": gap, "ceiling": ceiling, "captured": _captured(trainer), "brief": brief}


def _device_gap(lease: Lease) -> float:
    """Return the largest difference of region scores between the device and the CPU, relative to the largest score."""
    images = models.to_input(lease.data.images[lease.parts.test[:2]])
    found = []
    for device in (lease.device, torch.device("cpu")):
        with matrix_products("float32"):
            explainer = DnCShap(load_pretrained(device), depth=5, contexts="both")
            found.append(explainer.attribute(images.to(device)).region_scores)
    return float(np.abs(found[0] - found[1]).max() / np.abs(found[1]).max())


def _built(lease: Lease, setting: Setting) -> nn.Module:
    return networks.build(setting, lease.data.images.shape[1:3]).to(lease.device)


def _captured(trainer: _Trainer) -> bool:
    return trainer.replay is not None and trainer.replay.graph is not None


def epoch(lease: Lease) -> dict[str, Any]:
    """Time the second epoch of each kind, and fix how many epochs fit."""
    setting, train = wide_setting(lease, epochs=3), lease.data.subset(lease.parts.train)
    teacher = _built(lease, setting).eval()
    small = replace(setting, recipe=replace(setting.recipe, batch_size=32))
    kinds = {"wide": _timed(lease, setting, train)}
    others = {
        "student": (student_setting(lease, "any", epochs=3), train, teacher),
        "batch 32": (small, train),
    }
    for name, given in others.items():
        try:
            kinds[name] = _timed(lease, *given)
        except Exception as error:  # the wide network does not wait for them
            print(f"epoch: {name} could not be timed ({type(error).__name__}: {error})", flush=True)
    work = networks.flops_per_image(_built(lease, setting), lease.data.images.shape[1:3]) * len(train)
    ceiling = networks.ceiling(lease.device, "bfloat16")
    share = {name: work / kind["seconds"] / ceiling for name, kind in kinds.items() if name != "student"}
    fixed = {
        name: _epochs(lease, seconds, kinds.get(name, kinds["wide"])) for name, seconds in SHARES.items()
    }
    brief = f"{kinds['wide']['seconds']:.2f} s, {share['wide']:.0%} of {ceiling / 1e12:.1f} TFLOP/s; epochs {fixed}"
    found = {"kinds": kinds, "share": share, "flops": work, "ceiling": ceiling}
    return found | {"epochs": fixed, "brief": brief}


def _epochs(lease: Lease, seconds: float, kind: dict[str, Any]) -> int:
    """Return how many epochs with their validation fit, at least 3, at most 300, in tens where there are tens."""
    budget = seconds if lease.device.type == "cuda" else seconds * lease.seconds / 780
    count = min(300, int(budget / (kind["seconds"] + kind["validation"])))
    return max(3, count if count < 10 else count - count % 10)


def _timed(
    lease: Lease, setting: Setting, train: Any, teacher: nn.Module | None = None, compiled: bool = False
) -> dict[str, Any]:
    trainer = _Trainer(_built(lease, setting), train, setting.recipe, compiled, True, teacher)
    trainer.epoch(1, progress=False)  # warms up, captures, compiles
    before = time.perf_counter()
    trainer.epoch(2, progress=False)
    between = time.perf_counter()
    evaluation.score(trainer.kept, lease.data.subset(lease.parts.validation))
    found = {"seconds": between - before, "validation": time.perf_counter() - between}
    return found | {"captured": _captured(trainer)}


def compiled(lease: Lease) -> dict[str, Any]:
    """Time an epoch of the network behind ``torch.compile``, in the same graph of whole steps."""
    if lease.device.type != "cuda":
        raise NotNowError("is for a GPU")
    before = time.perf_counter()
    found = _timed(lease, wide_setting(lease), lease.data.subset(lease.parts.train), compiled=True)
    plain = lease.read("epoch")["found"]["kinds"]["wide"]["seconds"]
    whole = time.perf_counter() - before
    brief = f"{found['seconds']:.2f} s an epoch instead of {plain:.2f} s; {whole:.0f} s with compiling"
    return found | {"whole": whole, "brief": brief}


def wide(lease: Lease, seed: int) -> dict[str, Any]:
    """Train the wide network."""
    return _train(lease, wide_setting(lease, seed))


def student(lease: Lease) -> dict[str, Any]:
    """Train the student on the answers of the wide network."""
    teacher, _ = explained(lease)
    return _train(lease, student_setting(lease, teacher.key), teacher)


def published(lease: Lease, model: str, fusion: Any, fold: int) -> dict[str, Any]:
    """Train a network by the paper's recipe on one of its random folds."""
    about = {"precision": "bfloat16", "epochs": 100, "stop": 10}
    setting = networks.setting("fer2013", model, fusion, lease.width, fold, "paper", **about)
    return _train(lease, setting, parts=splits.split(lease.data, "paper", fold))


def _train(
    lease: Lease, setting: Setting, teacher: networks.Trained | None = None, parts: splits.Split | None = None
) -> dict[str, Any]:
    """Train, or go on training, and return the accuracies by every test-time rule."""
    parts = parts or lease.parts
    options = {"progress": False, "teacher": teacher, "every": EVERY}
    answers = networks.outcome(setting, lease.data, parts, str(lease.device), lease.root, **options)
    labels, own = lease.data.labels, ~splits.duplicates(lease.data, parts)
    accuracy = {}
    for rule, logits in answers.logits.items():
        part = rule.split()[0]
        right = logits.argmax(dim=1).numpy() == labels[getattr(parts, part)]
        accuracy[rule] = float(right.mean())
        if part == "test":
            accuracy[f"{rule}, without copies"] = float(right[own].mean())
    history, seconds = answers.history, sum(row["seconds"] for row in answers.history)
    rules = ("test", "test mirrored", "test ten-crop")
    told = ", ".join(f"{rule} {accuracy[rule]:.4f}" for rule in rules if rule in accuracy)
    return {
        "key": answers.key,
        "name": setting.name(parts),
        "parameters": setting.parameters() | {"protocol": parts.protocol},
        "accuracy": accuracy,
        "epochs": len(history),
        "epoch": best_epoch(history)["epoch"],
        "train_accuracy": history[-1]["train_accuracy"],
        "seconds": seconds,
        "images_per_second": float(np.median([row["images_per_second"] for row in history])),
        "brief": f"{told}; {len(history)} epochs in {seconds:.0f} s",
    }


def emotion_maps(lease: Lease) -> dict[str, Any]:
    """Explain the faces of the page "Emotion maps", as it does, and keep the scores where it finds them."""
    (trained, answers), parts = explained(lease), lease.parts
    right = answers.predicted("test", mirror=False) == lease.data.labels[parts.test]
    faces = lease.data.images[parts.test[right & ~splits.duplicates(lease.data, parts)]]
    before = time.perf_counter()
    with matrix_products("float32"):
        name = f"{trained.weights.stem}-64"
        found = maps.explain_all(trained.model, faces, "fer2013", name, 6, 2, 0, lease.root, progress=False)
    about = {"faces": len(faces), "evaluations": found.evaluations, "seconds": time.perf_counter() - before}
    brief = "{faces} faces, {evaluations:.0f} evaluations each, {seconds:.0f} s".format(**about)
    return about | {"key": found.key, "brief": brief}


def compare(lease: Lease) -> dict[str, Any]:
    """Explain the faces of the page "Explainers" by every method that is installed here."""
    (trained, answers), parts, data = explained(lease), lease.parts, lease.data
    predicted = answers.predicted("test", mirror=False)
    drawn = maps.draw(data, parts, predicted, lease.images, 0)
    some = np.random.default_rng(0).permutation(parts.train)[:100]
    settings = explainers.Settings(background=models.to_input(data.images[some]).to(lease.device), seed=0)
    x = models.to_input(data.images[parts.test[drawn]]).to(lease.device)  # divided on the CPU, as on the page
    names = [name for name in explainers.installed() if name != "dnc_exact"]
    folder = lease.root / "runs" / "fer2013" / "explainers"
    with matrix_products("float32"):
        found = store.explain_all(names, trained.model, x, predicted[drawn], settings, folder, False)
    measured = ("seconds", "evaluations")
    rows = {n: {what: float(np.median(getattr(one, what))) for what in measured} for n, one in found.items()}
    absent = sorted(set(explainers.METHODS) - set(explainers.installed()))
    brief = f"{len(drawn)} faces, {len(names)} methods; not installed: {', '.join(absent) or 'none'}"
    return {"faces": len(drawn), "methods": rows, "absent": absent, "brief": brief}


def timings(lease: Lease) -> dict[str, Any]:
    """Time explanations beside as many plain passes: the proposed network, and VGG-16 at 224 pixels on a GPU."""
    cells = [("proposed", 48, 8, 1), ("proposed", 48, 8, 16)]
    if lease.device.type == "cuda":
        cells += [("vgg16", 224, 9, 1), ("vgg16", 224, 9, 16)]
    rows = []
    for name, size, depth, images in cells:
        model = networks.build(Setting(name, width=lease.width), (size, size)).to(lease.device).eval()
        for precision in ("float32", "bfloat16"):
            for contexts in ("absent", "both", "adaptive"):
                row = {"network": name, "size": size, "regions": 2**depth, "images": images}
                row |= {"precision": precision, "contexts": contexts}
                rows.append(row | _cost(lease, model, row))
    timed = [row for row in rows if "ratio" in row and row["contexts"] == "adaptive"]
    brief = "; ".join(f"{r['network']} {r['images']} {r['precision']}: {r['ratio']:.2f}" for r in timed)
    return {"rows": rows, "brief": f"time over that of plain passes, default contexts: {brief}"}


def _cost(lease: Lease, model: nn.Module, row: dict[str, Any]) -> dict[str, float]:
    """Return seconds of an explanation, seconds of its evaluations in plain batches, and their ratio."""
    kind = getattr(torch, row["precision"])
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(row["images"], 3, row["size"], row["size"], generator=generator).to(lease.device, kind)
    model = model.to(kind)
    explainer = DnCShap(model, depth=int(np.log2(row["regions"])), contexts=row["contexts"])
    with matrix_products("float32"):
        pace = min(_pace(lease, model, x[:1], batch) for batch in (64, 256, 1024))
        expected = pace * EVALUATIONS[row["contexts"]] * row["regions"] * len(x)
        if 3 * expected > min(10.0, lease.left() - 10):
            return {"not_run": 3 * expected}
        explainer.attribute(x)
        seconds, result = _seconds(lease, lambda: explainer.attribute(x))
    rows = int(result.evaluations.sum())
    floor = pace * rows
    return {"seconds": seconds, "floor": floor, "ratio": seconds / floor, "evaluations": rows / len(x)}


def _pace(lease: Lease, model: nn.Module, x: torch.Tensor, batch: int) -> float:
    """Return the seconds of a row in plain batches of this size."""
    many = x.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)

    def run(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                model(many)

    run(1)
    once = _seconds(lease, partial(run, 1))[0]
    count = max(1, int(min(0.3, lease.left() / 200) / max(once, 1e-6)))
    return _seconds(lease, partial(run, count))[0] / (count * batch)


def _seconds(lease: Lease, call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call took, everything on the device included, and what it returned."""
    wait = torch.cuda.synchronize if lease.device.type == "cuda" else (lambda: None)
    wait()
    before = time.perf_counter()
    found = call()
    wait()
    return time.perf_counter() - before, found
