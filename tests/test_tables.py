"""The accuracy chapter: what means over folds can be, and the tables made of run records."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import accuracy_tables
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, build_book
from ferlab import provenance
from ferlab.runs import records
from ferlab.studies import arithmetic, paper, tables
from sklearn.model_selection import StratifiedKFold

from fercore import datasets
from fercore.errors import FercoreError

CHAPTER = (ROOT / "book" / "accuracy.md").read_text(encoding="utf-8")
JAFFE, CKPLUS = (datasets.about(name).images for name in ("jaffe", "ckplus"))


# --- arithmetic -------------------------------------------------------------------------------------------------------


def every_mean(sizes: list[int]) -> dict[Fraction, set[int]]:
    """Means of fold accuracies with their numbers of right images, fold by fold: the definition, nothing merged."""
    found = defaultdict(set)
    for right in itertools.product(*(range(size + 1) for size in sizes)):
        mean = sum(Fraction(r, size) for r, size in zip(right, sizes, strict=True)) / len(sizes)
        found[mean].add(sum(right))
    return found


@pytest.mark.parametrize(("images", "folds"), [(11, 4), (9, 1), (10, 5)])
def test_means_are_those_of_brute_force(images, folds):
    numerators, right, denominator = arithmetic.fold_means(images, folds)
    found = defaultdict(set)
    for numerator, count in zip(numerators.tolist(), right.tolist(), strict=True):
        found[Fraction(numerator, denominator)].add(count)
    assert found == every_mean([images // folds + (fold < images % folds) for fold in range(folds)])


def test_printing_is_that_of_decimal():
    ways, printed = (ROUND_HALF_UP, ROUND_HALF_DOWN, ROUND_DOWN), defaultdict(set)
    for mean, right in every_mean([4, 4, 3, 3]).items():
        share = Decimal(100 * mean.numerator) / Decimal(mean.denominator)  # 28 digits: a tie stays exact
        for way in ways:
            printed[way, share.quantize(Decimal("0.01"), way)].update(right)
    near = {int(100 * shown) + step for _, shown in printed for step in (-1, 0, 1)}
    for unit in sorted(near & set(range(10001))):
        shown = Decimal(unit).scaleb(-2)
        up, down, cut = (printed[way, shown] for way in ways)
        found = arithmetic.verdict(14, 4, str(shown))
        assert (set(found.rounded), set(found.cut)) == (up | down, cut)


@pytest.mark.parametrize("folds", [5, 10])
def test_the_vgg16_cell_of_jaffe_is_impossible_in_stratified_folds_too(folds):
    found = arithmetic.verdict(JAFFE, folds, "99.20")
    assert (found.possible, found.text) == (False, "no")
    # Two errors in the smallest folds, and one in the largest: fewer or more lie farther away.
    assert found.below == 100 * (1 - Fraction(2, folds * max(found.sizes)))
    assert found.above == 100 * (1 - Fraction(1, folds * min(found.sizes)))
    counts = next(iter(datasets.about("jaffe").counts.values()))
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    current = [len(test) for _, test in StratifiedKFold(folds).split(labels, labels)]
    # Dealt out emotion by emotion, as scikit-learn did before version 0.22, sizes differ by more than one.
    dealt = [sum(c // folds + (fold < c % folds) for c in counts.values()) for fold in range(folds)]
    assert max(dealt) - min(dealt) > 1
    for sizes in (current, dealt):
        assert sum(sizes) == JAFFE
        cost = [Fraction(1, folds * size) for size in sizes]  # of one wrong image, by its fold
        assert 3 * min(cost) > Fraction("0.00805")  # so three are too many
        few = [sum(c) for n in (0, 1, 2) for c in itertools.combinations_with_replacement(cost, n)]
        assert not any(Fraction("0.99195") <= 1 - lost < Fraction("0.9921") for lost in few)


def test_fewest_folds_and_the_cells_that_fit_five():
    fewest = arithmetic.fewest_folds(JAFFE, "99.20")
    assert fewest > 40
    assert arithmetic.verdict(JAFFE, fewest, "99.20").possible
    assert [arithmetic.fewest_folds(3, p) for p in ("66.67", "50.00", "99.99")] == [1, 2, None]
    for (count, column), (label, row) in itertools.product([(JAFFE, 2), (CKPLUS, 3)], paper.TABLE_1.items()):
        found = arithmetic.verdict(count, 5, f"{100 * row[column]:.2f}")
        assert bool(found.cut) == ((label, count) != ("VGG-16", JAFFE))


@pytest.mark.parametrize("call", [(3, 4, "50"), (99_999, 2, "50"), (3, 2, "99.201"), (3, 2, "101")])
def test_what_cannot_be_asked(call):
    with pytest.raises(ValueError, match=r"cannot be put|too many|not a percentage"):
        arithmetic.verdict(*call)


# --- tables -----------------------------------------------------------------------------------------------------------


def record(accuracy=0.6, fold=0, dataset="fer2013", **changes):
    """A record as the notebook leaves it; changes are parameters, but for protocol and copies."""
    protocol, copies = changes.pop("protocol", "official"), changes.pop("copies", None)
    known = {"model": "proposed", "fusion": "concatenate", "width": 0.25, "recipe": "paper", "epochs": 20}
    known |= {"seed": 0, "dataset": dataset, "fold": fold, **changes}
    metrics = {"test": {"accuracy": accuracy}, "parameters": 1_800_000}
    metrics |= {} if copies is None else {"without_copies": {"accuracy": copies}}
    about = {"experiment": "accuracy", "dataset": dataset, "model": known["model"], "fold": fold}
    about |= {"protocol": protocol, "schema": records.SCHEMA, "parameters": known, "metrics": metrics}
    origin = {"notebook": "notebooks/accuracy.py", "code": {}, "versions": {}}
    return about | {"provenance": origin, "training": {"hardware": "a CPU"}}


def grouped(*records):
    return tables.groups({Path(f"/r/{number}.json"): content for number, content in enumerate(records)})


def shown(cell):
    return cell if isinstance(cell, str) else ["|".join(filter(None, (note, g.text))) for g, note in cell]


def test_folds_become_one_group():
    scores = [0.61, 0.62, 0.60, 0.63, 0.59]
    (group,) = grouped(*(record(scores[f], f, protocol="paper") for f in (3, 0, 4, 1, 2)))
    assert group.runs.accuracy.tolist() == scores
    assert [path.stem for path in group.runs.record] == ["1", "3", "4", "0", "2"]
    assert (group.mean, group.sd) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)), abs=1e-12)
    assert (group.text, group.without_copies) == ("61.0\u00a0% (5 folds, ± 1.6)", None)
    assert grouped(record())[0].text == "60.0\u00a0%"
    assert grouped(record(protocol="paper"))[0].text == "60.0\u00a0% (1 fold)"
    (mixed,) = grouped(record(0.6, 0, copies=0.5), record(0.7, 1))  # a fold without copies counts as it is
    assert mixed.without_copies == pytest.approx((0.5 + 0.7) / 2)
    (plain,) = grouped(*(record(fold=n, model="vgg16", fusion=way) for n, way in enumerate(tables.FUSIONS)))
    assert plain.variant == "width 0.25, 20 epochs"  # a network without branches has no fusion


@pytest.mark.parametrize(
    "change", [{"fusion": "add"}, {"width": 1.0}, {"protocol": "paper"}, {"seed": 1}, {"dataset": "jaffe"}]
)
def test_any_other_difference_separates(change):
    assert len(grouped(record(0.6, 0), record(0.7, 1, **change))) == 2


def test_what_cannot_be_grouped_is_named():
    assert grouped({**record(), "experiment": "leakage"}) == []
    with pytest.raises(FercoreError, match=r"1\.json and .*0\.json are the same run"):
        grouped(record(0.6), record(0.7))
    with pytest.raises(FercoreError, match=r"0\.json lacks .*metrics"):
        grouped({name: value for name, value in record().items() if name != "metrics"})


def test_without_runs_the_paper_stands_alone():
    first, second = tables.table_1([]).map(shown), tables.table_2([]).map(shown)
    for label, cells in first.iterrows():
        assert cells.tolist() == [*(f"{100 * value:.2f}\u00a0%" for value in paper.TABLE_1[label]), []]
    assert second.loc["Ours: Proposed"].tolist() == [[]] * len(paper.DATASETS)
    assert second.loc["Paper: DOG+CNN [38]"].tolist() == ["58.96\u00a0%", [], [], []]
    assert len(tables.paper_and_ours([])) == 16


def test_table_1_has_a_column_per_recipe_and_protocol():
    found = grouped(
        record(0.50, recipe="strong"),
        record(0.40, fusion="add"),
        record(0.42, width=1.0, precision="bfloat16"),
        record(0.30, model="vgg16", pretrained=True),
        record(0.99, dataset="jaffe", protocol="subject"),
    )
    ours = tables.table_1(found, "fer2013").iloc[:, 4:].map(shown)
    assert list(ours) == [
        f"Ours on FER2013: recipe {name}, protocol official" for name in ("paper", "strong")
    ]
    assert ours.loc["VGG-16"].tolist() == [["width 0.25, 20 epochs, ImageNet weights|30.0\u00a0%"], []]
    assert ours.loc["Baseline"].tolist() == [[], []]
    paper_recipe = [
        "added, width 0.25, 20 epochs, precision –|40.0\u00a0%",
        "concatenated, width 1, 20 epochs, precision bfloat16|42.0\u00a0%",
    ]
    strong = ["concatenated, width 0.25, 20 epochs|50.0\u00a0%"]
    assert ours.loc["Proposed"].tolist() == [paper_recipe, strong]


def test_table_2_has_a_row_per_way_and_a_cell_per_dataset():
    folds = [record(0.6 + fold / 10, fold, dataset="ckplus", protocol="paper") for fold in (0, 1)]
    found = grouped(record(0.40), record(0.45, seed=1), *folds, record(0.30, model="vgg16"))
    ours = tables.table_2(found).map(shown).filter(like="Ours", axis=0)
    way = "Ours: Proposed, concatenated, width 0.25, 20 epochs, recipe paper, protocol"
    assert dict(zip(ours.index, ours.to_numpy().tolist(), strict=True)) == {
        f"{way} official": [["seed 0|40.0\u00a0%", "seed 1|45.0\u00a0%"], [], [], []],
        f"{way} paper": [[], [], [], ["65.0\u00a0% (2 folds, ± 7.1)"]],
    }
    assert len(tables.paper_and_ours(found)) == 16 + 4


# --- the chapter ------------------------------------------------------------------------------------------------------


def built(root, *kinds):
    """Build a page of tables and the run's page; return the first as HTML, and the warnings."""
    tables = "".join(f"\n```{{accuracy-table}} {kind}\n:caption: {kind}\n```\n" for kind in kinds)
    (root / "index.md").write_text(f"# Page\n{tables}\n```{{toctree}}\nbook/runs/fer2013/accuracy-1\n```\n")
    options = {"exclude_patterns": ["results"], "nb_execution_mode": "off"}
    options["source_suffix"] = dict.fromkeys([".md", ".ipynb"], "myst-nb")
    app, said = build_book(root, extensions=["myst_nb", "accuracy_tables"], **options)
    page = (Path(app.outdir) / "index.html").read_text(encoding="utf-8")
    return BeautifulSoup(page, "html.parser"), said


