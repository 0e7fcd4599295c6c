"""The jobs of the ``Snakefile``: their names, their command lines, and what each depends on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fercore import datasets
from fercore import models as networks
from fercore.datasets import splits
from fercore.training import recipes
from ferlab.runs import runner, sources

_TRAINING = "accuracy"


@dataclass(frozen=True)
class Grid:
    """A grid of runs.

    Attributes:
        datasets: Names of datasets.
        models: Names of networks.
        protocols: Names of protocols. Where a dataset has no subjects, ``"subject"`` becomes its own default.
        folds: Folds, from 0.
        recipe: Name of the recipe.
        training: Other parameters of every training, by name.
        experiments: Experiments on the network of ``maps_of``, one page per dataset, after its first fold.
        maps_of: That network.
        after_parameters: Other parameters of those experiments.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    protocols: tuple[str, ...]
    folds: tuple[int, ...]
    recipe: str = "paper"
    training: Mapping[str, Any] = field(default_factory=dict)
    experiments: tuple[str, ...] = ()
    maps_of: str = "proposed"
    after_parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Grid:
        """Read Snakemake's configuration, and check all names before anything runs.

        Raises:
            UnknownNameError: If there is no such dataset, experiment or parameter.
            ValueError: If there is no such network, recipe or protocol, or something makes no sense; says what.
        """
        many = {
            name: _several(config.get(name))
            for name in ("datasets", "models", "protocols", "folds", "experiments")
        }
        if empty := [name for name in ("datasets", "protocols", "folds") if not many[name]]:
            raise ValueError(f"{empty[0]}: the grid needs at least one.")
        if wrong := [fold for fold in many["folds"] if not (fold.isascii() and fold.isdecimal())]:
            raise ValueError(f"folds: {wrong[0]!r} is not a whole number from 0.")
        folds = tuple(int(fold) for fold in many.pop("folds"))
        one = {name: str(config[name]) for name in ("recipe", "maps_of") if name in config}
        more = {name: config[name] or {} for name in ("training", "after_parameters") if name in config}
        if wrong := [name for name, value in more.items() if not isinstance(value, Mapping)]:
            raise ValueError(f"{wrong[0]}: write one line NAME: VALUE for each parameter.")
        grid = cls(**many, **one, **more, folds=folds)
        for name in grid.datasets:
            datasets.title(name)
        _known("network", (*grid.models, grid.maps_of), networks.MODELS)
        _known("protocol", grid.protocols, splits.PROTOCOLS)
        _known("recipe", (grid.recipe,), recipes.RECIPES)
        for name in grid.datasets[:1]:
            runner.check(_TRAINING, name, grid._training(name, grid.maps_of, "paper", 0))
            for experiment in grid.experiments:
                runner.check(experiment, name, grid._after(name))
        return grid

    def protocol(self, dataset: str, protocol: str) -> str:
        """Return the protocol that a dataset has in the place of another one."""
        return "official" if dataset == "fer2013" and protocol in ("subject", "loso") else protocol

    def folds_of(self, protocol: str) -> tuple[int, ...]:
        """Return the folds to run under a protocol: an official split has but one."""
        return (0,) if protocol.startswith("official") else self.folds

    def train_names(self) -> list[str]:
        """Return the names of all trainings, each once."""
        found = dict.fromkeys(
            f"{dataset}-{model}-{self.protocol(dataset, protocol)}-{fold}"
            for dataset in self.datasets
            for model in self.models
            for protocol in self.protocols
            for fold in self.folds_of(self.protocol(dataset, protocol))
        )
        return list(found)

    def after_names(self) -> list[str]:
        """Return the names of the runs that need a trained network."""
        return [f"{experiment}-{dataset}" for experiment in self.experiments for dataset in self.datasets]

    def trained_for(self, dataset: str) -> str:
        """Return the training that the experiments on a dataset wait for."""
        protocol = self.protocol(dataset, self.protocols[-1])
        return f"{dataset}-{self.maps_of}-{protocol}-{self.folds_of(protocol)[0]}"

    def train(self, dataset: str, model: str, protocol: str, fold: int) -> str:
        """Return what follows ``ferlab run`` for a training, quoted for a shell."""
        return sources.arguments(_TRAINING, dataset, self._training(dataset, model, protocol, fold))

    def after(self, experiment: str, dataset: str) -> str:
        """Return what follows ``ferlab run`` for an experiment on a trained network."""
        return sources.arguments(experiment, dataset, self._after(dataset))

    def _training(self, dataset: str, model: str, protocol: str, fold: int) -> dict[str, Any]:
        own = {"model": model, "recipe": self.recipe, "protocol": protocol, "fold": fold}
        return {**self.training, **own}

    def _after(self, dataset: str) -> dict[str, Any]:
        protocol = self.protocol(dataset, self.protocols[-1])
        own = self._training(dataset, self.maps_of, protocol, self.folds_of(protocol)[0])
        return {**own, **self.after_parameters}


def _several(given: Any) -> tuple[str, ...]:
    """Return names or numbers as text; a single one, as ``--config folds=3`` gives it, stands for a list of one."""
    if given is None:
        return ()
    return tuple(map(str, given)) if isinstance(given, list | tuple) else (str(given),)


def _known(kind: str, given: Iterable[str], known: Collection[str]) -> None:
    if wrong := sorted(set(given) - set(known)):
        raise ValueError(f"There is no {kind} {wrong[0]!r}; choose {', '.join(known)}.")
