"""Which runs are stale, and how they are made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ferlab import provenance
from ferlab.runs import cli, freshness, records, runner

from fercore import checkpoints
from fercore.errors import FercoreError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one notebook, a fresh record, a stale one with its page, and a damaged one."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "count.py").write_text("# %%\nn = 1\n", encoding="utf-8")
    for module in (provenance, runner.provenance, records.provenance):
        monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    for name, seconds, wrong in (("fresh", 1.0, False), ("slow", 700.0, True), ("quick", 3.0, True)):
        record = {
            "schema": records.SCHEMA,
            "experiment": "count",
            "dataset": "faces",
            "training": {"seconds": 90.0} if name == "slow" else {},
            "provenance": {
                "seconds": seconds,
                "hardware": "an abacus, 2 threads",
                "notebook": "notebooks/count.py",
                "code": {"atomic_path": "0"} if wrong else records.code("count"),
                "versions": {},
            },
        }
        checkpoints.write_json(tmp_path / "results" / "count" / "faces" / f"{name}.json", record)
        page = {"metadata": {"fercore": {"experiment": "count", "dataset": "faces"}}}
        page["metadata"]["fercore"] |= {
            "asked": {"dataset": "faces", "n": 2},
            "record": f"results/count/faces/{name}.json",
        }
        if name != "slow":
            checkpoints.write_json(tmp_path / "book" / "runs" / "faces" / f"count-{name}.ipynb", page)
    (tmp_path / "results" / "count" / "faces" / "zz.json").write_text("{", encoding="utf-8")
    return tmp_path


def test_lists_what_is_stale_and_what_it_takes(project: Path):
    runs = {run.record.stem: run for run in freshness.stale_runs()}
    assert set(runs) == {"slow", "quick", "zz"}
    assert runs["quick"].reasons == ("atomic_path is gone", "notebook is new")
    assert runs["quick"].command == "ferlab run count --dataset faces -p n=2"
    assert runs["slow"].command == ""
    text = freshness.text(list(runs.values()))
    assert text.index("quick.json") < text.index("slow.json")
    assert "took 12 min, its network 90 s before, on an abacus, 2 threads; data: faces" in text
    assert "is not a run record" in text
    assert text.endswith("3 to run again, 12 min in all without training.")


def test_nothing_to_do(project: Path):
    fresh = project / "results" / "count" / "faces" / "fresh.json"
    assert freshness.stale_runs([fresh]) == []
    assert freshness.text([]) == "All runs are fresh."


def test_outside_a_checkout_all_records_count(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert freshness.committed(records.paths(project)) == records.paths(project)


def test_renew_goes_on_after_a_failure(project: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    asked = []

    def run(experiment: str, dataset: str, parameters: dict) -> None:
        asked.append((experiment, dataset, parameters))
        raise FercoreError("no data")

    monkeypatch.setattr(runner, "run", run)
    made, failures = freshness.renew(freshness.stale_runs(), most_seconds=60)
    assert (made, asked) == (0, [("count", "faces", {"n": 2})])
    assert failures == ["results/count/faces/quick.json: no data"]
    monkeypatch.setattr(runner, "run", lambda *_: None)
    assert freshness.renew(freshness.stale_runs())[0] == 1
    assert "made again: results/count/faces/quick.json" in capsys.readouterr().out


def test_command_line_exits_with_one_while_something_is_stale(project: Path, capsys):
    assert cli.main(["refresh"]) == 1
    assert "count --dataset faces -p n=2" in capsys.readouterr().out
    for name in ("slow", "quick", "zz"):
        (project / "results" / "count" / "faces" / f"{name}.json").unlink()
    assert cli.main(["refresh", "--committed"]) == 0
    assert cli.main(["refresh", "--run"]) == 0


def test_page_without_origin_is_named(tmp_path: Path):
    page = tmp_path / "x.ipynb"
    page.write_text(json.dumps({"metadata": {}}), encoding="utf-8")
    with pytest.raises(FercoreError, match=r"x\.ipynb does not say"):
        runner.asked_of(page)
