"""The course's notebooks: student and instructor versions from one source."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from ferlab.runs import cli, handouts, runner

CHAPTERS = handouts.chapters()
NUMBERED = re.compile(r"\*\*Exercise (\d+)\.(\d+)\*\*")


def solution(cell) -> bool:
    return handouts.TAG in cell.metadata.get("tags", [])


@pytest.mark.parametrize("chapter", CHAPTERS)
class TestChapter:
    def test_every_exercise_is_followed_by_its_solution_which_the_book_hides(self, chapter: str):
        cells = runner.read_text_notebook(runner.source(chapter)).cells
        places = [i for i, cell in enumerate(cells) if not solution(cell) and NUMBERED.search(cell.source)]
        numbers = [NUMBERED.search(cells[i].source).groups() for i in places]
        assert numbers == [(chapter.split("_")[1], str(k + 1)) for k in range(len(places))]
        assert 3 <= len(places) <= 5
        assert all(solution(cells[i + 1]) for i in places)
        assert any("by hand" in cells[i].source for i in places)
        for cell in filter(solution, cells):
            hidden = "hide-cell" in cell.metadata["tags"]
            assert hidden or re.match(r":::\{dropdown\} Solution of Exercise \d\.\d", cell.source)

    def test_students_see_no_solution_and_instructors_all_in_plain_jupyter(self, chapter: str):
        cells = runner.read_text_notebook(runner.source(chapter)).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        secret, given = ([c.source for c in code if solution(c) is kind] for kind in (True, False))
        student, instructor = (handouts.version(chapter, audience) for audience in handouts.AUDIENCES)
        assert [c.source for c in instructor.cells if c.cell_type == "code"] == [c.source for c in code]
        assert {c.source for c in student.cells if solution(c)} <= set(handouts.PLACES.values())
        assert [c.source for c in student.cells if c.cell_type == "code" and not solution(c)] == given
        assert not any(source in cell.source for source in secret for cell in student.cells)
        for notebook in (student, instructor):
            nbformat.validate(notebook)
            text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
            assert not re.search(r":::|\{(cite|ref|numref|doc|eq|prf)[\w:]*\}`", text)


def test_plain_keeps_text_and_formulas():
    book = "(label)=\n:::{dropdown} Solution of Exercise 1.1\n"
    book += "See {ref}`the page <paper>` {cite:p}`owen1977values`, $v(S)$.\n:::"
    assert handouts.plain(book) == "**Solution of Exercise 1.1**\nSee the page (Owen, 1977), $v(S)$.\n"
    text = (
        "{numref}`fig-a` in {doc}`runs/x`, {numref}`tab-b`; {cite:t}`malik2021towards`, {cite:p}`no2000key`"
    )
    seen = handouts.plain(text, {"fig-a": "Figure 2"})
    assert seen == "Figure 2 in *runs/x*, *tab-b*; Malik et al. (2021), (no2000key)"


def test_the_command_writes_the_same_every_time(tmp_path: Path, capsys):
    assert [int(name.split("_")[1]) for name in CHAPTERS] == list(range(1, 9))
    assert cli.main(["course", str(tmp_path / "a")]) == 0
    assert "wrote 18 files" in capsys.readouterr().out
    again = handouts.write(tmp_path / "b")
    assert all((tmp_path / "a" / p.relative_to(tmp_path / "b")).read_bytes() == p.read_bytes() for p in again)
    for audience in handouts.AUDIENCES:
        with zipfile.ZipFile(tmp_path / "a" / f"fercore-course-{audience}.zip") as archive:
            assert archive.namelist() == [f"{audience}/{name}.ipynb" for name in CHAPTERS]
