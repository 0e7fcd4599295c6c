"""Security: nothing is unpickled or evaluated, no shell sees a value, and the audit says what it found.

HTML from data is escaped: see :mod:`test_interactive`, :mod:`test_book`, :mod:`test_page_tools`, and the tables of the
grid in :mod:`test_grid`. Archives and other foreign files: :mod:`test_adding`, :mod:`test_fuzz`.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import layouts
import nbformat
import numpy as np
import pytest
from conftest import ROOT
from ferlab.runs import cli, runner
from hypothesis import given
from test_grid import VALUES
from test_runs import TINY, project  # noqa: F401  the fixture

from fercore import checkpoints, datasets
from fercore.errors import CheckpointError

FOLDERS = ("fercore", "notebooks", "benchmarks", "book", ".ci")
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not any(part.startswith(".") or part == "_build" for part in path.relative_to(ROOT / folder).parts)
)

# Modules that run code out of data, or that hand text to a shell.
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "code",
    "pty",
}
FUNCTIONS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("os", "system"),
    ("os", "popen"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    ("asyncio", "create_subprocess_shell"),
    ("pandas", "read_pickle"),
    ("pd", "read_pickle"),
    ("tempfile", "mktemp"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("nodes", "raw"),  # docutils: HTML as it stands
}
SAFE_YAML = {"SafeLoader", "CSafeLoader"}


COMPUTED = object()


def given_as(call, name):
    """Return the value of a keyword: None where it is absent, COMPUTED where it is no constant."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return getattr(values[0], "value", COMPUTED) if values else None


def of_call(call):
    """Return what is wrong with a call, if anything."""
    if isinstance(call.func, ast.Name) and call.func.id in FUNCTIONS:
        yield f"{call.func.id}()"
    for name in ("shell", "allow_pickle"):
        if given_as(call, name) not in (None, False):
            yield f"{name}="
    if given_as(call, "escape") is False:
        yield "escape=False"
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        owner, name = call.func.value.id, call.func.attr
        if (owner, name) in ATTRIBUTES:
            yield f"{owner}.{name}()"
        if (owner, name) == ("torch", "load") and given_as(call, "weights_only") is not True:
            yield "torch.load() of more than weights"
        if owner == "yaml" and name in ("load", "load_all"):
            loaders = [*call.args[1:], *(word.value for word in call.keywords if word.arg == "Loader")]
            if not any(getattr(loader, "attr", getattr(loader, "id", "")) in SAFE_YAML for loader in loaders):
                yield "yaml.load() without a safe loader"


