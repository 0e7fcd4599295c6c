"""The jobs of the ``Snakefile``: their names, their command lines, and what each depends on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
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
    """A grid of runs: trainings, and experiments on the network ``maps_of``, one page a dataset, after its first fold.

    Where a dataset has no subjects, the protocol ``"subject"`` becomes its own. ``training`` and ``after_parameters``
    hold other parameters, by name.
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
        """Read Snakemake's configuration, and check all names before anything runs."""
        lists = ("datasets", "models", "protocols", "folds", "experiments")
        many = {name: _several(config.get(name)) for name in lists}
        if empty := [name for name in ("datasets", "protocols", "folds") if not many[name]]:
            raise ValueError(f"{empty[0]}: the grid needs at least one.")
        if wrong := [fold for fold in many["folds"] if not (fold.isascii() and fold.isdecimal())]:
            raise ValueError(f"folds: {wrong[0]!r} is not a whole number from 0.")
        folds = tuple(map(int, many.pop("folds")))
        one = {name: str(config[name]) for name in ("recipe", "maps_of") if name in config}
        more = {name: config[name] or {} for name in ("training", "after_parameters") if name in config}
        if wrong := [name for name, value in more.items() if not isinstance(value, Mapping)]:
            raise ValueError(f"{wrong[0]}: write one line NAME: VALUE for each parameter.")
        grid = cls(**many, **one, **more, folds=folds)
        for name in grid.datasets:
            datasets.title(name)
        for kind, given, known in (
            ("network", (*grid.models, grid.maps_of), networks.MODELS),
            ("protocol", grid.protocols, splits.PROTOCOLS),
            ("recipe", (grid.recipe,), recipes.RECIPES),
        ):
            if wrong := sorted(set(given) - set(known)):
                raise ValueError(f"There is no {kind} {wrong[0]!r}; choose {', '.join(known)}.")
        runner.check(_TRAINING, grid.datasets[0], grid._training(grid.maps_of, "paper", 0))
        for experiment in grid.experiments:
            runner.check(experiment, grid.datasets[0], grid._after(grid.datasets[0]))
        return grid

    def protocol(self, dataset: str, protocol: str) -> str:
        """Return the protocol that a dataset has in the place of another one."""
        return "official" if dataset == "fer2013" and protocol in ("subject", "loso") else protocol

    def folds_of(self, protocol: str) -> tuple[int, ...]:
        """Return the folds to run under a protocol: an official split has but one."""
        return (0,) if protocol.startswith("official") else self.folds

    def train_names(self) -> list[str]:
        """Return the names of all trainings, each once."""
        kinds = itertools.product(self.datasets, self.models, self.protocols)
        own = [(dataset, model, self.protocol(dataset, protocol)) for dataset, model, protocol in kinds]
        return list(dict.fromkeys(f"{'-'.join(one)}-{fold}" for one in own for fold in self.folds_of(one[2])))

    def after_names(self) -> list[str]:
        """Return the names of the runs that need a trained network."""
        return [f"{experiment}-{dataset}" for experiment in self.experiments for dataset in self.datasets]

    def trained_for(self, dataset: str) -> str:
        """Return the training that the experiments on a dataset wait for."""
        return "-".join(map(str, (dataset, *self._first(dataset))))

    def train(self, dataset: str, model: str, protocol: str, fold: int) -> str:
        """Return what follows ``ferlab run`` for a training, quoted for a shell."""
        return sources.arguments(_TRAINING, dataset, self._training(model, protocol, fold))

    def after(self, experiment: str, dataset: str) -> str:
        """Return what follows ``ferlab run`` for an experiment on a trained network."""
        return sources.arguments(experiment, dataset, self._after(dataset))

    def _first(self, dataset: str) -> tuple[str, str, int]:
        """Return network, protocol and fold of the training that the experiments wait for."""
        protocol = self.protocol(dataset, self.protocols[-1])
        return self.maps_of, protocol, self.folds_of(protocol)[0]

    def _training(self, model: str, protocol: str, fold: int) -> dict[str, Any]:
        return {**self.training, "model": model, "recipe": self.recipe, "protocol": protocol, "fold": fold}

    def _after(self, dataset: str) -> dict[str, Any]:
        return {**self._training(*self._first(dataset)), **self.after_parameters}


def _several(given: Any) -> tuple[str, ...]:
    """Return names or numbers as text; a single one, as ``--config folds=3`` gives it, stands for a list of one."""
    if given is None:
        return ()
    return tuple(map(str, given)) if isinstance(given, list | tuple) else (str(given),)
