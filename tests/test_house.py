"""Three floors: what imports what, what stands alone, and how large it may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from conftest import ROOT

LINT = "from importlinter.cli import lint_imports_command as c; c()"
ALONE = """
import torch
from fercore.shapley import DnCShap
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
result = DnCShap(model, depth=3, contexts="exact", output="logit").attribute(torch.rand(2, 3, 4, 4))
assert abs(result.efficiency_gap) < 1e-5
"""


def run(folder, *words, path):
    """Run Python in a folder; return what it says where that fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=folder, env=environment
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_floors_and_rooms_are_kept():
    assert run(ROOT, "-c", LINT, "--no-cache", path=[ROOT, ROOT / "notebooks"]) == ""


def test_the_shapley_values_can_be_lifted_out(tmp_path):
    shutil.copytree(ROOT / "fercore" / "shapley", tmp_path / "fercore" / "shapley")
    shutil.copy(ROOT / "fercore" / "errors.py", tmp_path / "fercore" / "errors.py")
    (tmp_path / "fercore" / "__init__.py").touch()
    assert run(tmp_path, "-c", ALONE, path=[tmp_path]) == ""


def test_the_package_stays_thin():
    modules = [path.relative_to(ROOT / "fercore") for path in (ROOT / "fercore").rglob("*.py")]
    assert len(modules) <= 40
    assert sum(len(path.parts) == 1 for path in modules) <= 10