def test_the_tables_of_a_book_and_a_damaged_record(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path / "book")
    root = tmp_path / "book"
    pages, folder = root / "book" / "runs" / "fer2013", root / "results" / "accuracy" / "fer2013"
    for path in (pages, folder):
        path.mkdir(parents=True)
    for fold in (0, 1):
        content = record(0.5 + fold / 10, fold, protocol="paper", copies=0.5)
        (folder / f"x-{fold}.json").write_text(json.dumps(content))
    about = {"record": "results/accuracy/fer2013/x-1.json", "experiment": "accuracy", "dataset": "fer2013"}
    about |= {"asked": {}, "seconds": 1.0, "record_sha256": "0"}
    cell = nbformat.v4.new_markdown_cell("# A run")
    nbformat.write(
        nbformat.v4.new_notebook(cells=[cell], metadata={"fercore": about}), pages / "accuracy-1.ipynb"
    )
    page, said = built(root, *accuracy_tables.KINDS)
    assert said == ""
    found = dict(zip(accuracy_tables.KINDS, page.find_all("table"), strict=True))
    for kind, table in found.items():  # every row is as wide as the head
        assert len({len(row.find_all(["th", "td"])) for row in table.find_all("tr")}) == 1
        assert kind in table.caption.get_text()
    (mark,) = found["table-1"].find_all("abbr")
    assert mark.get_text() == "55.0\u00a0% (2 folds, ± 7.1)"
    assert mark.a["href"] == "book/runs/fer2013/accuracy-1.html"
    places = ", ".join(f"results/accuracy/fer2013/x-{fold}.json" for fold in (0, 1))
    assert mark["title"] == f"{places}; 1,800,000 parameters; trained on a CPU"
    assert "; without copies 50.0\u00a0%" in found["table-1"].get_text()
    (folder / "x-0.json").write_text("{")
    page, said = built(root, "table-1")
    assert "x-0.json" in said
    assert [cell.get_text() for cell in page.find_all("td")].count(accuracy_tables.DASH) == len(paper.ROWS)


