"""The book without building it: its extensions, its references, its house rules, and the files beside it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from ferlab.faces import action_units
from pybtex import database

from fercore import datasets
from fercore.emotions import EMOTIONS

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
PROSE = sorted(BOOK.glob("*.md"))
HOSTILE = "<script>alert('x')</script>&\""


def extension(name: str) -> ModuleType:
    """Import an extension as Sphinx does, by its name with book/_ext on the path."""
    sys.path.insert(0, str(BOOK / "_ext"))
    try:
        spec = importlib.util.find_spec(name)
        assert spec is not None, f"book/_ext/{name}.py is missing"
        module = sys.modules.get(name) or importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BOOK / "_ext"))


records, run_table = extension("records"), extension("run_table")
provenance, mathjax_local = extension("provenance"), extension("mathjax_local")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one record."""
    record = {
        "schema": 1,
        "experiment": "accuracy",
        "dataset": "fer2013",
        "model": "proposed",
        "protocol": "official",
        "fold": 0,
        "parameters": {"width": 0.25},
        "metrics": {
            "test": {"accuracy": 0.62617, "images": 3589, "per_class": [0.5, 0.25]},
            "test_without_duplicates": {"accuracy": 0.6},
            "floor": 0.25,
        },
        "training": {"seconds": 7200.0},
        "provenance": {"started": "2026-11-22T10:00:00+00:00", "seconds": 61.2, "hardware": HOSTILE},
    }
    folder = tmp_path / "results"
    (folder / "fer2013").mkdir(parents=True)
    (folder / "fer2013" / "accuracy-w0.25.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "fer2013" / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "secret.json").write_text('{"key": 1}', encoding="utf-8")
    return folder


class TestRecords:
    @pytest.mark.parametrize(
        ("reference", "printed"),
        [
            ("metrics.test.accuracy:.4f", "0.6262"),
            ("metrics.test.accuracy:.1%", "62.6%"),
            ("metrics.test.images:,d", "3,589"),
            ("metrics.test.per_class.1:.2f", "0.25"),
            ("protocol", "official"),
            ("provenance.seconds", "61.2"),
        ],
    )
    def test_quotes_value_in_its_format(self, results: Path, reference: str, printed: str) -> None:
        assert records.quote(results, f"fer2013/accuracy-w0.25.json:{reference}") == printed

    @pytest.mark.parametrize(
        ("reference", "named"),
        [
            ("fer2013/absent.json:metrics", r"fer2013/absent\.json.*'metrics'"),
            (
                "fer2013/accuracy-w0.25.json:metrics.test.precision",
                r"accuracy-w0\.25\.json.*'metrics\.test\.prec",
            ),
            ("fer2013/accuracy-w0.25.json:metrics.test.per_class.9", "no key"),
            ("fer2013/accuracy-w0.25.json:metrics.test.accuracy.more", "no key"),
            ("fer2013/accuracy-w0.25.json:metrics", "not a single value"),
            ("fer2013/accuracy-w0.25.json:protocol:.4f", "cannot be shown"),
            ("fer2013/broken.json:metrics", "cannot be read"),
            ("../secret.json:key", "no such record"),
            ("fer2013/accuracy-w0.25:metrics", "not of the form"),
            ("fer2013/accuracy-w0.25.json", "not of the form"),
        ],
    )
    def test_error_names_file_and_key(self, results: Path, reference: str, named: str) -> None:
        with pytest.raises(records.RecordError, match=named):
            records.quote(results, reference)

    def test_role_warns_about_unknown_key(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        warnings: list[str] = []
        monkeypatch.setattr(records.logger, "warning", lambda text, *args, **_: warnings.append(text % args))
        role = records.RecordRole()
        role.text = role.rawtext = "fer2013/accuracy-w0.25.json:metrics.gone"
        noted: list[str] = []
        environment = SimpleNamespace(srcdir=str(results.parent), note_dependency=noted.append)
        monkeypatch.setattr(records.RecordRole, "env", environment)
        monkeypatch.setattr(role, "get_location", lambda: "page:1", raising=False)
        nodes, _ = role.run()
        assert nodes[0].astext() == "??"
        assert len(warnings) == 1
        assert "accuracy-w0.25.json" in warnings[0]
        assert "metrics.gone" in warnings[0]
        role.text = "fer2013/accuracy-w0.25.json:metrics.test.images"
        nodes, _ = role.run()
        assert nodes[0].astext() == "3589"
        assert noted == ["results/fer2013/accuracy-w0.25.json"]

    def test_table_row(self, results: Path) -> None:
        cells = run_table.row(records.load(results / "fer2013" / "accuracy-w0.25.json"))
        assert len(cells) == len(run_table.HEADINGS) - 1
        assert cells[:4] == ["fer2013", "accuracy", "proposed", "official, fold 0"]
        assert cells[4] == "test 62.6\u00a0%, test without duplicates 60.0\u00a0%"
        assert cells[5:8] == ["2026-11-22", "61\u00a0s", "7,200\u00a0s"]

    def test_table_row_of_an_almost_empty_record(self) -> None:
        assert set(run_table.row({"metrics": [1]})) == {"–"}

    @pytest.mark.parametrize(
        "path", sorted((ROOT / "results").glob("*/*/[!.]*.json")), ids=lambda path: path.stem
    )
    def test_committed_records_fit_the_table(self, path: Path) -> None:
        cells = run_table.row(records.load(path))
        assert cells[0] == path.parent.name
        assert "–" not in cells[:2]
        if cells[1] == "accuracy":  # others may compare networks, or train none
            assert "–" not in cells[:4]


class TestProvenance:
    def run(self, **more: Any) -> dict[str, Any]:
        facts = {
            "experiment": "accuracy",
            "dataset": "faces",
            "started": "2026-11-22T10:00:00+00:00",
            "seconds": 3725,
        }
        return {**facts, **more}

    def test_shows_facts(self) -> None:
        html = provenance.render(self.run(seed=0, versions={"torch": "2.13.0"}), "abc")
        assert "<dt>Duration</dt><dd>1 h 02 min</dd>" in html
        assert "<dd>2026-11-22 10:00:00 UTC</dd>" in html
        assert "<dt>Seed</dt><dd>0</dd>" in html
        assert "<code>torch = 2.13.0</code>" in html
        assert "Commit" not in html  # absent, so not shown as empty

    def test_escapes_everything(self) -> None:
        facts = dict.fromkeys(provenance.FIELDS, HOSTILE) | {"parameters": {HOSTILE: HOSTILE}}
        html = provenance.render(facts, HOSTILE, record_url=f"x{HOSTILE}")
        assert "<script" not in html
        assert html.count("&lt;script&gt;") >= len(provenance.FIELDS)
        assert "<script" not in provenance.render({}, HOSTILE)

    def test_page_of_prose_names_the_commit(self) -> None:
        assert "commit <code>abc1234</code>" in provenance.render({}, "abc1234")
        assert "without version control" in provenance.render({}, "")

    @pytest.mark.parametrize(
        ("seconds", "text"), [(4.21, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
    )
    def test_duration(self, seconds: float, text: str) -> None:
        assert provenance.duration(seconds) == text

    def test_reads_metadata_of_notebooks_only(self, tmp_path: Path) -> None:
        page = tmp_path / "run.ipynb"
        page.write_text(json.dumps({"metadata": {"fercore": {"seed": 1}}}), encoding="utf-8")
        assert provenance.read_metadata(page) == {"seed": 1}
        page.write_text(json.dumps({"metadata": {}}), encoding="utf-8")
        assert provenance.read_metadata(page) == {}
        assert provenance.read_metadata(BOOK / "intro.md") == {}

    def test_pages_without_a_document_are_left_alone(self) -> None:
        context = {"body": "search"}
        provenance.add_provenance(None, "search", "search.html", context, None)
        assert context == {"body": "search"}


class TestMathJax:
    def test_missing_distribution_says_what_to_do(self) -> None:
        from sphinx.errors import ExtensionError

        with pytest.raises(ExtensionError, match=r"no-such-distribution is not installed; .*pip install"):
            mathjax_local.find_mathjax("no-such-distribution")

    def test_copies_the_one_file(self, tmp_path: Path) -> None:
        importlib.metadata.distribution(mathjax_local.DISTRIBUTION)
        mathjax_local.copy_mathjax(
            SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=str(tmp_path))
        )
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path.relative_to(tmp_path).as_posix() for path in files] == [
            "_static/mathjax/tex-svg-full.js"
        ]
        assert files[0].stat().st_size > 10**6

    def test_other_formats_get_nothing(self, tmp_path: Path) -> None:
        mathjax_local.copy_mathjax(
            SimpleNamespace(builder=SimpleNamespace(format="latex"), outdir=str(tmp_path))
        )
        assert not list(tmp_path.iterdir())


def toc_files() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    sections = [section for chapter in chapters for section in chapter.get("sections", [])]
    return [toc["root"], *(entry["file"] for entry in [*chapters, *sections])]


def words(text: str) -> int:
    """Count words of prose: without code, formulas, tables, directives' options and markup."""
    text = re.sub(r"```\{math\}.*?```|\$\$.*?\$\$|```\w+\n.*?```", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||:\w+:|`{3,}|\()", line)]
    return len(
        re.findall(
            r"[A-Za-zÀ-ÿ][\w'’-]*", re.sub(r"\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`", "", "\n".join(lines))
        )
    )


def whole(path: Path) -> str:
    """Return a page with the files that it includes."""
    text = path.read_text(encoding="utf-8")
    return re.sub(
        r"```\{include\} (\S+)\n```", lambda found: (BOOK / found[1]).read_text(encoding="utf-8"), text
    )


class TestPages:
    def test_toc_and_prose_agree(self) -> None:
        files = toc_files()
        assert len(files) == len(set(files))
        prose = {file for file in files if not file.startswith("book/runs/")}
        assert prose == {f"book/{path.stem}" for path in PROSE}

    @pytest.mark.parametrize("path", [p for p in PROSE if p.stem != "references"], ids=lambda path: path.stem)
    def test_length(self, path: Path) -> None:
        assert 300 <= words(whole(path)) <= 2500

    @pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
    def test_one_title(self, path: Path) -> None:
        text = re.sub(r"```.*?```", "", whole(path), flags=re.DOTALL)
        assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1

    @pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
    def test_every_image_has_alt_text_and_caption(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]+)", text)
        assert "```{image}" not in text, "use {figure}, which has a caption"
        for block in re.findall(r"```\{figure\}.*?```", text, flags=re.DOTALL):
            assert re.search(r"^:alt: .{30,}", block, flags=re.MULTILINE), block
            assert re.search(r"\n\n\S.{30,}", block), f"no caption: {block}"

    @pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
    def test_quoted_records_exist(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for reference in re.findall(r"\{record\}`([^`]+)`", text):
            if "/faces/" not in reference:  # made by the build, not committed
                records.quote(ROOT / "results", reference)
        for reference in re.findall(r"\{benchmark\}`([^`]+)`", text):
            records.quote(ROOT / "benchmarks" / "results", reference)

    def test_action_unit_table_is_the_package_s(self) -> None:
        from fercore.emotions import ACTION_UNITS

        text = (BOOK / "data-faces.md").read_text(encoding="utf-8")
        for emotion, units in ACTION_UNITS.items():
            printed = re.search(rf"^\| {emotion.title} \| ([^|]+) \|", text, flags=re.MULTILINE)
            assert printed, emotion.title
            assert printed[1] == (", ".join(map(str, units)) or "none")

    @pytest.mark.parametrize("name", ["ferg", "jaffe", "ckplus"])
    def test_counts_on_data_cards_are_the_loaders_(self, name: str) -> None:
        text = (BOOK / f"data-{name}.md").read_text(encoding="utf-8")
        counts = datasets.about(name).counts
        total = {e: sum(part.get(e, 0) for part in counts.values()) for e in EMOTIONS}
        for part, of_part in ({"all": total} | dict(counts)).items():
            numbers = [of_part.get(emotion, 0) for emotion in EMOTIONS]
            row = " | ".join(f"{number:,}" for number in [*numbers, sum(numbers)])
            assert f"| {part} | {row} |" in text, part
        assert f"{max(total.values()) / sum(total.values()):.1%}".replace("%", " %") in text

    def test_units_are_named_as_in_the_package(self) -> None:
        table = action_units.TABLE
        text = (BOOK / "data-faces.md").read_text(encoding="utf-8")
        printed = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|", text, flags=re.MULTILINE)
        assert printed == [(str(unit.number), unit.name, unit.muscle) for unit in table]


class TestReferences:
    def keys(self) -> list[str]:
        text = (BOOK / "references.bib").read_text(encoding="utf-8")
        return re.findall(r"^@\w+\{([^,]+),", text, flags=re.MULTILINE)

    def test_keys_are_unique(self) -> None:
        assert len(self.keys()) == len(set(self.keys())) > 20

    def test_every_citation_is_in_the_bibliography(self) -> None:
        notebooks = sorted((ROOT / "notebooks").glob("*.py"))
        for path in [*PROSE, *notebooks]:
            for cited in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", path.read_text(encoding="utf-8")):
                missing = {key.strip() for key in cited.split(",")} - set(self.keys())
                assert not missing, f"{path.name} cites {missing}"

    def test_every_entry_is_complete(self) -> None:
        for key, entry in database.parse_file(BOOK / "references.bib").entries.items():
            assert entry.persons["author"], key
            assert {"title", "year"} <= set(entry.fields), key


class TestFilesBesideTheBook:
    def test_configuration(self) -> None:
        config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
        assert config["execute"]["execute_notebooks"] == "off"
        assert config["sphinx"]["config"]["numfig"] is True
        assert {".*", ".venv", "README.md"} <= set(config["exclude_patterns"])
        for name in config["sphinx"]["local_extensions"]:
            assert (BOOK / "_ext" / f"{name}.py").is_file()
        for name in config["sphinx"]["config"]["html_css_files"]:
            assert (BOOK / "_static" / name).is_file()
        assert (ROOT / config["logo"]).is_file()

    def test_nothing_is_loaded_from_elsewhere(self) -> None:
        for path in [*(BOOK / "_static").glob("*.css"), *(BOOK / "_static").glob("*.js"), *PROSE]:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"@import|url\(\s*['\"]?https?:|<script[^>]+src|<iframe", text), path.name

    def test_environment_takes_its_pins_from_the_constraints(self) -> None:
        environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
        pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
        assert pip == ["-c constraints.txt", "-e .", "-e notebooks[book,test]"]
        pinned = [item for item in environment["dependencies"] if isinstance(item, str) and "=" in item]
        assert pinned == ["python=3.11"]

    def test_citation_file(self) -> None:
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert citation["cff-version"] == "1.2.0"
        assert f'version = "{citation["version"]}"' in project
        assert citation["license"] == "MIT"
        assert citation["references"][0]["doi"] == "10.1145/3490035.3490271"
        assert citation["references"][1]["identifiers"][0]["value"] == "arXiv:2407.14865"
        assert f"## [{citation['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    def test_licences(self) -> None:
        assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
        assert "CC-BY-4.0" in (ROOT / "LICENSE-prose.md").read_text(encoding="utf-8")
