"""The pages of the book without building it: what they hold, quote, cite and name, and the files beside it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import records
import yaml
from conftest import ROOT
from ferlab.faces import action_units
from pybtex import database

from fercore import datasets
from fercore.emotions import ACTION_UNITS, EMOTIONS

BOOK = ROOT / "book"
PROSE = sorted(BOOK.glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
ENTRIES = database.parse_file(BOOK / "references.bib").entries
DOI, EPRINT = r"10\.\d{4,9}/[A-Za-z0-9.()/_:;-]*[A-Za-z0-9]", r"\d{4}\.\d{4,5}"
GLOSSARY = re.findall(
    r"```\{glossary\}\n(.*?)```", (BOOK / "glossary.md").read_text(encoding="utf-8"), re.DOTALL
)
TERMS = [line for block in GLOSSARY for line in block.splitlines() if line and not line.startswith(" ")]


def read(path: Path) -> str:
    """Return a page with the files that it includes."""
    text = path.read_text(encoding="utf-8")
    return re.sub(
        r"```\{include\} (\S+)\n```", lambda found: (BOOK / found[1]).read_text(encoding="utf-8"), text
    )


def words(text: str) -> int:
    """Count words of prose: without code, formulas, tables, directives' options and markup."""
    text = re.sub(r"```\{math\}.*?```|\$\$.*?\$\$|```\w+\n.*?```", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||:\w+:|`{3,}|\()", line)]
    prose = re.sub(r"\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`", "", "\n".join(lines))
    return len(re.findall(r"[A-Za-zÀ-ÿ][\w'’-]*", prose))


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


class TestPages:
    def test_toc_and_prose_agree(self) -> None:
        toc = load("_toc.yml")
        chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
        sections = [section for chapter in chapters for section in chapter.get("sections", [])]
        files = [toc["root"], *(entry["file"] for entry in [*chapters, *sections])]
        assert len(files) == len(set(files))
        assert {f for f in files if not f.startswith("book/runs/")} == {f"book/{path.stem}" for path in PROSE}

    @pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
    def test_length_title_and_figures(self, path: Path) -> None:
        text = read(path)
        assert path.stem == "references" or 300 <= words(text) <= 2500
        outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert len(re.findall(r"^# ", outside, flags=re.MULTILINE)) == 1
        assert not re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]+)", text)
        assert "```{image}" not in text, "use {figure}, which has a caption"
        for block in re.findall(r"```\{figure\}.*?```", text, flags=re.DOTALL):
            assert re.search(r"^:alt: .{30,}", block, flags=re.MULTILINE), block
            assert re.search(r"\n\n\S.{30,}", block), f"no caption: {block}"

    @pytest.mark.parametrize("path", [*PROSE, *NOTEBOOKS], ids=lambda path: path.stem)
    def test_what_is_quoted_cited_and_named_is_there(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for role, value in re.findall(r"\{(record|benchmark|cite|cite:\w+|term)\}`([^`]+)`", text):
            if role == "record" and "/faces/" not in value:  # those are made by the build, not committed
                records.quote(ROOT / "results", value)
            elif role == "benchmark":
                records.quote(ROOT / "benchmarks" / "results", value)
            elif role == "term":
                target = re.search(r"<([^>]+)>$", value)
                name = " ".join((target[1] if target else value).split()).lower()
                assert name in {term.lower() for term in TERMS}
            elif role.startswith("cite"):
                assert {key.strip() for key in value.split(",")} <= set(ENTRIES)

    def test_nothing_is_loaded_from_elsewhere(self) -> None:
        for path in [*(BOOK / "_static").glob("*.css"), *(BOOK / "_static").glob("*.js"), *PROSE]:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"@import|url\(\s*['\"]?https?:|<script[^>]+src|<iframe", text), path.name

    def test_action_units_are_those_of_the_package(self) -> None:
        text = (BOOK / "data-faces.md").read_text(encoding="utf-8")
        for emotion, units in ACTION_UNITS.items():
            assert f"| {emotion.title} | {', '.join(map(str, units)) or 'none'} |" in text
        printed = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|", text, flags=re.MULTILINE)
        assert printed == [(str(unit.number), unit.name, unit.muscle) for unit in action_units.TABLE]

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


