"""The bibliography and the glossary: can every work be found, and does every term that is named exist?"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pybtex import database

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
ENTRIES = database.parse_file(BOOK / "references.bib").entries
IDENTIFIERS = ("doi", "eprint", "isbn", "url")
DOI = r"10\.\d{4,9}/[A-Za-z0-9.()/_:;-]*[A-Za-z0-9]"
EPRINT = r"\d{4}\.\d{4,5}"


def values(field: str) -> dict[str, str]:
    """Return the value of a field by the key of its entry, where there is one."""
    return {key: entry.fields[field] for key, entry in ENTRIES.items() if field in entry.fields}


def valid_isbn(text: str) -> bool:
    """Check the last digit of an ISBN of 10 or 13 digits (ISO 2108)."""
    digits = text.replace("-", "").replace(" ", "").upper()
    if re.fullmatch(r"\d{9}[\dX]", digits):
        numbers = [10 if digit == "X" else int(digit) for digit in digits]
        return (
            sum(weight * number for weight, number in zip(range(10, 0, -1), numbers, strict=True)) % 11 == 0
        )
    if re.fullmatch(r"97[89]\d{10}", digits):
        return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits)) % 10 == 0
    return False


class TestIdentifiers:
    @pytest.mark.parametrize("key", ENTRIES)
    def test_every_entry_can_be_found(self, key: str) -> None:
        assert set(IDENTIFIERS) & set(ENTRIES[key].fields), f"{key}: give a doi, eprint, isbn or url"

    @pytest.mark.parametrize(("field", "pattern"), [("doi", DOI), ("eprint", EPRINT)])
    def test_numbers_are_well_formed_and_unique(self, field: str, pattern: str) -> None:
        found = values(field)
        for key, value in found.items():
            assert re.fullmatch(pattern, value), (
                f"{key}: {value!r} is no {field}, or holds an address around it"
            )
        twice = [value for value, number in Counter(map(str.lower, found.values())).items() if number > 1]
        assert not twice

    @pytest.mark.parametrize(
        "wrong",
        [
            "https://doi.org/10.1145/3490035.3490271",
            "doi:10.1145/3490035",
            "10.1145/ 3490035",
            "10.1145/3490035.",
        ],
    )
    def test_pattern_refuses_what_is_no_doi(self, wrong: str) -> None:
        assert not re.fullmatch(DOI, wrong)

    def test_doi_of_a_preprint_is_given_as_eprint(self) -> None:
        assert not [key for key, doi in values("doi").items() if doi.lower().startswith("10.48550/")]

    def test_eprints_name_their_archive(self) -> None:
        assert {ENTRIES[key].fields.get("archiveprefix") for key in values("eprint")} == {"arXiv"}

    @pytest.mark.parametrize(("key", "isbn"), values("isbn").items())
    def test_check_digits(self, key: str, isbn: str) -> None:
        assert valid_isbn(isbn), key
        last = "0123456789"[(int(isbn[-1]) + 1) % 10] if isbn[-1] != "X" else "0"
        assert not valid_isbn(isbn[:-1] + last)

    def test_addresses(self) -> None:
        for key, url in values("url").items():
            assert re.fullmatch(r"https://[\w.-]+(/\S*)?", url), key
            assert not re.search(r"doi\.org|arxiv\.org", url), f"{key}: give the number in doi or eprint"

    def test_agree_with_the_citation_file(self) -> None:
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        first, second = citation["references"][:2]
        assert first["doi"] == ENTRIES["malik2021towards"].fields["doi"]
        eprint = ENTRIES["diluzio2024explainable"].fields["eprint"]
        assert second["identifiers"][0]["value"] == f"arXiv:{eprint}"


def terms() -> list[str]:
    """Return the terms of the glossary in their order."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith(" ")]


class TestGlossary:
    def test_terms_are_unique(self) -> None:
        assert len(terms()) == len({term.lower() for term in terms()}) >= 35

    def test_every_term_that_is_named_is_defined(self) -> None:
        known = {term.lower() for term in terms()}
        pages = [*BOOK.glob("*.md"), *(ROOT / "notebooks").glob("*.py")]
        for page in pages:
            for named in re.findall(r"\{term\}`([^`]+)`", page.read_text(encoding="utf-8")):
                target = re.search(r"<([^>]+)>$", named)
                wanted = " ".join((target[1] if target else named).split()).lower()
                assert wanted in known, f"{page.name}: {wanted!r} is not in the glossary"

    def test_every_definition_says_where_or_whence(self) -> None:
        text = (BOOK / "glossary.md").read_text(encoding="utf-8")
        for block in re.findall(r"```\{glossary\}\n(.*?)```", text, flags=re.DOTALL):
            for definition in re.split(r"\n\n", block.strip()):
                role = r"\{(ref|doc|numref|eq|cite:[pt]|prf:ref)\}"
                assert re.search(role, definition), definition.splitlines()[0]
