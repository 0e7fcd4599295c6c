"""What a notebook reaches, and what makes a run stale: what definitions say, not where they stand."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from conftest import ROOT
from ferlab import definitions

FILES = {
    "fercore/__init__.py": '_HOMES = {"Public": "fercore.deep.er"}\n',
    "fercore/one.py": "from fercore.pack import two as second\n\n\ndef used(x):\n    return second.late(x) + LEVEL\n"
    "\n\nLEVEL = 1\n\n\ndef unused():\n    return 0\n",
    "fercore/pack/__init__.py": "from fercore.pack.two import late\n",
    "fercore/pack/two.py": "def late(x):\n    from fercore.deep.er import thing\n\n    return thing(x)\n",
    "fercore/pack/data/table.json": "{}",
    "fercore/pack/data/notes.md": "words",
    "fercore/deep/__init__.py": "",
    "fercore/deep/er.py": "def thing(x):\n    return x + 1\n\n\nclass Public:\n    level = 3\n",
    "fercore/named.py": "def load():\n    return 1\n",
    "fercore/table.py": 'KINDS = {"n": ("fercore.named", "not fercore.one")}\nSEEN = {}\nSEEN["x"] = 1\n',
    "fercore/training.py": "PROCEDURE = 1\n\n\ndef fit(x):\n    return x\n",
    "notebook.py": """# %% [markdown]
# Words.

# %%
from fercore import Public, one, table, training

# %%
found = one.used(Public.level)
print(table.KINDS, training.fit(found))
""",
}


@pytest.fixture
def reached(tmp_path, monkeypatch):
    """What the toy notebook reaches in a toy package in the place of ours, after changes: file -> (old, new) text."""
    monkeypatch.setitem(sys.modules, "anew", None)

    def found(changes=None):
        for name, text in FILES.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, (old, new) in (changes or {}).items():
            text = (tmp_path / name).read_text() if (tmp_path / name).exists() else ""
            assert old in text
            (tmp_path / name).write_text(text.replace(old, new, 1))
        spec = importlib.util.spec_from_file_location(
            "anew", definitions.__file__
        )  # a copy that remembers nothing
        module = sys.modules["anew"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.ROOTS = {"fercore": tmp_path / "fercore"}
        return module.of_notebook(tmp_path / "notebook.py")

    return found


def test_a_notebook_reaches_what_its_code_names_at_any_depth_and_nothing_else(reached):
    named = {"used", "LEVEL", "late", "thing", "Public", "KINDS", "SEEN", "load", "PROCEDURE", "(statements)"}
    assert set(reached()) == {"notebook", "table.json"} | named


ONE = "fercore/one.py"
IMPORT, USED = "from fercore.pack import two as second", "\n\n\ndef used(x):\n    return "


@pytest.mark.parametrize(
    "changes",
    [
        {ONE: ("    return 0", "    return 9")},  # not reached
        {ONE: ("used(x):\n", 'used(x):\n    """Say it."""\n    # why\n')},
        {ONE: ("second.late(x) + LEVEL", "(\n        second.late(\n            x,\n        )\n        + LEVEL\n    )")},
        {ONE: (IMPORT, "from fercore import pack as second")},
        {ONE: (f"{IMPORT}{USED}second.", f"from fercore.pack import late{USED}")},
        {"fercore/training.py": ("return x", "return x + 0")},  # behind its version
        {"fercore/pack/data/notes.md": ("words", "other words")},
        {"notebook.py": ("Public, one, table, training", "one, table, training\nfrom fercore.deep.er import Public")},
        {  # a definition moves to a module of another name
            "fercore/elsewhere.py": ("", FILES["fercore/deep/er.py"]),
            "fercore/deep/er.py": (FILES["fercore/deep/er.py"], ""),
            "fercore/pack/two.py": ("fercore.deep.er", "fercore.elsewhere"),
            "fercore/__init__.py": ("fercore.deep.er", "fercore.elsewhere"),
        },
    ],
)  # fmt: skip
def test_moves_and_words_about_code_change_nothing(reached, changes):
    assert definitions.changed(reached(), reached(changes)) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (ONE, "LEVEL = 1", "LEVEL = 2", ["LEVEL has changed"]),
        (ONE, "+ LEVEL", "", ["used has changed", "LEVEL is gone"]),
        (ONE, "+ LEVEL", "+ LEVEL + unused()", ["used has changed", "unused is new"]),
        ("fercore/deep/er.py", "x + 1", "x + 2", ["thing has changed"]),
        ("fercore/named.py", "return 1", "return 2", ["load has changed"]),
        ("fercore/table.py", '["x"]', '["y"]', ["(statements) has changed"]),
        ("fercore/training.py", "PROCEDURE = 1", "PROCEDURE = 2", ["PROCEDURE has changed"]),
        ("fercore/pack/data/table.json", "{}", "{ }", ["table.json has changed"]),
        ("notebook.py", "Words", "Other words", ["notebook has changed"]),
        ("notebook.py", "print(", "print(1, ", ["notebook has changed"]),
    ],
)
def test_what_code_says_is_noticed_and_named(reached, name, old, new, said):
    assert definitions.changed(reached(), reached({name: (old, new)})) == said


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_real_notebooks_reach_real_files_and_no_bookkeeping(path):
    assert {"notebook"} < set(definitions.of_notebook(path))
    assert not {"Run", "kept", "output_folder"} & set(definitions.of_notebook(path))
    assert all(file.is_file() for file in definitions.modules(path))
