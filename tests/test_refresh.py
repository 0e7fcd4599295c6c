"""Which runs are stale, and how they are made again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ferlab import provenance
from ferlab.runs import cli, freshness, records, runner

from fercore import checkpoints
from fercore.errors import FercoreError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a fresh record, a stale one with its page, a stale one without, and a damaged one."""
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "count.py").write_text("# %%\nn = 1\n", encoding="utf-8")
    folder, machine = tmp_path / "results" / "count" / "faces", "an abacus, 2 threads"
    for name, seconds, training in (
        ("fresh", 1.0, {}),
        ("slow", 700.0, {"seconds": 90.0}),
        ("quick", 3.0, {}),
    ):
        facts = {"seconds": seconds, "hardware": machine, "notebook": "count.py", "versions": {}}
        facts["code"] = records.code("count") if name == "fresh" else {"atomic_path": "0"}
        record = {"schema": records.SCHEMA, "experiment": "count", "dataset": "faces", "provenance": facts}
        checkpoints.write_json(folder / f"{name}.json", record | {"training": training})
        about = {
            "experiment": "count",
            "dataset": "faces",
            "asked": {"dataset": "faces", "n": 2},
            "seconds": 3,
        }
        about["record"] = records.place(folder / f"{name}.json")
        about["record_sha256"] = checkpoints.digest(folder / f"{name}.json")
        if name != "slow":
            page = tmp_path / "book" / "runs" / "faces" / f"count-{name}.ipynb"
            checkpoints.write_json(page, {"metadata": {"fercore": about}})
    (folder / "zz.json").write_text("{", encoding="utf-8")
    return tmp_path


def test_lists_what_is_stale_and_what_it_takes(project: Path, capsys):
    assert cli.main(["refresh"]) == 1
    text = capsys.readouterr().out
    assert "fresh.json" not in text
    assert (
        "quick.json: atomic_path is gone; notebook is new\n    took 3 s, on an abacus, 2 threads; data"
        in text
    )
    assert "\n    ferlab run count --dataset faces -p n=2\n" in text
    assert text.index("zz.json is not a run record") < text.index("quick.json") < text.index("slow.json")
    assert "took 12 min, its network 90 s before, on an abacus, 2 threads; data: faces" in text
    assert text.endswith("3 to run again, 12 min in all without training.\n")
    assert cli.main(["status"]) == 1
    text = capsys.readouterr().out
    assert "fresh.json: fresh\n" in text
    assert "zz.json is not a run record" in text


def test_outside_a_checkout_all_records_count_and_inside_those_under_version_control(project, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert freshness.committed(records.paths()) == records.paths()
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    subprocess.run(["git", "-C", str(project), "add", "results/count/faces/zz.json"], check=True)
    assert [path.stem for path in freshness.committed(records.paths())] == ["zz"]


def test_renew_goes_on_after_a_failure(project: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    asked = []

    def run(*given: object) -> None:
        asked.append(given)
        if len(asked) == 1:
            raise FercoreError("no data")

    monkeypatch.setattr(runner, "run", run)
    for name in ("slow", "zz"):
        (project / "results" / "count" / "faces" / f"{name}.json").unlink()
    assert cli.main(["refresh", "--run"]) == 1
    assert capsys.readouterr().err == "ferlab: results/count/faces/quick.json: no data\n"
    assert cli.main(["refresh", "--run"]) == 0
    assert "made again: results/count/faces/quick.json\n1 of 1 stale runs" in capsys.readouterr().out
    assert asked == [("count", "faces", {"n": 2})] * 2
    assert cli.main(["refresh", "--run", "--minutes", "0.01"]) == 1  # left out: it took longer
    assert len(asked) == 2
