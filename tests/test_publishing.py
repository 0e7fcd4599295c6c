"""What publishes the book and opens its notebooks elsewhere: the workflow of GitHub Pages, and Binder's files."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ferlab.runs import cli as command_line
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BINDER = ROOT / ".binder"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LAB = tomllib.loads((ROOT / "notebooks" / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(path: Path) -> list[str]:
    """Return the lines of a requirements file that say something."""
    lines = (line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    """Return the pinned version of each package of constraints.txt."""
    found = {}
    for line in requirements(ROOT / "constraints.txt"):
        pinned = Requirement(line)
        assert re.fullmatch(r"==[\w.]+", str(pinned.specifier)), line
        found[canonicalize_name(pinned.name)] = str(pinned.specifier)[2:]
    return found


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))


class TestWorkflow:
    def steps(self, workflow: dict[Any, Any]) -> list[dict[str, Any]]:
        return [step for job in workflow["jobs"].values() for step in job["steps"]]

    def test_runs_on_push_to_main_and_by_hand(self, workflow: dict[Any, Any]) -> None:
        events = workflow[True]  # YAML 1.1 reads "on" as a truth value
        assert events["push"] == {"branches": ["main"]}
        assert set(events) == {"push", "workflow_dispatch"}

    def test_actions_are_official_and_pinned_to_a_major_version(self, workflow: dict[Any, Any]) -> None:
        used = [step["uses"] for step in self.steps(workflow) if "uses" in step]
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)
        names = {action.split("@")[0] for action in used}
        assert {"actions/checkout", "actions/upload-pages-artifact", "actions/deploy-pages"} <= names

    def test_permissions_are_the_least(self, workflow: dict[Any, Any]) -> None:
        assert workflow["permissions"] == {"contents": "read"}
        jobs = workflow["jobs"]
        assert "permissions" not in jobs["build"]
        assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
        checkout = next(step for step in jobs["build"]["steps"] if "checkout" in step.get("uses", ""))
        assert checkout["with"]["persist-credentials"] is False
        text = (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
        assert "secrets." not in text

    def test_nothing_that_others_write_reaches_a_shell(self, workflow: dict[Any, Any]) -> None:
        assert not [step["run"] for step in self.steps(workflow) if "${{" in step.get("run", "")]

    def test_build_tests_builds_and_browses_before_it_uploads(self, workflow: dict[Any, Any]) -> None:
        steps = workflow["jobs"]["build"]["steps"]
        done = [step.get("run") or step["uses"].split("@")[0] for step in steps]
        wanted = ["make test", "make book", "make browse", "actions/upload-pages-artifact"]
        assert [step for step in done if step in wanted] == wanted
        upload = next(step for step in steps if "upload-pages" in step.get("uses", ""))
        assert upload["with"]["path"] == "_build/html"

    def test_make_has_these_targets(self, workflow: dict[Any, Any]) -> None:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for step in self.steps(workflow):
            for target in re.findall(r"make (\w+)", step.get("run", "")):
                assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target

    def test_python_is_one_that_the_package_supports(self, workflow: dict[Any, Any]) -> None:
        python = next(s for s in workflow["jobs"]["build"]["steps"] if "setup-python" in s.get("uses", ""))
        assert python["with"]["python-version"] in SpecifierSet(PROJECT["requires-python"])
        for path in python["with"]["cache-dependency-path"].split():
            assert (ROOT / path).is_file()

    def test_no_cuda_is_downloaded_and_the_buttons_know_the_repository(
        self, workflow: dict[Any, Any]
    ) -> None:
        environment = workflow["jobs"]["build"]["env"]
        assert environment["PIP_EXTRA_INDEX_URL"] == CPU_WHEELS
        assert environment["FERCORE_REPOSITORY"] == "${{ github.repository }}"
        assert environment["FERCORE_REF"] == "${{ github.ref_name }}"

    def test_deployment(self, workflow: dict[Any, Any]) -> None:
        deploy = workflow["jobs"]["deploy"]
        assert deploy["needs"] == "build"
        assert deploy["if"] == "github.ref == 'refs/heads/main'"
        assert deploy["environment"]["name"] == "github-pages"
        assert workflow["concurrency"] == {"group": "pages", "cancel-in-progress": False}
        assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


class TestBinder:
    def test_requirements(self) -> None:
        packages = []
        for line in requirements(BINDER / "requirements.txt"):
            option, _, value = line.partition(" ")
            if option == "--extra-index-url":
                assert value == CPU_WHEELS
            elif option == "-c":
                assert (BINDER / value).resolve() == ROOT / "constraints.txt"
            elif option == "-e":
                assert (ROOT / value / "pyproject.toml").is_file()
            else:
                packages.append(Requirement(line))
        assert {"torch", "torchvision", "jupyterlab"} <= {package.name for package in packages}
        known = pins()
        for package in packages:
            if (pinned := known.get(canonicalize_name(package.name))) is not None:
                assert package.specifier.contains(pinned), f"{package}: constraints.txt pins {pinned}"

    def test_pytorch_is_pinned_as_in_the_constraints(self) -> None:
        lines, known = requirements(BINDER / "requirements.txt"), pins()
        assert f"torch=={known['torch']}" in lines
        assert f"torchvision=={known['torchvision']}" in lines

    def test_python(self) -> None:
        name, _, version = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().partition("-")
        assert name == "python"
        assert version in SpecifierSet(PROJECT["requires-python"])

    def test_last_step(self) -> None:
        script = BINDER / "postBuild"
        lines = script.read_text(encoding="utf-8").splitlines()
        assert script.stat().st_mode & 0o111, "postBuild must be executable"
        assert lines[0] == "#!/usr/bin/env bash"
        assert "set -euo pipefail" in lines
        commands = [line for line in lines if line.startswith("python -m ferlab ")]
        assert commands
        for command in commands:
            command_line._parser().parse_args(command.split()[3:])
        if bash := shutil.which("bash"):
            subprocess.run([bash, "-n", str(script)], check=True)

    def test_nothing_else_is_there(self) -> None:
        """With a Dockerfile, an environment.yml or the like, repo2docker would not read these files."""
        assert {path.name for path in BINDER.iterdir()} == {"postBuild", "requirements.txt", "runtime.txt"}


def test_extras_agree_with_the_constraints() -> None:
    known = pins()
    parts = [part for project in (PROJECT, LAB) for part in project["optional-dependencies"].values()]
    for line in [*PROJECT["dependencies"], *LAB["dependencies"], *(line for part in parts for line in part)]:
        package = Requirement(line)
        if (pinned := known.get(canonicalize_name(package.name))) is not None:
            assert package.specifier.contains(pinned), f"{line}: constraints.txt pins {pinned}"
