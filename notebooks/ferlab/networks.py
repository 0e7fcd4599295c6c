"""One network per setting and what it answers: trained once, found again by what it depends on."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fercore import checkpoints, models
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.errors import FercoreError
from fercore.models import Fusion
from fercore.pretrained import DATASET as SHIPPED_FOR
from fercore.pretrained import WEIGHTS as SHIPPED
from fercore.training import evaluation, recipes, trainer
from fercore.training.device import choose_device, matrix_products
from fercore.training.recipes import Precision
from ferlab import provenance
from ferlab.kept import Kept, find, kept
from ferlab.provenance import hardware, project_root

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices: large enough that nothing but the product counts


def ceiling(device: torch.device, precision: Precision, seconds: float = 0.5) -> float:
    """Measure for some seconds the fastest product of two square matrices, in floating-point operations per second."""
    side = SIDE.get(device.type, SIDE["cpu"])
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
    best, started = float("inf"), time.perf_counter()
    with matrix_products(precision):
        while best == float("inf") or time.perf_counter() - started < seconds:
            before = time.perf_counter()
            torch.mm(one, other)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def flops_per_image(model: nn.Module, size: tuple[int, int]) -> int:
    """Count the floating-point operations of one training image of a size, forwards and backwards (torch's counter)."""
    model = copy.deepcopy(model).eval()  # batch normalisation refuses a single image while training
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *size, device=next(model.parameters()).device)).sum().backward()
    return counter.get_total_flops()


# Networks besides those of :data:`fercore.models.MODELS`: from setting and size of the images to the first weights.
BUILDERS: dict[str, Callable[[Setting, tuple[int, int]], nn.Module]] = {}


@dataclass(frozen=True)
class Setting:
    """Which network is trained how, on which part of which dataset."""

    model: str = "proposed"  # or another of fercore.models.MODELS
    fusion: Fusion = "concatenate"  # the paper's text; "add" is its released code
    width: float = 1.0  # multiplier of all channels and hidden units
    fold: int = 0  # of the protocol
    pretrained: bool = False  # whether VGG-16 and ResNet-50 start from ImageNet weights
    recipe: recipes.Recipe = field(default_factory=recipes.Recipe)
    teacher: str = ""  # key of the network whose answers are learnt too, where the recipe distils

    def parameters(self) -> dict[str, Any]:
        """Return all fields in one flat dict, as a record keeps them."""
        fields = asdict(self)
        recipe = fields.pop("recipe")
        return {**fields, "recipe": recipe.pop("name"), **recipe}

    def name(self, split: Split) -> str:
        """Return a readable name, e.g. ``"proposed-concatenate-w0.25-paper-e100-official-0"``."""
        fusion = f"-{self.fusion}" if models.has_fusion(self.model) else ""
        recipe = self.recipe.name.replace(" ", "_")
        start = "-imagenet" if self.pretrained else "-taught" if self.teacher else ""
        seed = f"-s{self.recipe.seed}" if self.recipe.seed else ""
        size = f"w{self.width:g}-{recipe}-e{self.recipe.epochs}{seed}"
        return f"{self.model}{fusion}{start}-{size}-{split.protocol}-{self.fold}"


def setting(
    dataset: str,
    model: str = "",
    fusion: Fusion = "concatenate",
    width: float = 1.0,
    fold: int = 0,
    recipe: str = "paper",
    batch_size: int = 0,
    pretrained: bool = False,
    **changes: Any,
) -> Setting:
    """Build a setting from a notebook's parameters; ``changes`` are other fields of the recipe.

    ``model=""`` takes the network that comes with the package on FER2013, whatever the rest says, and the proposed one
    elsewhere. ``batch_size=0`` takes the recipe's (the paper's depends on the dataset). Where ImageNet weights are
    asked for and cannot be had, a line says so and the setting has ``pretrained=False``.
    """
    if model == "" and dataset == SHIPPED_FOR:
        return shipped()
    model = model or "proposed"
    for name, value in (("fold", fold), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name}={value!r} must be a whole number, not negative.")
    if isinstance(width, bool) or not isinstance(width, int | float) or not width > 0:
        raise ValueError(f"width={width!r} must be a number above zero.")
    if batch_size or recipe == "paper":
        changes["batch_size"] = batch_size or recipes.batch_size(dataset)
    chosen = recipes.recipe(recipe, **changes)
    pretrained = bool(pretrained) and models.imagenet_weights(model, width, chosen.batch_norm) is not None
    return Setting(model, fusion, width, fold, pretrained, chosen)


