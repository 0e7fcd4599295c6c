"""The benchmark of the explainers runs, and its page says what its figures say."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import ROOT

for package in ("shap", "cv2"):
    pytest.importorskip(package)
sys.path.insert(0, str(ROOT / "benchmarks"))  # before the notebook of the same name
import _rivals  # noqa: E402
import _tables  # noqa: E402
import explainers  # noqa: E402


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What a quick run writes: the figures and the page."""
    folder = tmp_path_factory.mktemp("benchmark")
    sections = [part for name in ("slope", "accuracy", "speed") for part in ("--only", name)]
    explainers.main(["--quick", "--output", str(folder), *sections])
    return json.loads((folder / "explainers.json").read_text()), (folder / "explainers.md").read_text()


def test_every_method_has_a_row_that_ran_or_says_why_not(results):
    names = [method.name for method in _rivals.methods(lime_samples=20)]
    told = "".join(line for line in results[1].splitlines() if line.startswith("Not run ("))
    for cell in results[0]["speed"]["content"]:
        assert [row["method"] for row in cell["rows"]] == names
        for row in cell["rows"]:
            ran = row["skipped"] is None
            assert ran == bool(row["rounds"])
            assert row["ratio"] > 0 if ran else row["method"] in told


def test_evaluations_are_counted_at_the_network(results):
    rows = {row["method"]: row for row in results[0]["speed"]["content"][0]["rows"]}  # 64 regions
    assert rows["DnCShap absent"]["evaluations"] == 128
    assert rows["PartitionExplainer fixed_context=0, batch 256"]["evaluations"] == 128
    assert rows["released code's way"]["evaluations"] == rows["released code's way"]["calls"] == 128


def test_adapters_put_values_on_the_same_regions(results):
    rows = [row for row in results[0]["accuracy"]["content"]["rows"] if row["skipped"] is None]
    found = {(row["method"], row["output"]): row for row in rows}
    for output in ("probability", "logit"):
        shap = found["PartitionExplainer fixed_context=0, batch 256", output]
        assert found["DnCShap absent", output]["errors"] == pytest.approx(shap["errors"], rel=1e-3)
    for (method, _), row in found.items():
        if method.startswith(("captum", "LIME")):
            assert row["correlation"] > 0.7, method


def test_bars_follow_from_the_figures(results):
    data, page = results
    for line in data["slope"]["content"]:
        met = abs(line["slopes"]["seconds"] - 1) <= 0.05
        bar = next(b for b in data["bars"] if b["what"].startswith(f"DnCShap {line['contexts']}: slope"))
        assert bar["met"] is met
    assert page.count("| **no** |") == sum(bar["met"] is False for bar in data["bars"])


def test_cells_without_any_measurement_take_one_line_each(results):
    cell = results[0]["speed"]["content"][0]
    missed = [row | {"skipped": "takes too long here", "ratio": None, "expected": 9} for row in cell["rows"]]
    empty = [cell | {"regions": regions, "rows": missed} for regions in (512, 1024)]
    page = _tables.speed_tables([empty[0], cell, empty[1]])
    assert page.count("### ") == 2  # the cell, and one list for both others
    for regions in ("512", "1,024"):
        assert page.count(f"{regions} regions, 1 image (9 to 9 evaluations): takes too long here.") == 1


def test_memory_is_measured_from_the_same_start(capsys):
    explainers.main(["--memory-child", "cheap,64,4"])
    found = json.loads(capsys.readouterr().out)
    assert found["explained"]["host"] >= found["plain"]["host"] > 2**20


def test_cells_measured_again_take_the_place_of_the_old_ones(results):
    before = results[0]["speed"]
    new = before["content"][0] | {"floor_batch": 99}
    other = new | {"regions": 7}
    found = explainers.merged(before, before["about"] | {"date": "later"}, [other, new])
    assert found == [new, *before["content"][1:], other]
    with pytest.raises(SystemExit, match="another hardware"):
        explainers.merged(before, before["about"] | {"hardware": "x"}, [new])
