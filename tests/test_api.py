"""The API pages: Sphinx understands them, every public name is there, and says what it takes, returns and raises."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import shutil
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, build_book
from ferlab import explainers, faces, landmarks, temo
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import fercore
from fercore import datasets, models, shapley

PAGES = sorted((ROOT / "book").glob("api*.md"))
TEXT = "".join(path.read_text(encoding="utf-8") for path in PAGES)
NAPOLEON = Config(napoleon_numpy_docstring=False, napoleon_use_ivar=True)
ARRAY = re.compile(r"(?:np\.ndarray|(?:torch\.)?Tensor)(?: \| (?:None|np\.ndarray|(?:torch\.)?Tensor))*")
# A shape, or a word that stands for one: another entry's, a number of things, or one per something.
SHAPED = re.compile(r"\([^()]*[\w.…][^()]*\)|\b(as (in|for|given)|same|like|one|everything)\b", re.IGNORECASE)


def find(name: str) -> Any:
    """Import what a dotted name stands for; None for a field, which only instances have."""
    try:
        return pkgutil.resolve_name(name)
    except AttributeError:
        return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What the pages document, by dotted name, and what Sphinx warns of; one more page asks for odd names."""
    folder = tmp_path_factory.mktemp("api")
    for path in PAGES:
        shutil.copy(path, folder)
    odd = "{py:obj}`trainer.fit` {py:obj}`EXPECTED` {py:obj}`fit` {py:obj}`no`"
    (folder / "index.md").write_text(f"# All\n\n{odd}\n\n```{{toctree}}\n:glob:\n*\n```\n")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    options = {name: config[name] for name in config if re.match("auto|napoleon|nitpick|python", name)}
    options["extensions"] = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "api_names"]
    options["suppress_warnings"] = ["ref.ref"]  # to other pages of the book
    app, said = build_book(folder, "dummy", nitpicky=True, **options)
    objects = app.env.get_domain("py").objects
    return {name: find(name) for name, entry in objects.items() if not entry.aliased}, said


@pytest.fixture(scope="module")
def called(built: Any) -> dict[str, Any]:
    found = {name: one for name, one in built[0].items() if inspect.isfunction(one)}
    assert (len(found) > 140, len(of_fercore(found)) > 50) == (True, True)
    return found


@pytest.fixture(scope="module")
def classes(built: Any) -> dict[str, type]:
    found = {name: one for name, one in built[0].items() if inspect.isclass(one)}
    assert (len(found) > 45, len(of_fercore(found)) > 20) == (True, True)
    return found


def of_fercore(found: dict[str, Any]) -> dict[str, Any]:
    """Those names whose docstrings have sections; elsewhere a few lines do."""
    return {name: one for name, one in found.items() if name.startswith("fercore.")}


