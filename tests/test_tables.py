"""The accuracy chapter: what means over folds can be, and the tables made of run records."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from docutils import nodes
from ferlab import provenance
from ferlab.runs import records
from ferlab.studies import arithmetic, paper, tables
from sklearn.model_selection import StratifiedKFold

from fercore import datasets
from fercore.errors import FercoreError

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = (ROOT / "book" / "accuracy.md").read_text(encoding="utf-8")
JAFFE, CKPLUS = (datasets.about(name).images for name in ("jaffe", "ckplus"))


def extension() -> ModuleType:
    """Import the extension as Sphinx does."""
    path = ROOT / "book" / "_ext" / "accuracy_tables.py"
    spec = importlib.util.spec_from_file_location("accuracy_tables", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy_tables"] = module
    spec.loader.exec_module(module)
    return module


accuracy_tables = extension()


def every_mean(sizes: list[int]) -> dict[Fraction, set[int]]:
    """Means of fold accuracies with their numbers of right images, fold by fold: the definition, nothing merged."""
    found: dict[Fraction, set[int]] = {}
    for right in itertools.product(*(range(size + 1) for size in sizes)):
        mean = sum(Fraction(r, size) for r, size in zip(right, sizes, strict=True)) / len(sizes)
        found.setdefault(mean, set()).add(sum(right))
    return found


def as_printed(mean: Fraction, decimals: int, way: str) -> Decimal:
    # 40 digits: far more than the two or three that are kept, and a tie of small fractions stays exact.
    share = Decimal(100 * mean.numerator) / Decimal(mean.denominator)
    return share.quantize(Decimal(1).scaleb(-decimals), rounding=way)


class TestArithmetic:
    @pytest.mark.parametrize(("images", "folds"), [(7, 3), (11, 4), (9, 1), (10, 5), (12, 5), (6, 6)])
    def test_means_are_those_of_brute_force(self, images: int, folds: int) -> None:
        sizes = arithmetic.fold_sizes(images, folds)
        numerators, right, denominator = arithmetic.fold_means(sizes)
        found: dict[Fraction, set[int]] = {}
        for numerator, count in zip(numerators.tolist(), right.tolist(), strict=True):
            found.setdefault(Fraction(numerator, denominator), set()).add(count)
        assert found == every_mean(list(sizes))

    def test_means_of_uneven_folds_are_those_of_brute_force(self) -> None:
        numerators, _, denominator = arithmetic.fold_means([2, 5, 3, 5])
        found = {Fraction(numerator, denominator) for numerator in numerators.tolist()}
        assert found == set(every_mean([2, 5, 3, 5]))

    @pytest.mark.parametrize("decimals", [0, 1, 2])
    @pytest.mark.parametrize(("images", "folds"), [(8, 4), (11, 4), (13, 3)])
    def test_printing_is_that_of_decimal(self, images: int, folds: int, decimals: int) -> None:
        means = every_mean(list(arithmetic.fold_sizes(images, folds)))
        rounded = {as_printed(m, decimals, way) for m in means for way in (ROUND_HALF_UP, ROUND_HALF_DOWN)}
        assert arithmetic.reachable_means(images, folds, decimals) == rounded
        cut = {as_printed(m, decimals, ROUND_DOWN) for m in means}
        assert arithmetic.reachable_means(images, folds, decimals, cut=True) == cut

    def test_verdict_agrees_with_the_set(self) -> None:
        sets = [arithmetic.reachable_means(29, 4, 1, cut=cut) for cut in (False, True)]
        for unit in range(1001):
            printed = Decimal(unit).scaleb(-1)
            found = arithmetic.verdict(29, 4, str(printed), 1)
            assert [bool(found.rounded), bool(found.cut)] == [printed in values for values in sets]

    @pytest.mark.parametrize("folds", [5, 10])
    def test_the_vgg16_cell_of_jaffe_is_impossible(self, folds: int) -> None:
        found = arithmetic.verdict(JAFFE, folds, "99.20")
        assert not found.possible
        assert found.text == "no"
        # Two errors in the smallest folds, and one in the largest: fewer or more lie farther away.
        assert found.below == 100 * (1 - Fraction(2, folds * max(found.sizes)))
        assert found.above == 100 * (1 - Fraction(1, folds * min(found.sizes)))

    @pytest.mark.parametrize("folds", [5, 10])
    def test_stratified_folds_do_not_make_it_possible(self, folds: int) -> None:
        counts = next(iter(datasets.about("jaffe").counts.values()))
        labels = np.repeat(np.arange(len(counts)), list(counts.values()))
        current = [len(test) for _, test in StratifiedKFold(folds).split(labels, labels)]
        # Dealt out emotion by emotion, as scikit-learn did before version 0.22, sizes differ by more than one.
        parts = [arithmetic.fold_sizes(count, folds) for count in counts.values()]
        dealt = [sum(part[fold] for part in parts) for fold in range(folds)]
        assert max(dealt) - min(dealt) > 1
        for sizes in (current, dealt):
            assert sum(sizes) == JAFFE
            cost = [Fraction(1, folds * size) for size in sizes]  # of one wrong image, by its fold
            assert 3 * min(cost) > Fraction("0.00805")  # so three are too many
            few = [
                sum(chosen) for n in (0, 1, 2) for chosen in itertools.combinations_with_replacement(cost, n)
            ]
            assert not any(
                Fraction("0.9920") - Fraction("0.00005") <= 1 - lost < Fraction("0.9921") for lost in few
            )

    def test_it_takes_many_folds(self) -> None:
        fewest = arithmetic.fewest_folds(JAFFE, "99.20")
        assert fewest > 40
        assert arithmetic.verdict(JAFFE, fewest, "99.20").possible
        assert arithmetic.fewest_folds(3, "66.67") == 1
        assert arithmetic.fewest_folds(3, "50.00") == 2  # both of the fold of two, and not the other one
        assert arithmetic.fewest_folds(3, "99.99") is None

    @pytest.mark.parametrize(
        ("images", "folds", "printed", "rounded", "cut"),
        [
            (JAFFE, 5, "91.97", (196,), (196,)),
            (JAFFE, 10, "91.97", (196,), ()),
            (JAFFE, 1, "91.97", (), ()),
            (JAFFE, 5, "90.16", (192,), (192,)),
            (JAFFE, 10, "90.16", (), ()),
            (CKPLUS, 5, "99.67", (), (924,)),
            (CKPLUS, 10, "99.67", (924,), (924,)),
            (CKPLUS, 1, "99.67", (), (924,)),
            (CKPLUS, 5, "99.02", (), (918,)),
            (CKPLUS, 10, "99.02", (918,), (918,)),
        ],
    )
    def test_other_cells(
        self, images: int, folds: int, printed: str, rounded: tuple[int, ...], cut: tuple[int, ...]
    ) -> None:
        # In closed form: a right images in the larger folds and b in the smaller ones, every pair, in whole numbers.
        small, many = images // folds, images % folds
        scale = folds * small * (small + 1)
        target, solved = round(100 * float(printed)) * scale, {"rounded": set(), "cut": set()}
        for a in range(many * (small + 1) + 1):
            for b in range((folds - many) * small + 1):
                off = 10_000 * (a * small + b * (small + 1)) - target
                if -scale <= 2 * off <= scale:
                    solved["rounded"].add(a + b)
                if 0 <= off < scale:
                    solved["cut"].add(a + b)
        assert (tuple(sorted(solved["rounded"])), tuple(sorted(solved["cut"]))) == (rounded, cut)
        found = arithmetic.verdict(images, folds, printed)
        assert (found.rounded, found.cut) == (rounded, cut)

    def test_all_cells_but_one_fit_five_folds_cut_off(self) -> None:
        for count, column in ((JAFFE, 2), (CKPLUS, 3)):
            for label, row in paper.TABLE_1.items():
                found = arithmetic.verdict(count, 5, f"{100 * row[column]:.2f}")
                assert bool(found.cut) == ((label, count) != ("VGG-16", JAFFE))
                if count == JAFFE:
                    assert not arithmetic.verdict(count, 1, f"{100 * row[column]:.2f}").possible

    def test_frames_of_ckplus(self) -> None:
        labelled, contempt = 327, 18  # sequences, as the release's own counts say
        assert 3 * (labelled - contempt) == CKPLUS

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: arithmetic.fold_sizes(3, 4), "3 images cannot be put into 4 folds"),
            (lambda: arithmetic.fold_sizes(3, 0), "0 folds"),
            (lambda: arithmetic.fold_means([3, 0]), "at least one image"),
            (lambda: arithmetic.fold_means([5000, 5001]), "too many to enumerate"),
            (lambda: arithmetic.fold_means([10007, 10009, 10037, 10039]), "common denominator"),
            (lambda: arithmetic.reachable_means(3, 2, 9), "decimals=9"),
            (lambda: arithmetic.verdict(3, 2, "99.201"), "99.201 is not a percentage"),
            (lambda: arithmetic.verdict(3, 2, "100.01"), "100.01 is not a percentage"),
        ],
    )
    def test_errors(self, call: Any, message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def record(accuracy: float = 0.6, fold: int = 0, dataset: str = "fer2013", **changes: Any) -> dict[str, Any]:
    """A record as the notebook leaves it; changes are parameters, but for protocol, copies and hardware."""
    protocol, copies = changes.pop("protocol", "official"), changes.pop("copies", None)
    hardware = changes.pop("hardware", "a CPU")
    known = {"model": "proposed", "fusion": "concatenate", "width": 0.25, "recipe": "paper", "epochs": 20}
    known |= {"pretrained": False, "seed": 0, "protocol": "", "dataset": dataset, "fold": fold, **changes}
    metrics = {"test": {"accuracy": accuracy}, "parameters": 1_800_000}
    return {
        "schema": records.SCHEMA,
        "experiment": "accuracy",
        "dataset": dataset,
        "model": known["model"],
        "protocol": protocol,
        "fold": fold,
        "parameters": known,
        "metrics": metrics | ({} if copies is None else {"without_copies": {"accuracy": copies}}),
        "training": {"hardware": hardware},
        "provenance": {
            "notebook": "notebooks/accuracy.py",
            "code": {},
            "versions": {},
        },
    }


def grouped(*records: dict[str, Any]) -> list[tables.Group]:
    return tables.groups({Path(f"/r/{number}.json"): content for number, content in enumerate(records)})


def texts(table: tables.Table) -> dict[str, list[list[str]]]:
    return {
        label: [[f"{e.note}|{e.text}" if e.note else e.text for e in cell] for cell in cells]
        for label, cells in table.rows
    }


class TestGroups:
    def test_folds_become_one_group(self) -> None:
        scores = [0.61, 0.62, 0.60, 0.63, 0.59]
        order = [3, 0, 4, 1, 2]
        (group,) = grouped(*(record(scores[f], f, protocol="paper") for f in order))
        assert group.folds == (0, 1, 2, 3, 4)
        assert group.accuracies == tuple(scores)
        assert [path.stem for path in group.records] == ["1", "3", "4", "0", "2"]
        assert group.mean == pytest.approx(np.mean(scores), abs=1e-12)
        assert group.sd == pytest.approx(np.std(scores, ddof=1), abs=1e-12)
        assert group.text == "61.0\u00a0% (5 folds, ± 1.6)"
        assert (group.parameters, group.hardware, group.without_copies) == (1_800_000, ("a CPU",), None)

    def test_one_fold_has_no_spread(self) -> None:
        assert grouped(record())[0].sd is None
        assert grouped(record())[0].text == "60.0\u00a0%"
        assert grouped(record(protocol="paper"))[0].text == "60.0\u00a0% (1 fold)"

    @pytest.mark.parametrize(
        "change",
        [
            {"fusion": "add"}, {"width": 1.0}, {"recipe": "strong"}, {"epochs": 30}, {"protocol": "paper"},
            {"pretrained": True}, {"precision": "bfloat16"}, {"seed": 1}, {"dataset": "jaffe"},
        ],
    )  # fmt: skip
    def test_any_other_difference_separates(self, change: dict[str, Any]) -> None:
        assert len(grouped(record(0.6, 0), record(0.7, 1, **change))) == 2
        assert len(grouped(record(0.6, 0), record(0.7, 1))) == 1

    def test_fusion_says_nothing_about_a_network_without_branches(self) -> None:
        (group,) = grouped(
            record(fold=0, model="vgg16", fusion="add"), record(fold=1, model="vgg16", fusion="concatenate")
        )
        assert (group.fusion, group.variant) == ("", "width 0.25, 20 epochs")

    def test_mean_without_copies_takes_folds_that_have_none_as_they_are(self) -> None:
        (group,) = grouped(record(0.6, 0, copies=0.5), record(0.7, 1))
        assert group.without_copies == pytest.approx(fmean([0.5, 0.7]))

    def test_other_experiments_are_ignored(self) -> None:
        assert grouped({**record(), "experiment": "leakage"}) == []

    def test_one_fold_twice_names_both_records(self) -> None:
        with pytest.raises(FercoreError, match=r"1\.json and .*0\.json are the same run"):
            grouped(record(0.6), record(0.7))

    @pytest.mark.parametrize("gone", ["metrics", "parameters", "protocol", "fold"])
    def test_incomplete_record_is_named(self, gone: str) -> None:
        content = record()
        del content[gone]
        with pytest.raises(FercoreError, match=rf"0\.json lacks .*{gone}"):
            grouped(content)


class TestTables:
    def test_without_runs_the_paper_stands_alone(self) -> None:
        first = tables.table_1([])
        assert first.headings[1:] == [*(f"Paper: {name}" for name in paper.DATASETS), "Ours on fer2013"]
        assert [label for label, _ in first.rows] == list(paper.ROWS.values())
        for label, cells in texts(first).items():
            assert cells == [*([f"{100 * value:.2f}\u00a0%"] for value in paper.TABLE_1[label]), []]
        second = texts(tables.table_2([]))
        assert second.pop("Ours: Proposed") == [[]] * len(paper.DATASETS)
        assert list(second) == [f"Paper: {name}" for name in paper.TABLE_2]
        assert second["Paper: DOG+CNN [38]"] == [["58.96\u00a0%"], [], [], []]

    def test_table_1_has_a_column_per_recipe_and_protocol(self) -> None:
        found = grouped(
            record(0.50, recipe="strong"),
            record(0.40, fusion="add"),
            record(0.41),
            record(0.42, width=1.0, precision="bfloat16"),
            record(0.30, model="vgg16", pretrained=True),
            record(0.99, dataset="jaffe", protocol="subject"),
        )
        table = tables.table_1(found, "fer2013", {"fer2013": "FER2013"})
        assert table.headings[5:] == [
            f"Ours on FER2013: recipe {name}, protocol official" for name in ("paper", "strong")
        ]
        rows = {label: cells[4:] for label, cells in texts(table).items()}
        assert rows["VGG-16"] == [["width 0.25, 20 epochs, ImageNet weights|30.0\u00a0%"], []]
        assert rows["Baseline"] == [[], []]
        assert rows["Proposed"] == [
            [
                "added, width 0.25, 20 epochs, precision –|40.0\u00a0%",
                "concatenated, width 0.25, 20 epochs, precision –|41.0\u00a0%",
                "concatenated, width 1, 20 epochs, precision bfloat16|42.0\u00a0%",
            ],
            ["concatenated, width 0.25, 20 epochs|50.0\u00a0%"],
        ]

    def test_table_2_has_a_row_per_way_and_a_cell_per_dataset(self) -> None:
        found = grouped(
            record(0.40),
            record(0.50, dataset="jaffe", protocol="paper"),
            record(0.60, 0, dataset="ckplus", protocol="paper"),
            record(0.70, 1, dataset="ckplus", protocol="paper"),
            record(0.30, model="vgg16"),
        )
        ours = {label: cells for label, cells in texts(tables.table_2(found)).items() if "Ours" in label}
        way = "Ours: Proposed, concatenated, width 0.25, 20 epochs, recipe paper, protocol"
        assert ours == {
            f"{way} official": [["40.0\u00a0%"], [], [], []],
            f"{way} paper": [[], [], ["50.0\u00a0% (1 fold)"], ["65.0\u00a0% (2 folds, ± 7.1)"]],
        }

    def test_seeds_in_one_cell_are_told_apart(self) -> None:
        found = grouped(record(0.4), record(0.5, seed=1))
        assert texts(tables.table_2(found))[
            "Ours: Proposed, concatenated, width 0.25, 20 epochs, recipe paper, protocol official"
        ][0] == ["seed 0|40.0\u00a0%", "seed 1|50.0\u00a0%"]

    def test_ranks_are_counted_from_table_2(self) -> None:
        rows = texts(tables.ranks())
        for column, name in enumerate(paper.DATASETS):
            peers = [row[column] for peer, row in paper.TABLE_2.items() if peer != "Proposed" and row[column]]
            ordered = sorted([*peers, paper.TABLE_2["Proposed"][column]], reverse=True)
            place = ordered.index(paper.TABLE_2["Proposed"][column])
            assert rows[name][1] == [f"{place} of {len(peers)}"]
            assert rows[name][2][0].startswith(f"{100 * max(peers):.2f}")

    def test_published_records_make_tables(self) -> None:
        tables.table_1(tables.load())
        tables.table_2(tables.load())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two folds, of which one has a page, and a damaged page."""
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    for fold in (0, 1):
        path = tmp_path / "results" / "accuracy" / "fer2013" / f"x-{fold}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(0.5 + fold / 10, fold, protocol="paper", copies=0.5)))
    pages = tmp_path / "book" / "runs" / "fer2013"
    pages.mkdir(parents=True)
    about = {"record": "results/accuracy/fer2013/x-1.json"}
    (pages / "accuracy-1.ipynb").write_text(json.dumps({"metadata": {"fercore": about}, "cells": []}))
    (pages / "broken.ipynb").write_text("{")
    return tmp_path


