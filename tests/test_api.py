"""The API pages: every public name is there, and its docstring says what it takes, returns and raises."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docutils import nodes
from ferlab import explainers, faces, landmarks, temo
from sphinx.addnodes import pending_xref
from sphinx.domains.python import ObjectEntry, PythonDomain
from sphinx.ext.napoleon import Config, GoogleDocstring

import fercore
from fercore import datasets, errors, models, shapley

BOOK = Path(__file__).resolve().parents[1] / "book"
PAGES = sorted(BOOK.glob("api*.md"))
DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(\w+):: (\S+)\n((?:   .*\n)*)", flags=re.MULTILINE)
NAPOLEON = Config(napoleon_numpy_docstring=False, napoleon_use_ivar=True)
ARRAY = re.compile(r"(?:np\.ndarray|(?:torch\.)?Tensor)(?: \| (?:None|np\.ndarray|(?:torch\.)?Tensor))*")
# A shape, or a word that stands for one: another entry's, a number of things, or one per something.
SHAPED = re.compile(
    r"\([^()]*[A-Za-z0-9.…][^()]*\)|\b(as (in|for|given)|same|like|one|everything)\b", re.IGNORECASE
)


def options(text: str) -> dict[str, str]:
    """Read a directive's options, one of which may run over several lines."""
    joined = re.sub(r"\n +(?=[^: ])", " ", text)
    return {key: value.strip() for key, value in re.findall(r"^ +:([\w-]+):(.*)", joined, flags=re.MULTILINE)}


def find(name: str) -> Any:
    """Import what a dotted name stands for."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def documented() -> dict[str, Any]:
    """Return every object of the pages, and the members that they list, by dotted name."""
    found = {}
    for path in PAGES:
        for kind, name, body in DIRECTIVE.findall(path.read_text(encoding="utf-8")):
            chosen = options(body)
            full = f"{chosen['module']}.{name}" if "module" in chosen else name
            if kind == "type":
                continue
            if kind != "module":
                found[full] = find(full)
            listed = [*chosen.get("members", "").split(","), *chosen.get("special-members", "").split(",")]
            for member in filter(None, map(str.strip, listed)):
                found[f"{full}.{member}"] = find(f"{full}.{member}")
            if chosen.get("members") == "":
                found |= {f"{full}.{n}": find(f"{full}.{n}") for n in own(find(full))}
    return found


def own(parent: Any) -> list[str]:
    """Return the public names with a docstring that a module or class defines itself."""
    home = parent.__name__ if inspect.ismodule(parent) else parent.__module__
    return [
        name
        for name, value in vars(parent).items()
        if not name.startswith("_")
        and isinstance(value, type | types.FunctionType | property)
        and getattr(value, "__module__", home) == home
        and value.__doc__
    ]


ALL = documented()
CALLED = {n: o for n, o in ALL.items() if inspect.isfunction(o)}
CLASSES = {n: o for n, o in ALL.items() if inspect.isclass(o)}
PROPERTIES = {n: o for n, o in ALL.items() if isinstance(o, property)}


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


class TestCompleteness:
    @pytest.mark.parametrize(
        "module", [fercore, datasets, shapley, explainers, faces, landmarks, temo], ids=lambda m: m.__name__
    )
    def test_every_public_name_is_documented(self, module: types.ModuleType) -> None:
        known = {id(entry) for entry in ALL.values()}
        missing = [
            n
            for n in module.__all__
            if f"{module.__name__}.{n}" not in ALL and id(getattr(module, n)) not in known
        ]
        assert not missing

    @pytest.mark.parametrize(
        ("name", "keys"),
        [
            ("METHODS", explainers.METHODS),
            ("CONTROLS", explainers.CONTROLS),
            ("DATASETS", datasets.DATASETS),
            ("MODELS", models.MODELS),
        ],
    )
    def test_keys_are_those_of_the_code(self, name: str, keys: Any) -> None:
        text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
        entry = re.search(rf"^\.\. py:data:: {name}\n(?:   .*\n|\n)+", text, flags=re.MULTILINE)[0]
        assert re.findall(r"``(\w+)``", entry) == list(keys)

    def test_the_names_at_the_top_are_in_the_table(self) -> None:
        table = (BOOK / "api.md").read_text(encoding="utf-8")
        assert set(re.findall(r"\{py:\w+\}`~fercore\.(\w+)`", table)) == set(fercore.__all__)

    def test_every_error_is_documented(self) -> None:
        assert {f"fercore.errors.{name}" for name in own(errors)} <= set(ALL)
        assert len(own(errors)) > 4

    def test_nothing_is_described_twice(self) -> None:
        text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
        names = [name for _, name, _ in DIRECTIVE.findall(text)]
        described = [id(o) for n, o in ALL.items() if inspect.isfunction(o) or inspect.isclass(o)]
        assert len(described) == len(set(described))
        assert len(names) > 100


class TestDocstrings:
    """Each test goes through all entries and lists those that lack something."""

    def test_parameters(self) -> None:
        """Where there are sections at all, or more than two parameters, every parameter is explained."""
        wrong = {}
        for name, function in CALLED.items():
            explained = {key.removeprefix("param ") for key in fields(function) if key.startswith("param ")}
            given = set(parameters(function))
            if explained != given and (explained or len(given) > 2):
                wrong[name] = given ^ explained
        assert not wrong

    def test_what_comes_back(self) -> None:
        """In a section, or in the summary."""
        verbs = re.compile(r"(Return|Yield|Compute|Number of|Whether|Where|Share|Does)")
        assert not [
            name
            for name, function in CALLED.items()
            if inspect.signature(function).return_annotation not in (None, "None")
            and "returns" not in fields(function)
            and not verbs.match(summary(function))
        ]

    def test_errors(self) -> None:
        """What a function raises itself is in its section of errors."""
        told = {name: function.__doc__.partition("Raises:")[2] for name, function in CALLED.items()}
        assert not {
            name: error
            for name, function in CALLED.items()
            for error in raised(function)
            if error not in told[name]
        }

    def test_shapes(self) -> None:
        """Every array that goes in or comes out has a shape, or is said to be like another."""
        wrong = []
        for name, function in CALLED.items():
            told = fields(function)
            for parameter, about in parameters(function).items():
                text = told.get(f"param {parameter}", function.__doc__)
                if ARRAY.fullmatch(str(about.annotation)) and not SHAPED.search(text):
                    wrong.append(f"{name}: {parameter}")
            returned = str(inspect.signature(function).return_annotation)
            text = told.get("returns", summary(function))
            if re.search(r"\b(ndarray|Tensor)\b", returned) and not SHAPED.search(text):
                wrong.append(f"{name}: what it returns")
        assert not wrong

    def test_classes(self) -> None:
        """Every argument of a class is explained, as an argument or as an attribute."""
        wrong = {}
        for name, kind in CLASSES.items():
            made = kind.__init__
            own_init = getattr(made, "__module__", "").startswith("fercore")
            told = fields(kind, "class") | (fields(made) if own_init else {})
            explained = {re.sub(r"^(param|ivar) ", "", key) for key in told}
            inherits = issubclass(kind, Exception | int) or "whose arguments it takes" in kind.__doc__
            if not inherits and not set(parameters(kind)) <= explained:
                wrong[name] = set(parameters(kind)) - explained
        assert not wrong

    def test_shapes_of_attributes(self) -> None:
        assert not [
            f"{name}.{attribute}"
            for name, kind in CLASSES.items()
            for attribute, annotation in vars(kind).get("__annotations__", {}).items()
            if ARRAY.fullmatch(str(annotation))
            and not SHAPED.search(fields(kind, "class").get(f"ivar {attribute}", ""))
        ]

    def test_no_sentence_is_taken_for_a_type(self) -> None:
        """Napoleon reads what stands before a colon as a type, in Returns and in a property's docstring."""
        called = {name for name, function in CALLED.items() if "rtype" in fields(function)}
        assert not called | {name for name, one in PROPERTIES.items() if "type" in fields(one, "attribute")}

    def test_these_tests_see_something(self) -> None:
        assert len(CALLED) > 100
        assert len(CLASSES) > 35
        assert len(PROPERTIES) > 8
        assert sum(1 for function in CALLED.values() for _ in raised(function)) > 20


