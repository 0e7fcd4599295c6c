"""The API pages: Sphinx understands them, every public name is there, and says what it takes, returns and raises."""

from __future__ import annotations

import ast
import importlib
import inspect
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
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = (
                inspect.getattr_static(found, part, None) if inspect.isclass(found) else getattr(found, part)
            )
        return found
    raise ModuleNotFoundError(name)


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
    return {name: one for name, one in built[0].items() if inspect.isfunction(one)}


@pytest.fixture(scope="module")
def classes(built: Any) -> dict[str, type]:
    return {name: one for name, one in built[0].items() if inspect.isclass(one)}


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


def summary(of: Any) -> str:
    return inspect.cleandoc(of.__doc__).split("\n\n")[0]


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
    ("name", "keys"),
    [
        ("METHODS", explainers.METHODS),
        ("CONTROLS", explainers.CONTROLS),
        ("DATASETS", datasets.DATASETS),
        ("MODELS", models.MODELS),
    ],
)
def test_keys_are_those_of_the_code(name: str, keys: Any) -> None:
    entry = re.search(rf"^\.\. py:data:: {name}\n(?:   .*\n|\n)+", TEXT, flags=re.MULTILINE)[0]
    assert re.findall(r"``(\w+)``", entry) == list(keys)


def test_the_names_at_the_top_are_in_the_table() -> None:
    table = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\{py:\w+\}`~fercore\.(\w+)`", table)) == set(fercore.__all__)


class TestDocstrings:
    """Each test goes through all entries and lists those that lack something."""

    def test_everything_has_one(self, called: Any, classes: Any) -> None:
        assert not [name for name, one in (called | classes).items() if not (one.__doc__ or "").strip()]

    def test_parameters(self, called: Any) -> None:
        """Where there are sections at all, or more than two parameters, every parameter is explained."""
        wrong = {}
        for name, function in of_fercore(called).items():
            explained = {key.removeprefix("param ") for key in fields(function) if key.startswith("param ")}
            given = set(parameters(function))
            if explained != given and (explained or len(given) > 2):
                wrong[name] = given ^ explained
        assert not wrong

    def test_what_comes_back(self, called: Any) -> None:
        """In a section, or in the summary."""
        verbs = re.compile(r"(Return|Yield|Compute|Number of|Whether|Where|Share|Does)")
        assert not [
            name
            for name, function in of_fercore(called).items()
            if inspect.signature(function).return_annotation not in (None, "None")
            and "returns" not in fields(function)
            and not verbs.match(summary(function))
        ]

    def test_errors(self, called: Any) -> None:
        """What a function raises itself is in its section of errors."""
        found = [(name, one, error) for name, one in of_fercore(called).items() for error in raised(one)]
        assert len(found) > 20
        assert not [(name, e) for name, one, e in found if e not in one.__doc__.partition("Raises:")[2]]

    def test_shapes(self, called: Any) -> None:
        """Every array that goes in or comes out has a shape, or is said to be like another."""
        wrong, arrays = [], 0
        for name, function in called.items():
            told = fields(function)
            given = {key: (about.annotation, function.__doc__) for key, about in parameters(function).items()}
            given["returns"] = (inspect.signature(function).return_annotation, summary(function))
            for key, (annotation, text) in given.items():
                part = key if key == "returns" else f"param {key}"
                if ARRAY.fullmatch(str(annotation)) or (part == key and "ndarray" in str(annotation)):
                    arrays += 1
                    wrong += [] if SHAPED.search(told.get(part, text)) else [f"{name}: {key}"]
        assert not wrong
        assert arrays > 100

    def test_arguments_of_classes(self, classes: Any) -> None:
        """Every one is explained, as an argument or as an attribute."""
        wrong = {}
        for name, kind in of_fercore(classes).items():
            told = fields(kind, "class") | fields(kind.__init__)
            explained = {re.sub(r"^(param|ivar) ", "", key) for key in told} | set(commented(kind))
            inherits = issubclass(kind, Exception | int) or "whose arguments it takes" in kind.__doc__
            if not inherits and not set(parameters(kind)) <= explained:
                wrong[name] = set(parameters(kind)) - explained
        assert not wrong

    def test_shapes_of_attributes(self, classes: Any) -> None:
        arrays = {
            f"{name}.{attribute}": commented(kind).get(attribute)
            or fields(kind, "class").get(f"ivar {attribute}", "")
            for name, kind in classes.items()
            for attribute, annotation in vars(kind).get("__annotations__", {}).items()
            if ARRAY.fullmatch(str(annotation)) and not attribute.startswith("_")
        }
        assert len(arrays) > 30
        assert not [name for name, text in arrays.items() if not SHAPED.search(text)]

    def test_these_tests_see_something(self, called: Any, classes: Any) -> None:
        assert [len(of_fercore(called)) > 50, len(of_fercore(classes)) > 20] == [True, True]
        assert [len(called) > 140, len(classes) > 45] == [True, True]


def commented(kind: type) -> dict[str, str]:
    """Return what the ``#:`` comments of a class say, by attribute."""
    found = ModuleAnalyzer.for_module(kind.__module__).find_attr_docs().items()
    return {attribute: " ".join(text) for (owner, attribute), text in found if owner == kind.__qualname__}


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
