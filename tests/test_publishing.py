"""What publishes the book and opens its notebooks elsewhere: the workflow of GitHub Pages, and Binder's files."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import yaml
from ferlab.runs import cli
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BINDER = ROOT / ".binder"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
PROJECT, LAB = (
    tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for folder in ("", "notebooks")
)
WORKFLOW = (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
FLOW = yaml.safe_load(WORKFLOW)
JOBS = FLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
USED = {step["uses"].split("@")[0]: step for step in STEPS if "uses" in step}


def requirements(path: Path) -> list[str]:
    """Return the lines of a requirements file that say something."""
    lines = (line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


CONSTRAINTS = ROOT / "constraints.txt"
PINS = {canonicalize_name(p.name): p for p in map(Requirement, requirements(CONSTRAINTS))}


def check(package: Requirement) -> None:
    """Whether a requirement allows what constraints.txt pins."""
    if pinned := PINS.get(canonicalize_name(package.name)):
        assert re.fullmatch(r"==[\w.]+", str(pinned.specifier)), pinned
        assert package.specifier.contains(str(pinned.specifier)[2:]), (package, pinned)


def test_the_workflow_tests_builds_and_browses_on_every_push_before_it_publishes():
    assert set(FLOW[True]) == {"push", "workflow_dispatch"}  # YAML 1.1 reads "on" as a truth value
    done = [step.get("run") or step["uses"].split("@")[0] for step in JOBS["build"]["steps"]]
    wanted = ["make test", "make book", "make browse", "actions/upload-pages-artifact"]
    assert [step for step in done if step in wanted] == wanted
    assert USED["actions/upload-pages-artifact"]["with"]["path"] == "_build/html"
    assert (JOBS["deploy"]["needs"], JOBS["deploy"]["if"]) == ("build", "github.ref == 'refs/heads/main'")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"run: make (\w+)", WORKFLOW)) <= set(targets)
    python = USED["actions/setup-python"]["with"]
    assert python["python-version"] in SpecifierSet(PROJECT["requires-python"])
    assert all((ROOT / path).is_file() for path in python["cache-dependency-path"].split())
    assert JOBS["build"]["env"]["PIP_EXTRA_INDEX_URL"] == CPU_WHEELS


def test_the_workflow_has_no_more_rights_than_it_needs_and_no_shell_sees_what_others_write():
    assert FLOW["permissions"] == {"contents": "read"}
    assert JOBS["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert "permissions" not in JOBS["build"]
    assert USED["actions/checkout"]["with"]["persist-credentials"] is False
    assert "secrets." not in WORKFLOW
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in USED.values())
    assert not [step["run"] for step in STEPS if "${{" in step.get("run", "")]


def test_binder_installs_what_is_pinned_and_its_last_step_is_a_command_that_there_is():
    # With a Dockerfile, an environment.yml or the like, repo2docker would not read these files.
    assert {path.name for path in BINDER.iterdir()} == {"postBuild", "requirements.txt", "runtime.txt"}
    lines = requirements(BINDER / "requirements.txt")
    options = [line.split(" ", 1) for line in lines if line.startswith("-")]
    assert ["--extra-index-url", CPU_WHEELS] in options
    assert [(BINDER / value).resolve() for option, value in options if option == "-c"] == [CONSTRAINTS]
    assert all((ROOT / value / "pyproject.toml").is_file() for option, value in options if option == "-e")
    packages = [Requirement(line) for line in lines if not line.startswith("-")]
    assert {p.name: str(p.specifier) for p in packages}["torch"] == str(PINS["torch"].specifier)
    for package in packages:
        check(package)
    name, _, version = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().partition("-")
    assert name == "python"
    assert version in SpecifierSet(PROJECT["requires-python"])
    script = BINDER / "postBuild"
    assert script.stat().st_mode & 0o111, "postBuild must be executable"
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)


SHOWN = re.compile(r"python -m ferlab (\w[^;\n]*)|^ *ferlab (\w.*)", re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "Makefile", BINDER / "postBuild", *sorted((ROOT / "book").glob("*.md"))]


def test_every_command_that_is_shown_can_be_read():
    read = 0
    for text in (path.read_text(encoding="utf-8").replace("\\\n", " ") for path in PAGES):
        for found in SHOWN.finditer(re.sub(r"\$\([a-zA-Z][^()]*\)", "x", text.replace("$(REFRESH)", ""))):
            words, command = shlex.split((found[1] or found[2]).rstrip("& "), comments=True), cli.ferlab
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context(command.name, words)
            read += 1
    assert read > 50


def test_what_the_projects_ask_for_agrees_with_the_constraints():
    for project in (PROJECT, LAB):
        for line in sum(project["optional-dependencies"].values(), start=project["dependencies"]):
            check(Requirement(line))
