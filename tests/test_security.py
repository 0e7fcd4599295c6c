"""Security: nothing is unpickled or evaluated, no shell sees a value, and the audit says what it found.

HTML from data is escaped: see :mod:`test_interactive`, :mod:`test_extensions`, and the tables of the grid in
:mod:`test_grid`. Archives and other foreign files: :mod:`test_adding`, :mod:`test_fuzz`.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import layouts
import numpy as np
import pytest
from conftest import ROOT
from ferlab import provenance
from ferlab.runs import cli, runner

from fercore import checkpoints
from fercore.errors import CheckpointError

HOSTILE = """
import os, pickle, subprocess, tempfile
import joblib, marshal, shelve, dill
import numpy as np, pandas as pd, torch, yaml
from docutils import nodes
torch.load(path)
eval(text)
exec(text)
yaml.load(file)
yaml.load(file, Loader=yaml.Loader)
yaml.unsafe_load(file)
pd.read_pickle(path)
subprocess.run(text, shell=True)
os.system(text)
os.popen(text)
tempfile.mktemp()
nodes.raw("", text, format="html")
"""
RULES = "S102,S301,S302,S306,S307,S506,S602,S604,S605,TID251"


def ruff(*words, **options):
    """Return the lines that ruff's rules of security find, by this project's settings."""
    command = f"-m ruff check --no-cache --output-format json --select {RULES}".split()
    command = [sys.executable, *command, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)
    return {one["location"]["row"] for one in json.loads(done.stdout)}


def test_the_rules_find_what_runs_code_out_of_data():
    found = ruff("--stdin-filename", "fercore/x.py", "-", input=HOSTILE)
    wanted = {n for n, line in enumerate(HOSTILE.splitlines(), 1) if line and not line.startswith("from")}
    assert wanted - found == {4}  # importing numpy, pandas, torch and yaml is no fault


def test_no_source_runs_code_out_of_data():
    assert ruff("fercore", "notebooks", "benchmarks", "book", "workflow", ".ci") == set()
    folders = ("fercore", "notebooks", "benchmarks", "book/_ext", "workflow")
    sources = [path.read_text(encoding="utf-8") for name in folders for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 100
    assert not any(re.search(r"allow_pickle=(?!False)|escape=False", source) for source in sources)


class Payload:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_a_pickle_in_the_place_of_a_checkpoint_is_refused_and_does_not_run(tmp_path):
    path, flag = tmp_path / "last.safetensors", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Payload(flag)))
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoints.read(path)
    assert not flag.exists()
    pickle.loads(path.read_bytes())
    assert flag.exists()  # so it would have run


@pytest.mark.parametrize("name", ["images.npy", "columns.npz"])
def test_a_pickle_in_the_cache_of_a_dataset_does_not_run(tmp_path, name):
    layouts.write_jaffe(tmp_path, layouts.jaffe_names()[:3])
    whole = layouts.load("jaffe", tmp_path)
    (entry,) = (tmp_path / ".cache").iterdir()
    hostile = np.array([Payload(tmp_path / "ran")], dtype=object)
    with open(entry / name, "wb") as file:
        _ = np.save(file, hostile) if name == "images.npy" else np.savez(file, labels=hostile)
    assert (layouts.load("jaffe", tmp_path).images == whole.images).all()
    assert not (tmp_path / "ran").exists()


# Values from the command line and from configurations

NOTEBOOK = """# ---
# jupyter:
#   kernelspec: {{display_name: Python 3, language: python, name: python3}}
# ---

# %% [markdown]
# # Tiny

# %% tags=["parameters"]
dataset = "faces"
level = ""
model = "x"
recipe = "x"
protocol = "x"
fold = "x"

# %%
from pathlib import Path
from ferlab import provenance
provenance.project_root = lambda: Path({root!r})
from conftest import brightness_faces
from ferlab.runs import records
record = records.Run("tiny", dataset, level=level).finish("x", brightness_faces(14), {{"level": level}})
print("Record:", records.place(record))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with one tiny notebook."""
    for name in ("notebooks", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "notebooks" / "tiny.py").write_text(NOTEBOOK.format(root=str(tmp_path)))
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    runner.pair()
    return tmp_path


def test_code_on_the_command_line_is_text_from_end_to_end(project, capfd):
    flag = project / "ran"
    hostile = f'"); import pathlib; pathlib.Path({str(flag)!r}).touch() # $(touch {flag}) \\\n\'\'\'"""'
    assert cli.main(["run", "tiny", "--publish", "-p", f"level={hostile}"]) == 0
    record = json.loads((project / "results" / "tiny" / "faces" / "x.json").read_text())
    assert record["metrics"]["level"] == record["parameters"]["level"] == hostile
    page = runner.page_path("tiny", "faces", {"level": hostile})
    assert runner.is_fresh(page, {"dataset": "faces", "level": hostile})
    words = ["sh", "-c", runner.command(page).replace("ferlab", "printf '%s\\0'")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0")
    assert said[-2] == f"level={hostile}"
    assert not flag.exists()


@pytest.mark.parametrize("name", ["model", "recipe", "protocol", "fold"])
def test_a_value_that_names_files_leads_nowhere_else(project, name):
    before = sorted(project.parent.rglob("*"))
    for value in ("../../../x", "/etc/passwd", "a/b", "a\\b", "x" * 300, "$(id)", "a b", "x\0y"):
        with pytest.raises(ValueError, match=rf"{name}=.* becomes part of a file's name"):
            runner.run("tiny", "faces", {name: value})
    assert sorted(project.parent.rglob("*")) == before


# The audit of dependencies

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
HOLE = {"id": "PYSEC-2021-66", "aliases": ["CVE-2020-28493"], "fix_versions": ["2.11.3"], "description": "…"}
FOUND = {"name": "jinja2", "version": "2.11.2", "vulns": [HOLE]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audited(monkeypatch, capsys):
    """A function: `make audit` where pip-audit writes this report; its exit status and what it prints."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def audit(report, status=0, said=""):
        def run(command, **_):
            assert command[:3] == [sys.executable, "-m", "pip_audit"]
            if report is not None:
                Path(command[command.index("--output") + 1]).write_text(report)
            return subprocess.CompletedProcess(command, status, "", said)

        monkeypatch.setattr(module.subprocess, "run", run)
        return module.main([]), capsys.readouterr().out

    return audit


SAID = """jinja2 2.11.2: PYSEC-2021-66 CVE-2020-28493; fixed in 2.11.3
not audited: torch: Dependency not found on PyPI
2 packages audited, 1 known vulnerabilities; 1 not audited.
"""


@pytest.mark.parametrize(
    ("packages", "expected", "says"),
    [
        ([CLEAN], 0, "1 packages audited, 0 known vulnerabilities; 0 not audited.\n"),
        ([CLEAN, FOUND, SKIPPED], 1, SAID),
        ([SKIPPED], 0, "NOT AUDITED: the index that was reached knows nothing of any package"),
    ],
)
def test_the_audit_fails_for_findings_and_says_what_it_could_not_ask(audited, packages, expected, says):
    status, said = audited(json.dumps({"dependencies": packages, "fixes": []}), expected)
    assert status == expected
    assert says in said


@pytest.mark.parametrize("report", [None, "{}"])
def test_the_audit_without_a_network_says_so_and_does_not_fail(audited, report):
    status, said = audited(report, 1, "WARNING: x\nConnectionError: no route to pypi.org\n")
    assert status == 0
    assert "NOT AUDITED: ConnectionError: no route to pypi.org" in said
