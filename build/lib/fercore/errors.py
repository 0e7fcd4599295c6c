"""The errors that ``fercore`` raises on purpose: what is wrong, where, and what to do about it."""

from __future__ import annotations


class FercoreError(Exception):
    """Base class, so that a script can catch everything that is the user's to mend."""


class DatasetNotFoundError(FercoreError, FileNotFoundError):
    """A dataset is not where the loader looks; the message says where to get it and where to put it."""


class DatasetError(FercoreError, ValueError):
    """A file of a dataset is damaged or not what it claims to be; the message names file and line."""


class UnknownNameError(FercoreError, KeyError):
    """A dataset, model or protocol name that does not exist; the message lists those that do."""

    def __str__(self) -> str:
        """Show the message itself: ``KeyError`` would show its ``repr``."""
        return str(self.args[0]) if self.args else ""


class ModelOutputError(FercoreError, ArithmeticError):
    """The model returned NaN or infinity, or scores of the wrong shape."""


class CheckpointError(FercoreError, ValueError):
    """A checkpoint is damaged, or belongs to another network or another training run."""