class TestExamples:
    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
    def test_what_examples_import_is_there(self, path: Path) -> None:
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        assert len(blocks) == 1
        names = [
            f"{node.module}.{alias.name}"
            for node in ast.walk(ast.parse(blocks[0]))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        assert names
        assert all(find(name) is not None for name in names)

    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
    def test_what_examples_call_takes_these_arguments(self, path: Path) -> None:
        block = re.search(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)[1]
        space: dict[str, Any] = {}
        exec("\n".join(line for line in block.splitlines() if line.startswith("from fer")), space)
        bound = 0
        for call in (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)):
            if any(isinstance(part, ast.Call) for part in ast.walk(call.func)):
                continue  # a method of what another call returns: finding it would mean calling that
            try:
                called = eval(ast.unparse(call.func), space)
            except (NameError, AttributeError):
                continue  # a method of what the example makes
            keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            if called.__module__.startswith(("fercore", "ferlab")):
                inspect.signature(called).bind(*call.args, **keywords)
                bound += 1
        assert bound


class TestExtension:
    @pytest.fixture
    def names(self) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location("api_names", BOOK / "_ext" / "api_names.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @pytest.fixture
    def linked(self, names: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
        """What a target becomes where these four objects are documented."""
        known = {
            "ferlab.measures.facs.EXPECTED": "data",
            "fercore.shapley.inputs.Images": "type",
            "ferlab.temo.fit": "function",
            "fercore.training.trainer.fit": "function",
        }
        objects = {name: ObjectEntry("page", name, kind, False) for name, kind in known.items()}
        objects["ferlab.measures.facs.other.EXPECTED"] = ObjectEntry("page", "x", "data", True)
        domain = PythonDomain.__new__(PythonDomain)
        domain.data = {"objects": objects}
        domain.object_types = PythonDomain.object_types
        environment = types.SimpleNamespace(get_domain=lambda name: domain)
        monkeypatch.setattr(
            names, "make_refnode", lambda builder, here, page, identity, content, title: title
        )
        app = types.SimpleNamespace(builder=None)

        def of(target: str, domain: str = "py") -> str | None:
            node = pending_xref("", refdomain=domain, reftarget=target, refdoc="other")
            return names.link(app, environment, node, nodes.literal())

        return of

    def test_short_names_and_types_are_found(self, linked: Any) -> None:
        assert linked("EXPECTED") == "ferlab.measures.facs.EXPECTED"
        assert linked("Images") == "fercore.shapley.inputs.Images"
        assert linked("trainer.fit") == "fercore.training.trainer.fit"

    def test_what_is_unknown_or_ambiguous_stays_a_warning(self, linked: Any) -> None:
        assert linked("fit") is None
        assert linked("absent") is None
        assert linked("Images", "std") is None

    def test_signatures_become_python(self, names: types.ModuleType) -> None:
        mend = lambda signature: names.readable(None, "class", "x", None, None, signature, "None")  # noqa: E731
        assert mend("(extras: dict = <factory>)") == ("(extras: dict = ...)", "None")
        assert mend("(extras: dict)") is None
        assert mend(None) is None