def wrong(source):
    """Return what in a source runs code out of data, with its lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, n.name) for n in node.names if n.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if node.module.split(".")[0] in MODULES:
                found.append((node.lineno, node.module))
            pairs = {(node.module, name.name) for name in node.names}
            found += [(node.lineno, ".".join(pair)) for pair in pairs & ATTRIBUTES]
        elif isinstance(node, ast.Call):
            found += [(node.lineno, what) for what in of_call(node)]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill as d",
        "from joblib import load",
        "from marshal import loads",
        "def f():\n    import shelve",
        "from os import system",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=maybe)",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "yaml.load(file)",
        "yaml.load(file, Loader=yaml.Loader)",
        "yaml.load_all(file, yaml.UnsafeLoader)",
        "yaml.unsafe_load(file)",
        "subprocess.run(text, shell=True)",
        "run(text, shell=maybe)",
        "os.system(text)",
        "os.popen(text)",
        "nodes.raw('', text, format='html')",
        "frame.to_html(escape=False)",
    ],
)
def test_the_search_finds(source):
    assert len(wrong(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(file)",
        "yaml.load(file, Loader=yaml.SafeLoader)",
        "yaml.load(file, SafeLoader)",
        "model.eval()",
        "re.compile(pattern)",
        "ast.literal_eval(text)",
        "subprocess.run(words, shell=False)",
        "'eval(x) import pickle'",
        "from . import pickle_free",
    ],
)
def test_the_search_lets_pass(source):
    assert wrong(source) == []


def test_no_source_runs_code_out_of_data():
    assert len(SOURCES) > 120
    found = {
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in SOURCES
        for line, what in wrong(path.read_text())
    }
    assert found == set()


class Payload:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_the_payload_works(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_a_pickle_in_the_place_of_a_checkpoint_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "last.safetensors"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoints.read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["images.npy", "columns.npz"])
def test_a_pickle_in_the_cache_of_a_dataset_does_not_run(tmp_path, name):
    layouts.write_jaffe(tmp_path, layouts.jaffe_names()[:3])
    arguments = {"root": tmp_path, "size": 16, "verify": False, "progress": False}
    whole = datasets.load("jaffe", **arguments)
    (entry,) = (tmp_path / ".cache").iterdir()
    hostile = np.array([Payload(tmp_path / "ran")], dtype=object)
    with open(entry / name, "wb") as file:
        _ = np.save(file, hostile) if name == "images.npy" else np.savez(file, labels=hostile)
    assert (datasets.load("jaffe", **arguments).images == whole.images).all()
    assert not (tmp_path / "ran").exists()


# Values from the command line and from configurations


@given(value=VALUES)
def test_a_parameter_reaches_the_notebook_as_a_plain_value(value):
    """Whatever it is, the cell that papermill puts in assigns a constant, and that is the value."""
    from papermill.parameterize import parameterize_notebook

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("level = 1")])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata |= {"kernelspec": {"name": "python3", "language": "python"}, "papermill": {}}
    made = parameterize_notebook(notebook, {"level": value}, kernel_name="python3", language="python")
    (cell,) = (cell for cell in made.cells if "injected-parameters" in cell.metadata.get("tags", []))
    (assigned,) = ast.parse(cell.source).body
    assert isinstance(assigned, ast.Assign)
    assert [target.id for target in assigned.targets] == ["level"]
    text = ast.unparse(assigned.value)
    if re.search(r"float\('(?:nan|-?inf)'\)", text):  # the one call that papermill writes
        assert set(re.findall(r"(\w+)\(", re.sub(r"'[^']*'", "", text))) == {"float"}
        return
    assert ast.literal_eval(assigned.value) == value


CODE = """# %%
from pathlib import Path
from ferlab import provenance
from ferlab.runs import records as results
provenance.project_root = lambda: Path({root!r})
from conftest import brightness_faces
record = results.Run("tiny", dataset, level=level).finish("x", brightness_faces(14), {{"level": level}})
print("Record:", results.place(record))
"""


def test_code_on_the_command_line_is_text_from_end_to_end(project, capfd):  # noqa: F811
    (project / "notebooks" / "tiny.py").write_text(TINY + CODE.format(root=str(project)))
    flag = project / "ran"
    hostile = f'"); import pathlib; pathlib.Path({str(flag)!r}).touch() # $(touch {flag}) \\\n\'\'\'"""'
    assert cli.main(["run", "tiny", "-p", f"level={hostile}"]) == 0
    record = json.loads((project / "results" / "tiny" / "faces" / "x.json").read_text())
    assert record["metrics"]["level"] == record["parameters"]["level"] == hostile
    page = runner.page_path("tiny", "faces")
    assert runner.is_fresh(page, {"dataset": "faces", "level": hostile})
    words = ["sh", "-c", runner.command(page).replace("ferlab", "printf '%s\\0'")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0")
    assert said[-2] == f"level={hostile}"
    assert not flag.exists()


@pytest.mark.parametrize("name", ["model", "recipe", "protocol", "fold"])
@pytest.mark.parametrize(
    "value", ["../../../x", "/etc/passwd", "a/b", "a\\b", "x" * 300, "$(id)", "", "a b", "x\0y"]
)
def test_a_value_that_names_files_leads_nowhere_else(project, name, value):  # noqa: F811
    text = project / "notebooks" / "tiny.py"
    text.write_text(text.read_text().replace("level = 1\n", f'level = 1\n{name} = "x"\n', 1))
    if value == "":
        assert (
            runner.page_path("tiny", "faces", runner.check("tiny", "faces", {name: value})).name
            == "tiny-.ipynb"
        )
        return
    before = sorted(project.parent.rglob("*"))
    with pytest.raises(ValueError, match=rf"{name}=.* becomes part of a file's name"):
        runner.run("tiny", "faces", {name: value})
    assert sorted(project.parent.rglob("*")) == before


# The audit of dependencies


@pytest.fixture
def audit(monkeypatch):
    """The script of `make audit`, and what makes its pip-audit say something."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def answers(report, status=0, said=""):
        def run(command, **_):
            assert command[:3] == [sys.executable, "-m", "pip_audit"]
            if report is not None:
                Path(command[command.index("--output") + 1]).write_text(report)
            return subprocess.CompletedProcess(command, status, "", said)

        monkeypatch.setattr(module.subprocess, "run", run)

    return module, answers


CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
HOLE = {"id": "PYSEC-2021-66", "aliases": ["CVE-2020-28493"], "fix_versions": ["2.11.3"], "description": "…"}
FOUND = {"name": "jinja2", "version": "2.11.2", "vulns": [HOLE, {**HOLE, "id": "GHSA-1", "fix_versions": []}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "status", "expected", "says"),
    [
        ([CLEAN], 0, 0, ["1 packages audited, 0 known vulnerabilities; 0 not audited."]),
        (
            [CLEAN, FOUND, SKIPPED],
            1,
            1,
            [
                "jinja2 2.11.2: PYSEC-2021-66 CVE-2020-28493; fixed in 2.11.3",
                "jinja2 2.11.2: GHSA-1 CVE-2020-28493; fixed in no version yet",
                "not audited: torch: Dependency not found on PyPI",
                "2 packages audited, 2 known vulnerabilities; 1 not audited.",
            ],
        ),
        ([SKIPPED], 0, 0, ["NOT AUDITED: the index that was reached knows nothing of any package"]),
    ],
)
def test_the_audit_fails_for_findings_and_says_what_it_could_not_ask(
    audit, capsys, packages, status, expected, says
):
    module, answers = audit
    answers(json.dumps({"dependencies": packages, "fixes": []}), status)
    assert module.main([]) == expected
    said = capsys.readouterr().out
    for line in says:
        assert line in said


@pytest.mark.parametrize("report", [None, "", "{}", "[]"])
def test_the_audit_without_a_network_says_so_and_does_not_fail(audit, capsys, report):
    module, answers = audit
    answers(report, 1, "WARNING: x\nrequests.exceptions.ConnectionError: no route to pypi.org\n")
    assert module.main([]) == 0
    assert "NOT AUDITED: requests.exceptions.ConnectionError: no route to pypi.org" in capsys.readouterr().out
