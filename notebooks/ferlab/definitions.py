"""What a notebook can reach: functions, classes and constants, told apart by what they say, not by where they stand.

Read from the source, without importing anything. A definition that moves to another module, or whose comments,
docstrings, imports or line breaks change, stays the same; so a move makes no run stale. Training has a version of its
own (``PROCEDURE``) that stands for everything behind ``fit``. What names, keeps and prints results does not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fercore
import ferlab

ROOTS = {  # of the packages whose definitions count
    "fercore": Path(fercore.__file__).resolve().parent,
    "ferlab": Path(ferlab.__file__).resolve().parent,
}
BEHIND_A_VERSION = {"fit": "PROCEDURE"}  # a definition that stands for its module's version
BOOKKEEPING = ("ferlab.definitions", "ferlab.kept", "ferlab.provenance", "ferlab.runs.")  # change no number
STATEMENTS = "(statements)"  # what a module does when it is imported
Place = tuple[str, str]  # module, and name in it; no name for the module itself


@dataclass(eq=False)
class Module:
    """A source file: its dotted name ("" for a notebook), local name -> what it imports, name -> what defines it."""

    path: Path
    name: str
    imports: dict[str, Place]
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)


def of_notebook(path: Path) -> dict[str, str]:
    """Return what a text notebook can reach, name -> digest; definitions of the same name share one.

    The notebook itself is ``"notebook"``: its prose, and its code without the lines that import.
    """
    return dict(_of_notebook(path, path.read_bytes()))


def sources() -> str:
    """Return one checksum of all files that count: as long as it is the same, no notebook reaches anything else."""
    files = [path for root in ROOTS.values() for path in sorted(root.rglob("*")) if path.is_file()]
    counted = [path for path in files if path.suffix == ".py" or path.parent.name == "data"]
    return _short("".join(f"{path} {_short(path.read_bytes())}" for path in counted))


def digest(path: Path) -> str:
    """Return one checksum of all that a text notebook can reach."""
    return _short(repr(of_notebook(path)))


def code(*things: Any) -> str:
    """Return a checksum of functions and classes and of all that they reach, for the key of what they computed."""
    homes = (_home(thing.__module__, thing.__qualname__) for thing in things if _path(thing.__module__))
    found = _all(place for place in homes if place)
    return _short(repr(sorted((place[1], _said(place)[0]) for place in found)))


def modules(path: Path) -> list[Path]:
    """Return the files of the modules that a text notebook reaches, sorted."""
    return sorted({_module(module).path for module, _ in _reached(_read(path))[1]})


def changed(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what differs between two results of :func:`of_notebook`, a sentence each."""
    gone = [f"{name} is gone" for name in recorded if name not in now]
    other = [f"{name} has changed" for name in recorded if name in now and now[name] != recorded[name]]
    return other + gone + [f"{name} is new" for name in now if name not in recorded]


@functools.lru_cache(maxsize=64)
def _of_notebook(path: Path, _: bytes) -> dict[str, str]:
    digests: dict[str, list[str]] = {}
    code, reached = _reached(_read(path))
    for place in sorted(reached, key=lambda place: place[1]):
        digests.setdefault(place[1], []).append(_said(place)[0])
    prose = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    own = "\n".join(prose) + code
    folders = {_module(module).path.parent / "data" for module, _ in reached}
    data = sorted(
        file for folder in folders for file in folder.glob("*") if file.suffix not in ("", ".md", ".py")
    )
    return {
        "notebook": _short(own),
        **{name: _short("".join(sorted(parts))) for name, parts in digests.items()},
        **{file.name: _file(file) for file in data},
    }


def _reached(notebook: Module) -> tuple[str, set[Place]]:
    """Return what a notebook's code says, and every definition that it reaches."""
    places: set[Place] = set()
    code = repr([_shape(node, notebook, places) for node in _code(notebook)])
    return code, _all(places)


def _all(places: Iterable[Place]) -> set[Place]:
    """Return definitions and everything that they reach."""
    todo, found = set(places), set()
    while todo := {place for place in todo if not place[0].startswith(BOOKKEEPING)}:
        found |= todo
        todo = set().union(*(_said(place)[1] for place in todo)) - found
    return found


