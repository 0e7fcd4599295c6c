"""The course's notebooks: student and instructor versions from one source."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from ferlab import provenance
from ferlab.runs import handouts, runner

CHAPTERS = handouts.chapters()
NUMBERED = re.compile(r"\*\*Exercise (\d+)\.(\d+)\*\*")


def solution(cell) -> bool:
    return handouts.TAG in cell.metadata.get("tags", [])


def test_eight_chapters_in_order():
    assert [int(name.split("_")[1]) for name in CHAPTERS] == list(range(1, 9))


@pytest.mark.parametrize("chapter", CHAPTERS)
class TestChapter:
    def test_every_exercise_is_followed_by_its_solution(self, chapter: str):
        cells = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{chapter}.py").cells
        places = [i for i, cell in enumerate(cells) if not solution(cell) and NUMBERED.search(cell.source)]
        numbers = [NUMBERED.search(cells[i].source).groups() for i in places]
        own = chapter.split("_")[1]
        assert numbers == [(own, str(k + 1)) for k in range(len(places))]
        assert 3 <= len(places) <= 5
        assert all(solution(cells[i + 1]) for i in places)
        assert any("by hand" in cells[i].source for i in places)

    def test_students_see_no_solution_and_instructors_all(self, chapter: str):
        source = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{chapter}.py").cells
        student, instructor = (handouts.version(chapter, audience) for audience in handouts.AUDIENCES)
        captions = [cell for cell in instructor.cells if cell.id.endswith("-caption")]
        assert len(instructor.cells) == len(source) + len(captions)
        left = [cell.source for cell in student.cells if solution(cell)]
        assert set(left) <= {handouts._CODE, handouts._TEXT}
        kept = "\n".join(cell.source for cell in student.cells)
        for cell in source:
            if solution(cell) and cell.cell_type == "code":
                assert cell.source not in kept
                assert cell.source in [other.source for other in instructor.cells]
        given = [cell.source for cell in source if cell.cell_type == "code" and not solution(cell)]
        assert [c.source for c in student.cells if c.cell_type == "code" and not solution(c)] == given

    def test_solutions_are_hidden_in_the_book(self, chapter: str):
        cells = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{chapter}.py").cells
        for cell in filter(solution, cells):
            if cell.cell_type == "code":
                assert "hide-cell" in cell.metadata["tags"]
            else:
                assert re.match(r":::\{dropdown\} Solution of Exercise \d\.\d", cell.source)

    def test_is_plain_jupyter(self, chapter: str):
        for audience in handouts.AUDIENCES:
            notebook = handouts.version(chapter, audience)
            nbformat.validate(notebook)
            text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
            assert ":::" not in text
            assert not re.search(r"\{(cite|ref|numref|doc|eq|prf)[\w:]*\}`", text)


def test_plain_keeps_text_and_formulas():
    book = "(label)=\n:::{dropdown} Solution of Exercise 1.1\n"
    book += "See {ref}`the page <paper>` {cite:p}`owen1977values`, $v(S)$.\n:::"
    assert handouts.plain(book) == "**Solution of Exercise 1.1**\nSee the page (Owen, 1977), $v(S)$.\n"
    text = (
        "{numref}`fig-a` in {doc}`runs/x`, {numref}`tab-b`; {cite:t}`malik2021towards`, {cite:p}`no2000key`"
    )
    seen = handouts.plain(text, {"fig-a": "Figure 2"})
    assert seen == "Figure 2 in *runs/x*, *tab-b*; Malik et al. (2021), (no2000key)"
    assert handouts.plain("$f_{c}(x)$ and `code`") == "$f_{c}(x)$ and `code`"


def test_unknown_audience():
    with pytest.raises(ValueError, match="student or instructor"):
        handouts.version("course_1", "parents")  # type: ignore[arg-type]


def test_write_is_reproducible(tmp_path: Path):
    first = handouts.write(tmp_path / "a")
    again = handouts.write(tmp_path / "b")
    assert [path.name for path in first] == [path.name for path in again]
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(first, again, strict=True))
    for audience in handouts.AUDIENCES:
        with zipfile.ZipFile(tmp_path / "a" / f"fercore-course-{audience}.zip") as archive:
            assert archive.namelist() == [f"{audience}/{name}.ipynb" for name in CHAPTERS]