def shipped() -> Setting:
    """Return the setting of the network that comes with the package, see :mod:`fercore.pretrained`."""
    said = checkpoints.read(SHIPPED)[1]["setting"]
    return Setting(**{**said, "recipe": recipes.Recipe(**said["recipe"])})


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network in evaluation mode, and how it came about.

    It has the weights of the best validation epoch, rounded to half precision, and computes in float32.
    """

    model: nn.Module
    history: trainer.History  # a dict per epoch, see :func:`fercore.training.trainer.fit`
    key: str  # what the weights depend on, see :func:`training_key`
    weights: Path  # the file: half precision, safetensors
    hardware: str  # that trained it
    ceiling: float  # of its matrix products, see :func:`ceiling`


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a trained network answers: all that its numbers need, in a fifth of a megabyte.

    ``logits`` are (images, 7) float32, rounded to half precision, of ``"validation"`` and ``"test"``, and by the other
    rules of :func:`fercore.training.evaluation.rules`, e.g. ``"test mirrored"``. The rest as in :class:`Trained`.
    """

    logits: dict[str, Tensor]
    mirror: bool  # whether the recipe asks for mirrored answers
    history: trainer.History
    key: str
    hardware: str
    ceiling: float

    def predicted(self, part: str, mirror: bool | None = None) -> np.ndarray:
        """Return the classes of ``"validation"`` or ``"test"``, (images,) int64; mirrored if the recipe is."""
        mirror = self.mirror if mirror is None else mirror
        return self.logits[f"{part} mirrored" if mirror else part].argmax(dim=1).numpy()