@functools.cache
def _said(place: Place) -> tuple[str, set[Place]]:
    """Return a checksum of what a definition says, and the definitions that it names."""
    module, places = _module(place[0]), set()
    said = _short(repr([_shape(node, module, places) for node in module.definitions[place[1]]]))
    return said, places | ({(place[0], STATEMENTS)} if STATEMENTS in module.definitions else set())


@functools.cache
def _file(path: Path) -> str:
    return _short(path.read_bytes())


def _short(content: str | bytes) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:8]


@functools.cache
def _module(name: str) -> Module:
    return _read(_path(name), name)


@functools.cache
def _path(name: str) -> Path | None:
    """Return the file of a module of ours."""
    package, *parts = name.split(".")
    if package not in ROOTS:
        return None
    stem = ROOTS[package].joinpath(*parts)
    return next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)


def _read(path: Path, name: str = "") -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = Module(path, name, dict(_imports(tree)))
    for node in tree.body:
        if _is_silent(node) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        for defined in (names or [STATEMENTS]) if "__all__" not in names else []:
            module.definitions.setdefault(defined, []).append(node)
    return module


def _imports(tree: ast.Module) -> Iterator[tuple[str, Place]]:
    """Yield what is imported from us under which local name, inside functions too."""
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
            local = alias.asname or alias.name
            if isinstance(node, ast.Import):
                local = local if alias.asname else local.split(".")[0]
                place = (alias.name if alias.asname else local, "")
            else:
                whole = f"{node.module}.{alias.name}"
                place = (whole, "") if _path(whole) else (node.module or "", alias.name)
            if _path(place[0]):
                yield local, place


def _code(notebook: Module) -> list[ast.stmt]:
    """Return a notebook's statements in their order, without its imports."""
    nodes = {id(node): node for nodes in notebook.definitions.values() for node in nodes}
    return sorted(nodes.values(), key=lambda node: node.lineno)


def _is_silent(node: Any) -> bool:
    """Whether a node is an import or a mere text, such as a docstring."""
    text = isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)
    return text or isinstance(node, ast.Import | ast.ImportFrom)


def _resolved(node: ast.AST, module: Module) -> Place | None:
    """Return the definition or the module that a name or a dotted name stands for."""
    if isinstance(node, ast.Name):
        if node.id in module.definitions and module.name:
            return _home(module.name, node.id)
        return _home(*module.imports[node.id]) if node.id in module.imports else None
    if isinstance(node, ast.Attribute) and (inner := _resolved(node.value, module)) and not inner[1]:
        whole = f"{inner[0]}.{node.attr}"
        return (whole, "") if _path(whole) else _home(inner[0], node.attr)
    return None


@functools.cache
def _home(module: str, name: str) -> Place | None:
    """Return where a name is defined, through the modules that hand it on."""
    if not name:
        return module, ""
    found = _module(module)
    if BEHIND_A_VERSION.get(name) in found.definitions:
        name = BEHIND_A_VERSION[name]
    if name in found.definitions:
        return module, name
    if name in found.imports:
        return _home(*found.imports[name])
    homes = found.definitions.get("_HOMES")  # names that the package imports on first use
    table = ast.literal_eval(homes[0].value) if homes else {}
    return _home(table[name], name) if name in table else None


def _shape(node: Any, module: Module, places: set[Place]) -> Any:
    """Return what a piece of code says, as nested lists: names by what they stand for, no docstrings, no imports.

    The definitions that it names are added to ``places``.
    """
    if isinstance(node, list):
        return [_shape(one, module, places) for one in node if not _is_silent(one)]
    if not isinstance(node, ast.AST):
        return node
    place = _resolved(node, module) if isinstance(node, ast.Name | ast.Attribute) else None
    if place:
        places |= {place} if place[1] else set()
        return ["ref", place[1] or place[0].rsplit(".", 1)[-1]]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _path(node.value):
        named = _module(node.value).definitions  # it is imported later, by this name
        places |= {(node.value, name) for name in named if name != STATEMENTS}
    kept = [(name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind")]
    fields = [(name, _shape(value, module, places)) for name, value in kept]
    return [type(node).__name__, [(name, value) for name, value in fields if value not in (None, [])]]