class TestReferences:
    """Can every work be found?"""

    @pytest.mark.parametrize("key", ENTRIES)
    def test_entry_is_complete_and_well_formed(self, key: str) -> None:
        entry = ENTRIES[key].fields
        assert ENTRIES[key].persons["author"]
        assert {"title", "year"} <= set(entry)
        assert {"doi", "eprint", "isbn", "url"} & set(entry)
        assert re.fullmatch(DOI, entry.get("doi", "10.1234/x")), "a number, not the address around it"
        assert not entry.get("doi", "").lower().startswith("10.48550/"), "give a preprint's number as eprint"
        assert "eprint" not in entry or (
            re.fullmatch(EPRINT, entry["eprint"]) and entry["archiveprefix"] == "arXiv"
        )
        assert "isbn" not in entry or valid_isbn(entry["isbn"])
        assert re.fullmatch(
            r"https://(?!doi\.org|arxiv\.org)[\w.-]+(/\S*)?", entry.get("url", "https://x.org")
        )

    @pytest.mark.parametrize("field", ["doi", "eprint"])
    def test_no_work_is_there_twice(self, field: str) -> None:
        found = [entry.fields[field].lower() for entry in ENTRIES.values() if field in entry.fields]
        assert len(found) == len(set(found)) > 5

    def test_terms_of_the_glossary_are_unique_and_say_where_or_whence(self) -> None:
        assert len(TERMS) == len({term.lower() for term in TERMS}) >= 35
        for definition in [part for block in GLOSSARY for part in block.strip().split("\n\n")]:
            assert re.search(r"\{(ref|doc|numref|eq|cite:[pt]|prf:ref)\}", definition), definition


def valid_isbn(text: str) -> bool:
    """Check the last digit of an ISBN of 13 digits (ISO 2108)."""
    digits = text.replace("-", "")
    return (
        len(digits) == 13
        and sum(int(digit) * (1 + 2 * (at % 2)) for at, digit in enumerate(digits)) % 10 == 0
    )


class TestFilesBesideTheBook:
    def test_configuration(self) -> None:
        config = load("_config.yml")
        assert config["execute"]["execute_notebooks"] == "off"
        assert {".*", ".venv", "README.md"} <= set(config["exclude_patterns"])
        files = [f"_ext/{name}.py" for name in config["sphinx"]["local_extensions"]]
        files += [f"_static/{name}" for name in config["sphinx"]["config"]["html_css_files"]]
        assert [name for name in files if not (BOOK / name).is_file()] == []
        assert (ROOT / config["logo"]).is_file()

    def test_environment_takes_its_pins_from_the_constraints(self) -> None:
        environment = load("environment.yml")["dependencies"]
        (pip,) = (item["pip"] for item in environment if isinstance(item, dict))
        assert pip == ["-c constraints.txt", "-e .", "-e notebooks[book,test]"]
        assert [item for item in environment if "=" in item] == ["python=3.11"]

    def test_what_is_to_be_installed_is_there(self) -> None:
        """Every extra that a page, a file or a message names belongs to the distribution in that folder."""
        kinds = ("README.md", "Snakefile", "Makefile", "constraints.txt", "book/*.md", "book/_ext/*.py")
        text = "".join(path.read_text(encoding="utf-8") for kind in kinds for path in ROOT.glob(kind))
        found = set(re.findall(r"""(?:-e ["']?([./\w]+)|(fercore))\[([\w,]+)\]""", text))
        assert len(found) > 4
        for folder, _, extras in found:
            project = tomllib.loads((ROOT / (folder or ".") / "pyproject.toml").read_text(encoding="utf-8"))
            assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"]), (
                folder,
                extras,
            )

    def test_citation_file(self) -> None:
        citation = load("CITATION.cff")
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert (citation["cff-version"], citation["license"]) == ("1.2.0", project["license"])
        assert citation["version"] == project["version"]
        assert f"## [{citation['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        first, second = citation["references"][:2]
        assert first["doi"] == ENTRIES["malik2021towards"].fields["doi"] == "10.1145/3490035.3490271"
        eprint = ENTRIES["diluzio2024explainable"].fields["eprint"]
        assert second["identifiers"][0]["value"] == f"arXiv:{eprint}" == "arXiv:2407.14865"