def training_key(setting: Setting, dataset: FaceDataset, split: Split) -> str:
    """Return the SHA-256 of everything that decides the weights: data, split, setting and version of the procedure.

    Fields of the setting count only where they differ from their neutral value (the default of :class:`Setting` and of
    its recipe), so that an option added later, left off, changes no key. Names, and what is done with the weights
    afterwards (``mirror``), don't count.
    """
    parts = {
        "procedure": trainer.PROCEDURE,
        "setting": _differing(setting, Setting()),
        "data": dataset.checksum,
        "split": split.checksum(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _differing(one: Any, neutral: Any) -> dict[str, Any]:
    """Return the fields of a setting or a recipe that decide weights and are not neutral, numbers by their type."""
    found = {}
    for known in fields(one):
        value, other = getattr(one, known.name), getattr(neutral, known.name)
        if is_dataclass(value):
            found |= _differing(value, other)
        elif value != other and known.name not in ("name", "mirror"):
            found[known.name] = float(value) if known.type == "float" else value
    return found


def build(setting: Setting, size: tuple[int, int]) -> nn.Module:
    """Build the network of a setting for images of a size (height, width) with its first weights, on the CPU."""
    recipe, first = setting.recipe, None
    if setting.model in BUILDERS:
        return BUILDERS[setting.model](setting, size)
    if setting.pretrained:
        first = models.imagenet_weights(setting.model, setting.width, recipe.batch_norm)
        if first is None:
            raise FercoreError(
                f"The ImageNet weights of {setting.model}, there a moment ago, cannot be had: run again, or say "
                "pretrained=False."
            )
    about = (setting.model, setting.fusion, setting.width, size)
    return models.build(*about, recipe.seed, recipe.batch_norm, first, recipe.dropout)


def trained(
    setting: Setting,
    dataset: FaceDataset,
    split: Split,
    device: str = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
    teacher: Trained | Callable[[], Trained] | None = None,
    **options: Any,
) -> Trained:
    """Return the network of a setting: from its weights file if it is still the same, else trained (or resumed).

    Weights lie in ``runs/weights/<dataset>/<name>.safetensors``, the checkpoints of training in
    ``runs/<dataset>/<name>-<key>/``. Neither is committed. The network that comes with the package is found too. The
    teacher, or what returns it, is asked for only if there is to be training; ``options`` are ``compiled``,
    ``captured`` and ``every`` of :func:`fercore.training.trainer.fit`. A damaged checkpoint is an error.
    """
    root = project_root() if folder is None else Path(folder)
    key, name, chosen = training_key(setting, dataset, split), setting.name(split), choose_device(device)
    weights = root / "runs" / "weights" / dataset.name / f"{name}.safetensors"
    if find([SHIPPED], key):
        weights = SHIPPED
    model = build(setting, dataset.images.shape[1:3]).to(chosen)

    def train() -> Kept:
        _tell_of_others(weights)
        given = teacher() if callable(teacher) else teacher
        if setting.teacher != ("" if given is None else given.key):
            raise ValueError(
                f"The setting names the teacher {setting.teacher[:12] or 'none'}; another one was given."
            )
        options["teacher"] = None if given is None else given.model
        run = root / "runs" / dataset.name / f"{name}-{key[:12]}"
        parts = (dataset.subset(rows) for rows in (split.train, split.validation))
        history = trainer.fit(model, *parts, setting.recipe, run, key, progress, **options)
        half = {n: t.half() if t.is_floating_point() else t for n, t in model.state_dict().items()}
        speed = ceiling(chosen, setting.recipe.precision)
        return half, {"key": key, "history": history, "hardware": hardware(chosen), "ceiling": speed}

    tensors, about = kept(weights, key, train, strict=True)
    checkpoints.restore(weights, model, tensors)
    return Trained(model.eval(), about["history"], key, weights, about["hardware"], about["ceiling"])


def outcome(
    setting: Setting,
    dataset: FaceDataset,
    split: Split,
    device: str = "auto",
    folder: str | Path | None = None,
    **options: Any,
) -> Outcome:
    """Return what the network of a setting answers: from its outcome file if it is still the same, else trained.

    Outcomes are looked for in ``results/outcomes/<dataset>/<name>.safetensors`` (published) and under
    ``runs/results/``. New ones go to :func:`ferlab.provenance.output_folder`. So the pages of a network that took
    hours need no weights. The ``options`` are those of :func:`trained`; damage is an error here, too.
    """
    root = project_root() if folder is None else Path(folder)
    key = training_key(setting, dataset, split)
    place = Path("outcomes", dataset.name, f"{setting.name(split)}.safetensors")
    places = [root / "results" / place, root / "runs" / "results" / place]

    def answer() -> Kept:
        _tell_of_others(*places)
        network = trained(setting, dataset, split, device, root, **options)
        answers, rules = {}, evaluation.rules(dataset.images.shape[1:3], setting.recipe.crop)
        if setting.model in BUILDERS:  # may take images of one size only
            rules.pop("ten-crop", None)
        for name, part in (("validation", split.validation), ("test", split.test)):
            for rule, views in rules.items():
                with matrix_products("float32"):  # the same answers on every device
                    logits = evaluation.predict(network.model, dataset.images[part], **views)
                answers[f"{name} {rule}".strip()] = logits.half()
        return answers, {n: getattr(network, n) for n in ("key", "history", "hardware", "ceiling")}

    tensors, about = kept(provenance.output_folder(root) / place, key, answer, places, strict=True)
    logits = {name: tensor.float() for name, tensor in tensors.items()}
    return Outcome(logits, setting.recipe.mirror, **about)


def _tell_of_others(*places: Path) -> None:
    """Say that files of the same name are not what was asked for."""
    for path in filter(Path.exists, places):
        print(f"{path.name} belongs to other settings, data or code: not used.")