def fields(of: Any, what: str = "function") -> dict[str, str]:
    """Return what Sphinx makes of a docstring: descriptions by field, ``"param x"`` or ``"returns"``."""
    lines = GoogleDocstring(inspect.cleandoc(of.__doc__ or ""), NAPOLEON, what=what).lines()
    text = "\n".join(lines).replace("\\*", "*")
    return dict(re.findall(r"^:(\w+(?: [*\w]+)?): ?(.*(?:\n(?:  .*)?(?!:))*)", text, flags=re.MULTILINE))


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters that a caller gives."""
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    given = inspect.signature(function).parameters.values()
    return {marks.get(p.kind, "") + p.name: p for p in given if p.name not in ("self", "cls")}


def raised(function: Any) -> Iterator[str]:
    """Yield the names of the exceptions that leave a function's own body; what it catches again does not count."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tried = [part for node in ast.walk(tree) if isinstance(node, ast.Try) for part in node.body]
    caught = {id(node) for part in tried for node in ast.walk(part)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and id(node) not in caught:
            name = ast.unparse(node.exc.func)
            if name[0].isupper():
                yield name


def commented(kind: type) -> dict[str, str]:
    """Return what the ``#:`` comments of a class say, by attribute."""
    found = ModuleAnalyzer.for_module(kind.__module__).find_attr_docs().items()
    return {attribute: " ".join(text) for (owner, attribute), text in found if owner == kind.__qualname__}


def test_sphinx_understands_the_pages_and_warns_of_what_is_unknown_or_ambiguous(built: Any) -> None:
    """Short names are found, types are types, and nothing is described twice."""
    assert re.findall(r"reference target not found: (.+)", built[1]) == ["fit", "no"]
    assert len(built[1].splitlines()) == 2
    described = [id(one) for one in built[0].values() if inspect.isfunction(one) or inspect.isclass(one)]
    assert len(described) == len(set(described))


@pytest.mark.parametrize("module", [fercore, datasets, shapley, explainers, faces, landmarks, temo])
def test_every_public_name_is_documented(built: Any, module: types.ModuleType) -> None:
    known, home = {id(entry) for entry in built[0].values()}, module.__name__
    names = [name for name in module.__all__ if id(getattr(module, name)) not in known]
    assert not [name for name in names if f"{home}.{name}" not in built[0]]


@pytest.mark.parametrize(
    ("home", "name"),
    [(explainers, "METHODS"), (explainers, "CONTROLS"), (datasets, "DATASETS"), (models, "MODELS")],
)
def test_keys_are_those_of_the_code(home: types.ModuleType, name: str) -> None:
    entry = re.search(rf"^\.\. py:data:: {name}\n(?:   .*\n|\n)+", TEXT, flags=re.MULTILINE)[0]
    assert re.findall(r"``(\w+)``", entry) == list(getattr(home, name))


def test_the_names_at_the_top_are_in_the_table() -> None:
    table = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\{py:\w+\}`~fercore\.(\w+)`", table)) == set(fercore.__all__)


# Each of these goes through all entries and lists those that lack something.


def test_parameters_are_explained(called: Any) -> None:
    """All or none, and all where there are more than two."""
    wrong = {}
    for name, function in of_fercore(called).items():
        explained = {key.removeprefix("param ") for key in fields(function) if key.startswith("param ")}
        given = set(parameters(function))
        if explained != given and (explained or len(given) > 2):
            wrong[name] = given ^ explained
    assert not wrong


def test_arguments_of_classes_are_explained(classes: Any) -> None:
    """As an argument or as an attribute."""
    wrong = {}
    for name, kind in of_fercore(classes).items():
        told = fields(kind, "class") | fields(kind.__init__)
        explained = {re.sub(r"^(param|ivar) ", "", key) for key in told} | set(commented(kind))
        inherits = issubclass(kind, Exception | int) or "whose arguments it takes" in kind.__doc__
        if not inherits and not set(parameters(kind)) <= explained:
            wrong[name] = set(parameters(kind)) - explained
    assert not wrong


def test_it_is_said_what_comes_back(called: Any) -> None:
    """In a section, or in the summary."""
    verbs = re.compile(r"\s*(Return|Yield|Compute|Number of|Whether|Where|Share|Does)")
    silent = {name: one for name, one in of_fercore(called).items() if not verbs.match(one.__doc__)}
    returned = {name: inspect.signature(one).return_annotation for name, one in silent.items()}
    assert not [
        name for name, kind in returned.items() if kind != "None" and "returns" not in fields(silent[name])
    ]


def test_errors_that_a_function_raises_itself_are_in_its_section_of_errors(called: Any) -> None:
    found = [(name, one, error) for name, one in of_fercore(called).items() for error in raised(one)]
    assert len(found) > 20
    assert not [(name, e) for name, one, e in found if e not in one.__doc__.partition("Raises:")[2]]


def test_every_array_has_a_shape_or_is_said_to_be_like_another(called: Any, classes: Any) -> None:
    arrays = {}
    for name, function in called.items():
        told, annotation = fields(function), str(inspect.signature(function).return_annotation)
        if ARRAY.fullmatch(annotation) or "ndarray" in annotation:
            arrays[name] = told.get("returns", function.__doc__.split("\n\n")[0])
        for key, about in parameters(function).items():
            if ARRAY.fullmatch(str(about.annotation)):
                arrays[f"{name}({key})"] = told.get(f"param {key}", function.__doc__)
    for name, kind in classes.items():
        for key, annotation in vars(kind).get("__annotations__", {}).items():
            if ARRAY.fullmatch(str(annotation)) and not key.startswith("_"):
                arrays[f"{name}.{key}"] = commented(kind).get(key) or fields(kind, "class").get(
                    f"ivar {key}", ""
                )
    assert len(arrays) > 130
    assert not [name for name, text in arrays.items() if not SHAPED.search(text)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_examples_import_what_is_there_and_call_it_as_it_can_be_called(path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    space: dict[str, Any] = {}
    exec("\n".join(line for line in block.splitlines() if line.startswith("from fer")), space)
    bound = 0
    for call in (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)):
        if any(isinstance(part, ast.Call) for part in ast.walk(call.func)):
            continue  # a method of what another call returns: finding it would mean calling that
        try:
            function = eval(ast.unparse(call.func), space)
        except (NameError, AttributeError):
            continue  # a method of what the example makes
        if function.__module__.startswith(("fercore", "ferlab")):
            inspect.signature(function).bind(*call.args, **{k.arg: None for k in call.keywords if k.arg})
            bound += 1
    assert bound