def directive(root: Path, kind: str, found_docs: set[str], **options: str) -> Any:
    """An AccuracyTable as Sphinx would call it, but for the parser around it."""
    made = accuracy_tables.AccuracyTable.__new__(accuracy_tables.AccuracyTable)
    rereads: list[bool] = []
    environment = SimpleNamespace(
        srcdir=str(root),
        docname="book/accuracy",
        found_docs=found_docs,
        note_reread=lambda: rereads.append(True),
    )
    made.arguments, made.options, made.rereads = [kind], options, rereads
    made.state = SimpleNamespace(document=SimpleNamespace(settings=SimpleNamespace(env=environment)))
    made.state_machine = SimpleNamespace()
    made.lineno = 1
    made.get_location = lambda: "page:1"
    return made


class TestDirectives:
    def test_numbers_link_to_pages_of_the_book_only(self, project: Path) -> None:
        for docs, linked in (({"book/runs/fer2013/accuracy-1"}, True), (set(), False)):
            made = directive(project, "table-1", docs)
            (box,) = made.run()
            assert made.rereads  # so that every build reads the records again
            targets = [node["reftarget"] for node in box.findall(lambda n: n.tagname == "pending_xref")]
            assert targets == (["/book/runs/fer2013/accuracy-1"] if linked else [])
            (mark,) = box.findall(nodes.abbreviation)
            assert mark.astext() == "55.0\u00a0% (2 folds, ± 7.1)"
            assert mark["explanation"].startswith(
                "results/accuracy/fer2013/x-0.json, results/accuracy/fer2013/x-1.json; 1,800,000 parameters"
            )
            assert "; without copies 50.0\u00a0%" in box.astext()
            assert "full-width" in box["classes"]

    def test_no_run_is_a_dash(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
        (box,) = directive(tmp_path, "table-1", set()).run()
        cells = [entry.astext() for entry in box.findall(nodes.entry)]
        assert cells.count(accuracy_tables.DASH) == len(paper.ROWS)
        stubs = [column.get("stub") for column in box.findall(nodes.colspec)]
        assert stubs == [1, None, None, None, None, None]

    def test_damaged_record_is_a_warning(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (project / "results" / "accuracy" / "fer2013" / "x-0.json").write_text("{")
        warnings: list[str] = []
        monkeypatch.setattr(
            accuracy_tables.logger, "warning", lambda text, *a, **_: warnings.append(text % a)
        )
        (box,) = directive(project, "table-2", set()).run()
        assert len(warnings) == 1
        assert "x-0.json" in warnings[0]
        assert "62.62" in box.astext()

    @pytest.mark.parametrize("kind", accuracy_tables.KINDS)
    def test_every_row_is_as_wide_as_the_head(self, project: Path, kind: str) -> None:
        (box,) = directive(project, kind, set(), caption="A table").run()
        assert len({len(row) for row in box.findall(nodes.row)}) == 1
        assert next(box.findall(nodes.title)).astext() == "A table"

    def test_sentences(self) -> None:
        text = accuracy_tables.sentence(JAFFE, 5, "99.20").replace("\u00a0", " ")
        assert "213 images in 5 folds of 42 or 43: 99.20 % is impossible" in text
        assert "99.070 % and 99.524 %; it takes at least" in text
        text = accuracy_tables.sentence(CKPLUS, 5, "99.67")
        assert text.endswith("possible, if further decimals are cut off, with 924 right.")
        assert accuracy_tables.sentence(JAFFE, 10, "91.97").endswith(", if it is rounded, with 196 right.")
        assert accuracy_tables.sentence(3, 1, "33.33").endswith("is possible, with 1 right.")
        assert accuracy_tables.sentence(3, 1, "99.99").endswith("no number of folds gives it.")


class TestChapter:
    def test_every_printed_percentage_is_the_paper_s(self) -> None:
        published = {
            f"{100 * v:.2f}" for row in (*paper.TABLE_1.values(), *paper.TABLE_2.values()) for v in row if v
        }
        printed = set(re.findall(r"(\d+\.\d+) %", CHAPTER))
        assert {"99.20", "91.97", "26.98", "30.50"} <= printed <= published

    def test_numbers_of_right_images_are_computed(self) -> None:
        said = re.search(
            r"fits (\d+) of (\d+) right.*?fit (\d+) and (\d+) of (\d+)\s+right", CHAPTER, re.DOTALL
        )
        right = [
            arithmetic.verdict(JAFFE, 5, "91.97").cut[0],
            JAFFE,
            *(arithmetic.verdict(CKPLUS, 5, printed).cut[0] for printed in ("99.67", "99.02")),
            CKPLUS,
        ]
        assert [int(number) for number in said.groups()] == right

    def test_reachable_directives_are_impossible_ones(self) -> None:
        calls = re.findall(r"```\{reachable\} (\d+) (\d+) (\S+)", CHAPTER)
        assert [(int(images), printed) for images, _, printed in calls] == [(JAFFE, "99.20")] * 2
        assert not any(arithmetic.verdict(int(n), int(k), printed).possible for n, k, printed in calls)
        assert len(paper.TABLE_2) - 1 == 12  # "twelve published methods"
        assert paper.table_1("vgg16")["jaffe"] == paper.table_1("vgg16")["ferg"] == 0.9920

    def test_commands_have_known_parameters(self) -> None:
        notebook = (ROOT / "notebooks" / "accuracy.py").read_text(encoding="utf-8")
        known = set(
            re.findall(r"^(\w+) = ", notebook.split('tags=["parameters"]')[1].split("# %%")[0], re.MULTILINE)
        )
        given = set(re.findall(r"-p (\w+)=", CHAPTER))
        assert {"model", "recipe", "width", "fold"} <= given <= known


def test_paper_and_ours_have_a_number_in_every_row():
    table = tables.paper_and_ours([], {"fer2013": "FER2013"})
    assert len(table.rows) == 16
    label, cells = table.rows[3]
    assert [label, *(cell[0].text for cell in cells)] == [
        "FER2013",
        "Proposed",
        "the paper",
        "its Table 1, random folds",
        "62.62\u00a0%",
    ]
