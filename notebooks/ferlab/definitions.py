"""What a notebook can reach: functions, classes and constants, told apart by what they say, not by where they stand.

Read from the source, without importing anything. A definition that moves to another module, or whose comments,
docstrings, imports or line breaks change, stays the same; so a move makes no run stale. Training has a version of its
own (``PROCEDURE``) that stands for everything behind ``fit``.
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
STATEMENTS = "(statements)"  # what a module does when it is imported
Place = tuple[str, str]  # module and name


@dataclass(eq=False)
class Module:
    """What a source file defines, imports and does.

    Attributes:
        path: The file.
        imports: Local name -> (module, name in it), or (module, "") for a module.
        definitions: Name -> the nodes that define it.
        statements: Other top-level nodes.
    """

    path: Path
    imports: dict[str, Place] = field(default_factory=dict)
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    statements: list[ast.stmt] = field(default_factory=list)


def of_notebook(path: Path) -> dict[str, str]:
    """Return what a text notebook can reach, name -> digest; definitions of the same name share one.

    The notebook itself is ``"notebook"``: its prose, and its code without the lines that import.
    """
    return dict(_of_notebook(path, path.read_bytes()))


def digest(path: Path) -> str:
    """Return one checksum of all that a text notebook can reach."""
    return _short(repr(of_notebook(path)))


def code(*things: Any) -> str:
    """Return a checksum of functions and classes and of all that they reach, for the key of what they computed."""
    homes = (_home(thing.__module__, thing.__qualname__) for thing in things if _path(thing.__module__))
    found = _all(place for place in homes if place)
    return _short(repr(sorted((name, _digest_of(module, name)) for module, name in found)))


def modules(path: Path) -> list[Path]:
    """Return the files of the modules that a text notebook reaches, sorted."""
    return sorted({_module(module).path for module, _ in _reached(_read(path))})


@functools.lru_cache(maxsize=64)
def _of_notebook(path: Path, _: bytes) -> dict[str, str]:
    notebook, found = _read(path), {}
    for module, name in sorted(_reached(notebook)):
        found.setdefault(name, []).append(_digest_of(module, name))
    digests = {name: _short("".join(sorted(parts))) for name, parts in found.items()}
    prose = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    own = "\n".join(prose) + repr([_shape(node, notebook) for node in _code(notebook)])
    folders = {_module(module).path.parent for module, _ in _reached(notebook)}
    data = {
        file for folder in folders for file in (folder / "data").glob("*") if file.suffix not in ("", ".md")
    }
    files = {file.name: _file(file) for file in sorted(data)}
    return {"notebook": _short(own)} | dict(sorted(digests.items())) | files


def changed(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what differs between two results of :func:`of_notebook`, a sentence each."""
    gone = [f"{name} is gone" for name in recorded if name not in now]
    other = [f"{name} has changed" for name in recorded if name in now and now[name] != recorded[name]]
    return other + gone + [f"{name} is new" for name in now if name not in recorded]


def _reached(notebook: Module) -> set[Place]:
    """Return every definition that a notebook's code reaches."""
    return _all(place for node in _code(notebook) for place in _references(node, notebook))


def _all(places: Iterable[Place]) -> set[Place]:
    """Return definitions and everything that they reach."""
    todo, found = set(places), set()
    while todo:
        place = todo.pop()
        if place not in found:
            found.add(place)
            todo |= _next(place)
    return found


@functools.cache
def _next(place: Place) -> frozenset[Place]:
    module = _module(place[0])
    nodes = module.statements if place[1] == STATEMENTS else module.definitions[place[1]]
    found = {other for node in nodes for other in _references(node, module)}
    return frozenset(found | ({(place[0], STATEMENTS)} if module.statements else set()))


@functools.cache
def _digest_of(module: str, name: str) -> str:
    found = _module(module)
    nodes = found.statements if name == STATEMENTS else found.definitions[name]
    return _short(repr([_shape(node, found) for node in nodes]))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def _file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


