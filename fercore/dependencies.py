"""Which modules of the package a notebook can reach through its imports, and a checksum of their code.

Read from the source, without importing anything: so it is known before a notebook has ever been run, and it is the same
on every machine. Imports inside functions count too, and modules that a table names as text, as that of the datasets
does; a module more than a run really needs does no harm, for whether a page is fresh is decided by what the run did
import (:func:`fercore.provenance.used_files`).
"""

from __future__ import annotations

import ast
import functools
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import fercore
from fercore import provenance

_PACKAGE = "fercore"
_ROOT = Path(__file__).resolve().parent


@functools.cache
def digest(experiment: str) -> str:
    """Return a checksum of a notebook and of the code it depends on, blind to the package's comments and docstrings.

    Args:
        experiment: Name of the notebook.
    """
    notebook = provenance.project_root() / "notebooks" / f"{experiment}.py"
    content = sha256(notebook.read_bytes())
    for path in reached(notebook):
        content.update(f"{path.relative_to(_ROOT).as_posix()} {_file_digest(path)}\n".encode())
    return content.hexdigest()


@functools.cache
def _file_digest(path: Path) -> str:
    return provenance.file_digest(path)


def reached(source: Path) -> list[Path]:
    """Return the files of the package that a source file reaches, with the data beside its modules, sorted."""
    todo, found = _imported(source), set()
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo |= _imported(module) - found
    data = {file for module in found for file in (module.parent / "data").glob("*.*") if file.is_file()}
    return sorted(found | data)


@functools.cache
def _imported_by(source: Path) -> frozenset[Path]:
    found: set[Path] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= _files(node.module)
            for alias in node.names:
                found |= _files(f"{node.module}.{alias.name}")
                if node.module == _PACKAGE and alias.name in fercore._HOMES:  # imported when first used
                    found |= _files(fercore._HOMES[alias.name])
        elif isinstance(node, ast.Constant) and source != _ROOT / "__init__.py" and _names_module(node.value):
            found |= _files(node.value)
    return frozenset(found)


def _names_module(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"{_PACKAGE}(\.\w+)+", value) is not None


def _imported(source: Path) -> set[Path]:
    return set(_imported_by(source))


def _files(name: str) -> set[Path]:
    """Return the module of this name and the packages that hold it; empty for a name that is no module of ours."""
    parts = name.split(".")
    if parts[0] != _PACKAGE:
        return set()
    found, folder = {_ROOT / "__init__.py"}, _ROOT
    for part in parts[1:]:
        if (folder / part / "__init__.py").is_file():
            folder = folder / part
            found.add(folder / "__init__.py")
        elif (folder / f"{part}.py").is_file():
            return found | {folder / f"{part}.py"}
        else:  # a function or a class
            break
    return found
