"""What a notebook reaches, and what makes a run stale: what definitions say, not where they stand."""

from __future__ import annotations

import pytest
from conftest import ROOT
from ferlab import definitions

FILES = {
    "__init__.py": '_HOMES = {"Public": "fercore.deep.er"}\n',
    "one.py": "from fercore.pack import two as second\n\n\ndef used(x):\n    return second.late(x) + LEVEL\n\n\n"
    "LEVEL = 1\n\n\ndef unused():\n    return 0\n",
    "pack/__init__.py": "from fercore.pack.two import late\n",
    "pack/two.py": "def late(x):\n    from fercore.deep.er import thing\n\n    return thing(x)\n",
    "pack/data/table.json": "{}",
    "pack/data/notes.md": "words",
    "deep/__init__.py": "",
    "deep/er.py": "def thing(x):\n    return x + 1\n\n\nclass Public:\n    level = 3\n",
    "named.py": "def load():\n    return 1\n",
    "table.py": 'KINDS = {"n": ("fercore.named", "not fercore.one")}\nSEEN = {}\nSEEN["x"] = 1\n',
    "training.py": "PROCEDURE = 1\n\n\ndef fit(x):\n    return x\n",
}
NOTEBOOK = """# %% [markdown]
# Words.

# %%
from fercore import Public, one, table, training

# %%
found = one.used(Public.level)
print(table.KINDS, training.fit(found))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A toy package in the place of ours and a notebook; returns what writes a file, and what is reached."""
    root, notebook = tmp_path / "fercore", tmp_path / "notebook.py"

    def forget():
        for function in (definitions._next, definitions._digest_of, definitions._file, definitions._module):
            function.cache_clear()
        definitions._home.cache_clear()
        definitions._of_notebook.cache_clear()

    def write(name, text):
        path = notebook if name == "notebook.py" else root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        forget()

    for name, text in (FILES | {"notebook.py": NOTEBOOK}).items():
        write(name, text)
    monkeypatch.setattr(definitions, "ROOTS", {"fercore": root})
    yield write, lambda: definitions.of_notebook(notebook), root
    forget()


def test_a_notebook_reaches_what_its_code_names_at_any_depth_and_nothing_else(package):
    _, reached, _ = package
    names = {
        "notebook",
        "used",
        "LEVEL",
        "late",
        "thing",
        "Public",
        *("KINDS", "SEEN"),
        "load",
        "PROCEDURE",
        "(statements)",
    }
    assert set(reached()) == names | {"table.json"}


MOVED = FILES["one.py"].replace("from fercore.pack import two as second\n", "").replace("second.late", "late")
SILENT = [
    ("one.py", FILES["one.py"].replace("    return 0", "    return 9")),  # not reached
    ("one.py", FILES["one.py"].replace("(x):\n", '(x):\n    """Say it."""\n    # why\n')),
    (
        "one.py",
        FILES["one.py"].replace(
            "second.late(x) + LEVEL",
            "(\n        second.late(\n            x,\n        )\n        + LEVEL\n    )",
        ),
    ),
    (
        "one.py",
        FILES["one.py"].replace(
            "from fercore.pack import two as second", "from fercore import pack as second"
        ),
    ),
    ("one.py", "from fercore.pack.two import late\n" + MOVED),
    ("training.py", FILES["training.py"].replace("return x", "return x + 0")),  # behind its version
    ("pack/data/notes.md", "other words"),
    (
        "notebook.py",
        NOTEBOOK.replace(
            "import Public, one, table, training",
            "import one, table, training\nfrom fercore.deep.er import Public",
        ),
    ),
]
LOUD = [
    ("one.py", FILES["one.py"].replace("LEVEL = 1", "LEVEL = 2"), "LEVEL has changed"),
    ("deep/er.py", FILES["deep/er.py"].replace("x + 1", "x + 2"), "thing has changed"),
    ("named.py", "def load():\n    return 2\n", "load has changed"),
    ("table.py", FILES["table.py"].replace('["x"]', '["y"]'), "(statements) has changed"),
    ("training.py", FILES["training.py"].replace("PROCEDURE = 1", "PROCEDURE = 2"), "PROCEDURE has changed"),
    ("pack/data/table.json", "{ }", "table.json has changed"),
    ("notebook.py", NOTEBOOK.replace("Words", "Other words"), "notebook has changed"),
    ("notebook.py", NOTEBOOK.replace("print(", "print(1, "), "notebook has changed"),
    ("one.py", FILES["one.py"].replace("+ LEVEL", ""), "LEVEL is gone"),
    ("one.py", FILES["one.py"].replace("+ LEVEL", "+ LEVEL + unused()"), "unused is new"),
]


@pytest.mark.parametrize(("name", "text"), SILENT)
def test_moves_and_words_about_code_change_nothing(package, name, text):
    write, reached, _ = package
    before = reached()
    write(name, text)
    assert definitions.changed(before, reached()) == []


@pytest.mark.parametrize(("name", "text", "said"), LOUD)
def test_what_code_says_is_noticed_and_named(package, name, text, said):
    write, reached, _ = package
    before = reached()
    write(name, text)
    assert said in definitions.changed(before, reached())


def test_a_definition_may_move_to_a_module_of_another_name(package):
    write, reached, root = package
    before = reached()
    write("elsewhere.py", FILES["deep/er.py"])
    (root / "deep" / "er.py").unlink()
    write("pack/two.py", FILES["pack/two.py"].replace("fercore.deep.er", "fercore.elsewhere"))
    write("__init__.py", FILES["__init__.py"].replace("fercore.deep.er", "fercore.elsewhere"))
    assert definitions.changed(before, reached()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_real_notebooks_reach_what_they_import(path):
    found = definitions.of_notebook(path)
    assert {"notebook", "Run", "finish"} - {"finish"} <= set(found) or path.stem.startswith("course")
    assert all(file.is_file() for file in definitions.modules(path))
    assert definitions.digest(path) == definitions.digest(path)