# Reading source


@functools.cache
def _module(name: str) -> Module:
    return _read(_path(name))


def _path(name: str) -> Path | None:
    """Return the file of a module of ours."""
    package, *parts = name.split(".")
    if package not in ROOTS:
        return None
    stem = ROOTS[package].joinpath(*parts)
    return next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)


def _read(path: Path) -> Module:
    module = Module(path)
    for node in _flat(ast.parse(path.read_text(encoding="utf-8")).body):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        if names and "__all__" not in names:
            for name in names:
                module.definitions.setdefault(name, []).append(node)
        elif not names and not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node):
            module.statements.append(node)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):  # imports inside functions too
        if isinstance(node, ast.Import | ast.ImportFrom):
            module.imports |= _imported(node)
    return module


def _flat(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield top-level statements; of ``if TYPE_CHECKING`` nothing."""
    for node in nodes:
        if not (
            isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        ):
            yield node


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, Place]:
    found = {}
    for alias in node.names:
        local = alias.asname or alias.name
        if isinstance(node, ast.Import):
            found[local.split(".")[0] if not alias.asname else local] = (
                alias.name if alias.asname else alias.name.split(".")[0],
                "",
            )
        elif node.module and node.level == 0:
            whole = f"{node.module}.{alias.name}"
            found[local] = (whole, "") if _path(whole) else (node.module, alias.name)
    return {name: place for name, place in found.items() if _path(place[0])}


def _code(notebook: Module) -> list[ast.stmt]:
    """Return a notebook's statements in a fixed order, without its imports."""
    nodes = [node for nodes in notebook.definitions.values() for node in nodes] + notebook.statements
    return sorted({id(node): node for node in nodes}.values(), key=lambda node: node.lineno)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


# References


def _references(node: ast.AST, module: Module) -> set[Place]:
    """Return the definitions that a piece of code names."""
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name | ast.Attribute):
            found |= {place for place in [_resolved(one, module)] if place and place[1]}
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and _path(one.value):
            found |= {
                (one.value, name) for name in _module(one.value).definitions
            }  # named as text, imported later
    return found


def _resolved(node: ast.AST, module: Module) -> Place | None:
    """Return the definition (or the module, with "" for a name) that a name or a dotted name stands for."""
    if isinstance(node, ast.Name):
        if node.id in module.definitions and _name_of(module):
            return _home(_name_of(module), node.id)
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
    if name in BEHIND_A_VERSION and BEHIND_A_VERSION[name] in found.definitions:
        name = BEHIND_A_VERSION[name]
    if name in found.definitions:
        return module, name
    if name in found.imports:
        return _home(*found.imports[name])
    homes = found.definitions.get("_HOMES")  # names that the package imports on first use
    table = ast.literal_eval(homes[0].value) if homes else {}
    return _home(table[name], name) if name in table else None


def _name_of(module: Module) -> str:
    """Return a module's dotted name, "" for a notebook."""
    for package, root in ROOTS.items():
        if module.path.is_relative_to(root):
            parts = module.path.relative_to(root).with_suffix("").parts
            return ".".join([package, *(part for part in parts if part != "__init__")])
    return ""


def _shape(node: Any, module: Module) -> Any:
    """Return what a piece of code says, as nested lists: names by what they stand for, no docstrings, no imports."""
    if isinstance(node, list):
        return [_shape(one, module) for one in node if not _is_silent(one)]
    if not isinstance(node, ast.AST):
        return node
    place = _resolved(node, module) if isinstance(node, ast.Name | ast.Attribute) else None
    if place:
        return ["ref", place[1] or place[0].rsplit(".", 1)[-1]]
    fields = [
        (name, _shape(value, module)) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind")
    ]
    return [type(node).__name__, [(name, value) for name, value in fields if value not in (None, [])]]


def _is_silent(node: Any) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node)
