"""Every interactive figure of the book, worked by keyboard in a browser: do its controls do what they say?

What the figures compute is tested without a browser, in ``tests/test_figures_js.py``. The data are read from the page;
what must be seen is computed from them here, not by the script that is tested.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import Visitor, pages, some_page
from ferlab.interactive.embedding import shown

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class Figure:
    """An interactive figure on an open page: its element, and the data that its maker reads."""

    def __init__(self, page: Page, root: Locator) -> None:
        self.page, self.root = page, root
        self.data = json.loads(root.locator('script[type="application/json"]').text_content())

    def press(self, control: Locator, *keys: str) -> None:
        control.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str = ".fercore-said") -> str:
        return self.root.locator(selector).first.inner_text()

    def choose(self, select: Locator, place: int) -> None:
        """Choose an entry of a list with the arrow keys."""
        self.press(select, "Home", *["ArrowDown"] * place)
        assert int(select.input_value()) == place


def signed(value: float) -> str:
    text = shown(value)
    return f"+{text}" if value > 0 and text != "0" else text


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def ranking(figure: Figure) -> None:
    """A list of emotions, and a slider of how many landmarks are kept."""
    data, points = figure.data, figure.data["points"]
    choice, slider = figure.root.locator("select"), figure.root.locator('input[type="range"]')
    kept = figure.root.locator(".fercore-drawing circle.kept")
    for key, count in (("Home", 1), ("ArrowRight", 2), ("End", points), ("ArrowLeft", points - 1)):
        figure.press(slider, key)
        assert figure.text("output") == f"{count} of {points}"
        assert kept.count() == count
    figure.choose(choice, len(data["classes"]) - 1)
    title = figure.root.locator("svg.fercore-drawing title").text_content()
    assert title.startswith(f"{data['classes'][-1]['name']}: the {points - 1} most")


def players(figure: Figure) -> None:
    """A game of three players: who is there, in which order they come, and what each coalition is worth."""
    names, values = figure.data["names"], figure.data["values"]
    boxes = figure.root.locator('input[type="checkbox"]')
    start = f"v(∅) = {shown(values[0])}"
    assert figure.text() == start
    figure.press(boxes.nth(0), "Space")
    figure.press(boxes.nth(2), "Space")
    assert figure.text() == f"v({{{names[0]}, {names[2]}}}) = {shown(values[5])}"
    assert figure.root.locator('tr[aria-current="true"] th').inner_text() == f"{{{names[0]}, {names[2]}}}"
    figure.choose(figure.root.locator("select"), 5)  # the last of six orders
    everyone = figure.root.get_by_label(f"Worth of {{{', '.join(names)}}}")
    figure.press(everyone, "Control+A", "Delete")
    assert everyone.get_attribute("aria-invalid") == "true"
    figure.press(figure.root.get_by_role("button", name="Reset"), "Enter")
    assert figure.text() == start


def stepper(figure: Figure) -> None:
    """A face halved level by level: a slider of levels, and a map whose regions tell their scores."""
    data = figure.data
    slider, drawing = figure.root.locator('input[type="range"]'), figure.root.locator("svg.fercore-map")
    region, selects = figure.root.locator(".fercore-said").nth(1), figure.root.locator("select")
    for place, face in enumerate(data["faces"]):
        if len(data["faces"]) > 1:
            figure.choose(selects.nth(0), place)
        for number, rule in enumerate(face["rules"]):
            if len(face["rules"]) > 1:
                figure.choose(selects.nth(1), number)
            deepest = len(rule["scores"]) - 1
            for key, level in (("Home", 0), ("ArrowRight", 1), ("End", deepest)):
                figure.press(slider, key)
                assert figure.text("output") == f"{level} of {deepest}"
                assert drawing.locator(".fercore-regions rect").count() == 2**level
                assert counted(rule["evaluations"][level], "evaluation") in figure.text()
    boxes, scores = data["trees"][face["tree"]][deepest], rule["scores"][deepest]
    figure.press(drawing, *["ArrowUp"] * len(boxes), *["ArrowLeft"] * len(boxes))
    found = int(re.match(r"Region (\d+) of", region.inner_text())[1]) - 1
    assert boxes[found][:2] == [0, 0]
    assert f"score {signed(scores[found])}, " in region.inner_text()
    figure.press(figure.root.get_by_label("One colour scale"), "Space")
    most = max(limit for rule in face["rules"] for limit in rule["limits"])
    assert figure.root.locator(".fercore-ends span").last.inner_text() == signed(most)


def check_shown(figure: Figure, face: dict[str, Any], code: int) -> None:
    """Compare what the figure says and hides with the regions that are shown."""
    regions = face["regions"]
    listed = [name for bit, name in enumerate(regions) if code >> bit & 1]
    names = "everything" if len(listed) == len(regions) else ", ".join(listed) or "no region"
    assert figure.text().startswith(f"Shown: {names}. ")
    assert figure.root.locator(".fercore-cover.hidden").count() == len(regions) - len(listed)


def switches(figure: Figure) -> None:
    """Regions of a face to hide and show, with what the network said of every choice."""
    for place, face in enumerate(figure.data["faces"]):
        if len(figure.data["faces"]) > 1:
            figure.choose(figure.root.locator("select"), place)
        regions = face["regions"]
        boxes, everything = figure.root.locator('input[type="checkbox"]'), 2 ** len(regions) - 1
        assert boxes.count() == len(regions)
        figure.press(figure.root.get_by_role("button", name="Show all"), "Enter")
        check_shown(figure, face, everything)
        for bit in range(len(regions)):
            figure.press(boxes.nth(bit), "Space")
            check_shown(figure, face, everything & ~((2 << bit) - 1))
        figure.press(figure.root.get_by_role("button", name="Hide all"), "Enter")
        check_shown(figure, face, 0)


def errors(figure: Figure) -> None:
    """Curves of error against evaluations, walked point by point."""
    keys = ("dataset", "regions", "output")
    rows, methods = figure.data["rows"], [method["name"] for method in figure.data["methods"]]
    chosen = [row for row in rows if all(str(row[key]) == str(rows[0][key]) for key in keys)]
    drawn = sorted(
        (row for row in chosen if row["error"] > figure.data["least"]),
        key=lambda row: (methods.index(row["method"]), row["evaluations_per_region"]),
    )
    curves = [list(curve) for _, curve in itertools.groupby(drawn, key=lambda row: row["method"])]
    lines, boxes = figure.root.locator(".fercore-line"), figure.root.locator('input[type="checkbox"]')
    point = figure.root.locator('.fercore-point[tabindex="0"]')

    def says(row: dict[str, Any]) -> None:
        spent, error = shown(row["evaluations_per_region"]), shown(row["error"])
        assert figure.text().startswith(f"{row['method']}: {spent} evaluations per region, error {error}")

    assert boxes.count() == len(methods)
    assert lines.count() == len(curves)
    assert figure.root.locator(".fercore-point").count() == len(drawn)
    for curve in curves:
        figure.press(figure.root.locator(f'.fercore-point[aria-label^="{curve[0]["method"]}: "]').first)
        says(curve[0])
        figure.page.keyboard.press("End")
        says(curve[-1])
    assert point.count() == 1
    for count in (len(curves) - 1, len(curves)):
        figure.press(boxes.nth(methods.index(curves[0][0]["method"])), "Space")
        assert lines.count() == count
    figure.press(figure.root.locator("summary"), "Enter")
    listed = figure.root.locator("details tbody th").all()
    assert all(cell.is_visible() for cell in listed)
    assert sorted(cell.inner_text() for cell in listed) == sorted(row["method"] for row in chosen)


def words(cell: Locator) -> str:
    return " ".join(cell.text_content().split())


def filter_(figure: Figure) -> None:
    """Lists that hide rows or columns of a table."""
    body, heads = figure.root.locator("tbody tr"), figure.root.locator("thead th")
    headings, of = [words(cell) for cell in heads.all()], f"of {counted(body.count(), 'row')}"
    assert figure.text("output") == f"{body.count()} {of}"
    for name in figure.data["columns"]:
        select, column = figure.root.get_by_label(name, exact=True), headings.index(name)
        if not select.is_visible():
            continue
        cells = [words(row.locator("td, th").nth(column)) for row in body.all()]
        for place in range(1, select.locator("option").count()):
            figure.choose(select, place)
            count = cells.count(select.locator("option").nth(place).text_content())
            assert sum(row.is_visible() for row in body.all()) == count > 0
            assert figure.text("output") == f"{count} {of}"
        figure.choose(select, 0)
        assert all(row.is_visible() for row in body.all())
    across = figure.data.get("across", {"label": "", "names": []})
    for place, name in enumerate(across["names"], start=1):
        figure.choose(figure.root.get_by_label(across["label"], exact=True), place)
        others = [other for other in across["names"] if other != name]
        kept = [text for text in headings if name in text or not any(other in text for other in others)]
        assert [words(cell) for cell in heads.all() if cell.is_visible()] == kept


DRIVERS = {"errors": errors, "filter": filter_, "players": players, "ranking": ranking}
DRIVERS |= {"stepper": stepper, "switches": switches}


def test_every_maker_is_used_in_the_book() -> None:
    """One that is not would go untested here."""
    assert some_page()
    text = "".join(path.read_text(encoding="utf-8") for path in pages())
    assert not [kind for kind in DRIVERS if f'data-figure="{kind}"' not in text]


def figures(visitor: Visitor, path: Path) -> list[Figure]:
    """Open a page and return its interactive figures."""
    visitor.visit(path)
    return [Figure(visitor.page, root) for root in visitor.page.locator(".fercore-figure.fercore-live").all()]


def test_figures_show_what_is_asked(desk: Visitor, lively: Path) -> None:
    found = figures(desk, lively)
    assert found
    for figure in found:
        DRIVERS[figure.root.get_attribute("data-figure")](figure)
    assert not desk.heard


# What can be reached with the tabulator: one stop for a group of points, none for what is hidden or switched off.
STOPS = """root => {
  const all = root.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
  const seen = [...all].filter(
    (part) => !part.disabled && part.checkVisibility() && part.closest(".fercore-interactive"),
  );
  window.stops = seen;
  const before = document.createElement("span");
  before.tabIndex = -1;
  root.before(before);
  before.focus();
  return seen.length;
}"""


def test_tabulator_goes_through_the_controls_and_out_again(desk: Visitor, lively: Path) -> None:
    for figure in figures(desk, lively):
        count = figure.root.evaluate(STOPS)
        assert count > 0
        for place in range(count):
            desk.page.keyboard.press("Tab")
            assert desk.page.evaluate("place => window.stops[place] === document.activeElement", place)
        desk.page.keyboard.press("Tab")
        own = figure.root.locator(".fercore-interactive")
        assert not own.evaluate("part => part.contains(document.activeElement)")