def test_sentences():
    text = accuracy_tables.sentence(JAFFE, 5, "99.20").replace("\u00a0", " ")
    assert "213 images in 5 folds of 42 or 43: 99.20 % is impossible" in text
    assert "99.070 % and 99.524 %; it takes at least" in text
    assert accuracy_tables.sentence(JAFFE, 10, "91.97").endswith(", if it is rounded, with 196 right.")
    assert accuracy_tables.sentence(3, 1, "33.33").endswith("is possible, with 1 right.")
    assert accuracy_tables.sentence(3, 1, "99.99").endswith("no number of folds gives it.")


def test_the_chapter_prints_the_paper_s_numbers_and_computed_ones():
    rows = (*paper.TABLE_1.values(), *paper.TABLE_2.values())
    published = {f"{100 * value:.2f}" for row in rows for value in row if value}
    assert {"99.20", "91.97", "26.98", "30.50"} <= set(re.findall(r"(\d+\.\d+) %", CHAPTER)) <= published
    said = re.search(r"fits (\d+) of (\d+) right.*?fit (\d+) and (\d+) of (\d+)\s+right", CHAPTER, re.DOTALL)
    jaffe, *ckplus = (
        arithmetic.verdict(count, 5, printed).cut[0]
        for count, printed in ((JAFFE, "91.97"), (CKPLUS, "99.67"), (CKPLUS, "99.02"))
    )
    assert [int(number) for number in said.groups()] == [jaffe, JAFFE, *ckplus, CKPLUS]
    calls = re.findall(r"```\{reachable\} (\d+) (\d+) (\S+)", CHAPTER)
    assert [(int(images), printed) for images, _, printed in calls] == [(JAFFE, "99.20")] * 2
    assert len(paper.TABLE_2) - 1 == 12  # "twelve published methods"
    assert paper.table_1("vgg16")["jaffe"] == paper.table_1("vgg16")["ferg"] == 0.9920


def test_commands_of_the_chapter_have_known_parameters():
    notebook = (ROOT / "notebooks" / "accuracy.py").read_text(encoding="utf-8")
    cell = notebook.split('tags=["parameters"]')[1].split("# %%")[0]
    given = set(re.findall(r"-p (\w+)=", CHAPTER))
    assert {"model", "recipe", "width", "fold"} <= given <= set(re.findall(r"^(\w+) = ", cell, re.MULTILINE))
