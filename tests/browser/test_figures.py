"""Every interactive figure of the book, worked by keyboard: does it show what its data say?

The data are read from the page; what must be seen is computed from them here, not by the script that is tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from conftest import ROOT, Visitor, pages, some_page
from ferlab.interactive.embedding import shown

from fercore.shapley import exact_shapley

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MINUS = "\u2212"
SCRIPT = ROOT / "book" / "_static" / "figures.js"


class Figure:
    """An interactive figure on an open page.

    Attributes:
        root: Its element.
        data: What its maker reads.
    """

    def __init__(self, page: Page, root: Locator) -> None:
        self.page, self.root = page, root
        self.data = json.loads(root.locator('script[type="application/json"]').text_content())

    def press(self, control: Locator, *keys: str) -> None:
        """Focus a control and press keys."""
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
    """Return a number with its sign, as the figures write gains."""
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
    figure.press(slider, "Home")
    for place, entry in enumerate(data["classes"]):
        figure.choose(choice, place)
        title = figure.root.locator("svg.fercore-drawing title").text_content()
        assert title.startswith(f"{entry['name']}: the 1 most")
        x, y = entry["face"][entry["order"][0]]
        assert (float(kept.get_attribute("cx")), float(kept.get_attribute("cy"))) == (x, y)
        row = min(data["measured"], key=lambda row: abs(row["k"] - 1))
        assert f"{entry['measured'][str(row['k'])]} % accuracy" in figure.text()


def players(figure: Figure) -> None:
    """A game of three players: who is there, in which order they come, and what each coalition is worth."""
    names, values = figure.data["names"], np.array(figure.data["values"], dtype=float)
    boxes, worths = figure.root.locator('input[type="checkbox"]'), figure.root.locator('input[type="number"]')
    assert figure.text() == f"v(∅) = {shown(values[0])}"
    figure.press(boxes.nth(0), "Space")
    assert figure.text() == f"v({{{names[0]}}}) = {shown(values[1])}"
    figure.press(boxes.nth(2), "Space")
    assert figure.text() == f"v({{{names[0]}, {names[2]}}}) = {shown(values[5])}"
    assert figure.root.locator('tr[aria-current="true"] th').inner_text() == f"{{{names[0]}, {names[2]}}}"
    figure.choose(figure.root.locator("select"), 5)  # the last of six orders: 3, 2, 1
    steps = [(0, 4), (4, 6), (6, 7)]
    told = [
        f"{shown(values[b])} {MINUS} {shown(values[a])} = {shown(values[b] - values[a])}" for a, b in steps
    ]
    arrivals = figure.root.locator("table", has_text="Marginal contributions")
    assert [row.locator("td").last.inner_text() for row in arrivals.locator("tbody tr").all()] == told

    def scores() -> list[str]:
        table = figure.root.locator("table", has_text="Shapley values")
        return [row.locator("td").last.inner_text() for row in table.locator("tbody tr").all()]

    def right(worth: np.ndarray) -> list[str]:
        return [shown(value) for value in exact_shapley(lambda coalitions: worth[coalitions @ (1, 2, 4)], 3)]

    assert scores() == right(values)
    changed = values.copy()
    changed[7] = 2.5
    everyone = figure.root.get_by_label(f"Worth of {{{', '.join(names)}}}")
    figure.press(everyone, "Control+A", *"2.5")
    assert scores() == right(changed)
    figure.press(everyone, "Control+A", "Delete")
    assert everyone.get_attribute("aria-invalid") == "true"
    figure.press(figure.root.get_by_role("button", name="Reset"), "Enter")
    assert scores() == right(values)
    assert figure.text() == f"v(∅) = {shown(values[0])}"
    assert worths.count() == len(values)


def stepper(figure: Figure) -> None:
    """A face halved level by level: a slider of levels, and a map whose regions tell their scores."""
    data = figure.data
    slider, drawing = figure.root.locator('input[type="range"]'), figure.root.locator("svg.fercore-map")
    region, spent = figure.root.locator(".fercore-said").nth(1), figure.root.locator(".fercore-said").nth(0)
    selects = figure.root.locator("select")
    for place, face in enumerate(data["faces"]):
        if len(data["faces"]) > 1:
            figure.choose(selects.nth(0), place)
        for number, rule in enumerate(face["rules"]):
            if len(face["rules"]) > 1:
                figure.choose(selects.nth(1), number)
            deepest = len(rule["scores"]) - 1
            for key, level in (("Home", 0), ("ArrowRight", 1), ("End", deepest)):
                figure.press(slider, key)
                told = spent.inner_text()
                assert figure.text("output") == f"{level} of {deepest}"
                assert drawing.locator(".fercore-regions rect").count() == 2**level
                assert told.startswith(f"{counted(2**level, 'region')}, ")
                assert counted(rule["evaluations"][level], "evaluation") in told
                assert f"Sum of all scores: {shown(sum(rule['scores'][level]))} " in told
    boxes, scores = data["trees"][face["tree"]][deepest], rule["scores"][deepest]
    assert drawing.get_attribute("tabindex") == "0"
    figure.press(drawing)

    def where() -> int:
        found = int(re.match(r"Region (\d+) of", region.inner_text())[1]) - 1
        assert f"score {signed(scores[found])}, " in region.inner_text()
        return found

    start = where()
    assert boxes[start][0] <= face["height"] / 2 < boxes[start][2]
    figure.press(drawing, *["ArrowUp"] * len(boxes), *["ArrowLeft"] * len(boxes))
    assert boxes[where()][:2] == [0, 0]
    figure.press(drawing, "ArrowRight")
    assert boxes[where()][:2] == [0, boxes[0][3]]
    figure.press(drawing, "ArrowDown", *["ArrowLeft"] * len(boxes), "ArrowUp")
    assert boxes[where()][:2] == [0, 0]
    common = figure.root.get_by_label("One colour scale")
    figure.press(common, "Space")
    most = max(limit for rule in face["rules"] for limit in rule["limits"])
    assert figure.root.locator(".fercore-ends span").last.inner_text() == signed(most)


def check_shown(figure: Figure, face: dict[str, Any], code: int) -> None:
    """Compare what the figure says with the row of outputs for the regions that are shown."""
    classes, outputs, regions = figure.data["classes"], face["outputs"], face["regions"]
    label, best = int(np.argmax(outputs[-1])), int(np.argmax(outputs[code]))
    listed = [name for bit, name in enumerate(regions) if code >> bit & 1]
    names = "everything" if len(listed) == len(regions) else ", ".join(listed) or "no region"
    told = figure.text()
    assert told.startswith(f"Shown: {names}. {classes[label]} {outputs[code][label]:.3f}")
    assert ("the most probable" in told) == (best == label)
    assert best == label or f"most probable: {classes[best]}" in told
    found = figure.root.locator("table", has_text="What the network says").locator("tbody td:last-child")
    assert [cell.inner_text() for cell in found.all()] == [f"{value:.3f}" for value in outputs[code]]
    assert figure.root.locator(".fercore-cover.hidden").count() == len(regions) - len(listed)


def switches(figure: Figure) -> None:
    """Regions of a face to hide and show, with what the network said of every choice."""
    for place, face in enumerate(figure.data["faces"]):
        if len(figure.data["faces"]) > 1:
            figure.choose(figure.root.locator("select"), place)
        outputs, regions = face["outputs"], face["regions"]
        boxes = figure.root.locator('input[type="checkbox"]')

        assert boxes.count() == len(regions)
        everything = len(outputs) - 1
        figure.press(figure.root.get_by_role("button", name="Show all"), "Enter")
        check_shown(figure, face, everything)
        for bit in range(len(regions)):
            figure.press(boxes.nth(bit), "Space")
            check_shown(figure, face, everything & ~((2 << bit) - 1))
        figure.press(boxes.nth(0), "Space")
        check_shown(figure, face, 1)
        figure.press(figure.root.get_by_role("button", name="Hide all"), "Enter")
        check_shown(figure, face, 0)


def errors(figure: Figure) -> None:
    """Curves of error against evaluations, walked point by point."""
    keys = ("dataset", "regions", "output")
    rows, methods = figure.data["rows"], [method["name"] for method in figure.data["methods"]]
    chosen = [row for row in rows if all(str(row[key]) == str(rows[0][key]) for key in keys)]
    drawn = [row for row in chosen if row["error"] > figure.data["least"]]
    curves = [
        sorted((r for r in drawn if r["method"] == name), key=lambda row: row["evaluations_per_region"])
        for name in methods
    ]
    curves = [curve for curve in curves if curve]
    lines, boxes = figure.root.locator(".fercore-line"), figure.root.locator('input[type="checkbox"]')
    point = figure.root.locator('.fercore-point[tabindex="0"]')

    def says(row: dict[str, Any]) -> None:
        told = figure.text()
        assert told.startswith(
            f"{row['method']}: {shown(row['evaluations_per_region'])} evaluations per region, "
        )
        assert f"error {shown(row['error'])}" in told

    assert boxes.count() == len(methods)
    assert lines.count() == len(curves)
    assert figure.root.locator(".fercore-point").count() == len(drawn)
    assert point.count() == 1
    figure.press(point)
    says(curves[0][0])
    for curve in curves:
        figure.press(figure.root.locator(f'.fercore-point[aria-label^="{curve[0]["method"]}: "]').first)
        for row in curve:
            says(row)
            figure.page.keyboard.press("ArrowRight")
        says(curve[-1])
        figure.page.keyboard.press("Home")
        says(curve[0])
        figure.page.keyboard.press("End")
        says(curve[-1])
    assert point.count() == 1
    for key in ("ArrowUp", "ArrowDown"):
        before = figure.text()
        figure.page.keyboard.press(key)
        after = figure.text()
        assert after == before or after.split(":")[0] != before.split(":")[0]
    first = next(place for place, name in enumerate(methods) if name == curves[0][0]["method"])
    figure.press(boxes.nth(first), "Space")
    assert lines.count() == len(curves) - 1
    figure.press(boxes.nth(first), "Space")
    assert lines.count() == len(curves)
    figure.press(figure.root.locator("summary"), "Enter")
    listed = figure.root.locator("details tbody th").all()
    assert all(cell.is_visible() for cell in listed)
    assert sorted(cell.inner_text() for cell in listed) == sorted(row["method"] for row in chosen)
    for key in keys:
        select = figure.root.get_by_label(key.capitalize(), exact=True)
        last = select.locator("option").last
        if select.is_visible():
            figure.choose(select, select.locator("option").count() - 1)
            assert str(last.text_content()) in figure.root.locator("svg.fercore-chart").get_attribute(
                "aria-label"
            )


def filter_(figure: Figure) -> None:
    """Lists that hide rows or columns of a table."""
    body, output = figure.root.locator("tbody tr"), figure.root.locator("output")
    total = body.count()

    def visible() -> list[Locator]:
        return [row for row in body.all() if row.is_visible()]

    assert output.inner_text() == f"{total} of {counted(total, 'row')}"
    headings = [" ".join(cell.text_content().split()) for cell in figure.root.locator("thead th").all()]
    for name in figure.data["columns"]:
        select, column = figure.root.get_by_label(name, exact=True), headings.index(name)
        if not select.is_visible():
            continue
        for place in range(1, select.locator("option").count()):
            figure.choose(select, place)
            wanted = select.locator("option").nth(place).text_content()
            cells = [" ".join(row.locator("td, th").nth(column).text_content().split()) for row in body.all()]
            assert len(visible()) == cells.count(wanted) > 0
            assert output.inner_text() == f"{cells.count(wanted)} of {counted(total, 'row')}"
        figure.choose(select, 0)
        assert len(visible()) == total
    across = figure.data.get("across", {"label": "", "names": []})
    for place, name in enumerate(across["names"], start=1):
        figure.choose(figure.root.get_by_label(across["label"], exact=True), place)
        others = [other for other in across["names"] if other != name]
        heads = [cell for cell in figure.root.locator("thead th").all() if cell.is_visible()]
        assert [" ".join(cell.text_content().split()) for cell in heads] == [
            text for text in headings if name in text or not any(other in text for other in others)
        ]


DRIVERS: dict[str, Callable[[Figure], None]] = {
    "errors": errors,
    "filter": filter_,
    "players": players,
    "ranking": ranking,
    "stepper": stepper,
    "switches": switches,
}


def test_every_maker_has_a_driver() -> None:
    block = re.search(r"var makers = \{(.*?)\};", SCRIPT.read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    assert set(re.findall(r"(\w+):", block)) == set(DRIVERS)


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


def test_controls_have_names(desk: Visitor, lively: Path) -> None:
    for figure in figures(desk, lively):
        for control in figure.root.locator("input, select, button").all():
            named = control.evaluate(
                "part => (part.labels?.[0]?.textContent || part.getAttribute('aria-label') || part.textContent).trim()"
            )
            assert named


def test_every_maker_is_used_in_the_book() -> None:
    """One that is not would go untested here."""
    assert some_page()
    text = "".join(path.read_text(encoding="utf-8") for path in pages())
    assert not [kind for kind in DRIVERS if f'data-figure="{kind}"' not in text]
