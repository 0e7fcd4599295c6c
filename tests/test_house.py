"""Three floors: what imports what, what stands alone, and how large it may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from conftest import ROOT

ALONE = """
import torch
from fercore.shapley import DnCShap
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
result = DnCShap(model, depth=3, contexts="exact", output="logit").attribute(torch.rand(2, 3, 4, 4))
print(abs(result.efficiency_gap) < 1e-5)
"""


def test_floors_and_rooms_are_kept():
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'notebooks'}"}
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout


def test_the_shapley_values_can_be_lifted_out(tmp_path):
    shutil.copytree(ROOT / "fercore" / "shapley", tmp_path / "fercore" / "shapley")
    shutil.copy(ROOT / "fercore" / "errors.py", tmp_path / "fercore" / "errors.py")
    (tmp_path / "fercore" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.strip() == "True", done.stderr


def test_the_package_stays_thin():
    modules = sorted((ROOT / "fercore").rglob("*.py"))
    assert len([path for path in modules if path.parent.name == "fercore"]) <= 10
    assert len(modules) <= 40
