"""book/_static/figures.js, run by Node.js on the few parts of a document that it needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ferlab import interactive as figures
from ferlab import provenance, temo
from ferlab.interactive.embedding import shown
from ferlab.studies import closeness
from ferlab.temo import ranking

from fercore.emotions import NAMES
from fercore.shapley import build_tree

SCRIPT = provenance.project_root() / "book" / "_static" / "figures.js"
NODE = shutil.which("node")
DOCUMENT = Path(__file__).with_name("toy_document.js")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")

# A damaged figure stays as it is; in a live one every control has a name, and no id is used twice.
CHECKS = """
if (roots[1].names.has("fercore-live")) throw new Error("damaged, but live");
if (!roots[0].names.has("fercore-live")) throw new Error("not live");
const controls = roots[0].all((part) => ["input", "select"].includes(part.tag));
const labels = new Set(roots[0].all("label").map((label) => label.attributes.for));
const ids = roots[0].all((part) => part.id).map((part) => part.id);
if (!controls.length || new Set(ids).size < ids.length) throw new Error("ids");
if (!controls.every((part) => labels.has(part.id) || part.attributes["aria-label"])) throw new Error("no name");
const boxes = roots[0].all((part) => part.attributes.type === "checkbox");
const told = () => roots[0].styled("fercore-said").map((line) => line.textContent);
const texts = (parts) => parts.map((part) => part.textContent);
"""


def play(html: str | dict[str, Any], steps: str) -> Any:
    """Run the script on a figure and a damaged copy of it, then the checks and steps; return what these return."""
    if isinstance(html, str):
        kind = re.search(r'data-figure="(\w+)"', html)[1]
        html = {"kind": kind, "data": re.search(r'<script type="application/json">(.*?)</script>', html)[1]}
    given = {"figures": [html, html | {"data": "{"}], "script": SCRIPT.read_text(encoding="utf-8")}
    given["steps"] = CHECKS + steps
    answer = subprocess.run([NODE, str(DOCUMENT)], input=json.dumps(given), capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_slider_and_list_change_the_ranking():
    about = {"balanced": 0.5, "fold": 0}
    rows = [
        {"method": method, "k": k, "class": label, "accuracy": 0.5 + label / 30} | about
        for label in (0, 3)
        for method, k in (("all", 12), ("integrated gradients", 3))
    ]
    relevance = {"zeros": np.stack([np.arange(12.0)[None], np.arange(12.0)[::-1][None]], axis=1)}
    study = temo.Study(rows, relevance, {}, (0, 3), temo.Plan(sizes=(12, 3)))
    costs = [{"k": 12, "parameters": 1200, "flops": 9}, {"k": 3, "parameters": 300, "flops": 4}]
    faces = np.random.default_rng(0).normal(size=(2, 12, 2))
    steps = """
    const state = () => ({
      kept: roots[0].find("svg").children.flatMap((dot, i) => (dot.attributes.class === "kept" ? [i - 1] : [])),
      output: roots[0].find("output").textContent, title: roots[0].find("title").textContent, said: told()[0],
    });
    const before = state();
    roots[0].find("input").choose("5");
    roots[0].find("select").choose("1");
    return [before, state()];
    """
    before, after = play(ranking.slider(study, faces, costs), steps)
    assert (before["kept"], before["output"]) == ([9, 10, 11], "3 of 12")
    assert before["said"] == "Measured: 50.0 % accuracy, 300 parameters, 4 operations per clip."
    assert after["kept"] == [0, 1, 2, 3, 4]
    assert after["title"] == "Happy: the 5 most relevant of 12 landmarks on a mean face"
    assert after["said"].startswith("Nearest measured number, 3: 60.0 % accuracy")


# --- three players ------------------------------------------------------------------------------------------


def test_players_tell_coalitions_orders_and_shapley_values_follow_other_worths_and_go_back():
    worths = np.random.default_rng(0).normal(size=8) * [0, 0.01, 0.1, 1, 10, 100, 1000, 10000]
    steps = """
    const state = () => ({
      said: told()[0], sum: told()[1],
      present: roots[0].styled("fercore-present").map((line) => line.children[0].textContent),
      current: roots[0].all((part) => part.attributes["aria-current"] === "true").length,
      steps: roots[0].all("table")[1].children[2].children.map((line) => texts(line.children)),
      values: roots[0].all("table")[2].children[2].children.map((line) => line.children[2].textContent),
    });
    const everyone = roots[0].all((part) => part.attributes.type === "number")[7];
    const first = state();
    boxes[0].tick();
    boxes[2].tick();
    roots[0].find("select").choose("3");
    const chosen = {...state(), orders: texts(roots[0].find("select").children)};
    everyone.choose("7");
    const changed = state().values;
    everyone.choose("");
    const nonsense = [state().values, everyone.attributes["aria-invalid"]];
    roots[0].find("button").fire("click");
    return {first, chosen, changed, nonsense, last: state(), valid: everyone.attributes["aria-invalid"]};
    """
    seen = play(figures.three_players(["A", "B", "C"], worths), steps)
    worths = np.array([float(f"{value:.6g}") for value in worths])  # as they are embedded
    chosen = seen["chosen"]
    assert chosen["orders"] == ["A, B, C", "A, C, B", "B, A, C", "B, C, A", "C, A, B", "C, B, A"]
    assert (chosen["present"], chosen["current"]) == (["{A, C}"], 1)
    assert chosen["said"] == f"v({{A, C}}) = {shown(worths[0b101])}"
    arrivals = [("B", "∅", 0, 0b010), ("C", "{B}", 0b010, 0b110), ("A", "{B, C}", 0b110, 0b111)]
    assert chosen["steps"] == [
        [who, there, f"{shown(worths[b])} − {shown(worths[a])} = {shown(worths[b] - worths[a])}"]
        for who, there, a, b in arrivals
    ]
    # closeness.shapley weighs coalitions by their size, the script goes through all orders.
    assert chosen["values"] == [shown(value) for value in closeness.shapley(worths, 3)]
    total = shown(worths[7] - worths[0])
    assert chosen["sum"] == f"Sum of the Shapley values: {total}. v({{A, B, C}}) − v(∅) = {total}."
    worths[7] = 7
    assert seen["changed"] == [shown(value) for value in closeness.shapley(worths, 3)]
    assert seen["nonsense"] == [seen["changed"], "true"]
    assert (seen["last"], seen["valid"]) == (seen["first"], "false")


# --- the stepper --------------------------------------------------------------------------------------------

STEPPER = """
const map = roots[0].styled("fercore-map")[0];
const range = roots[0].all((part) => part.attributes.type === "range")[0];
const [face, rule] = roots[0].all("select");
const rects = () => roots[0].styled("fercore-regions")[0].children;
const box = (part) => ["y", "x", "height", "width"].map((name) => Number(part.attributes[name]));
const frame = () => box(roots[0].styled("fercore-frame")[0]);
const ends = () => texts(roots[0].styled("fercore-ends")[0].children);
range.choose("6");
"""


@pytest.fixture(scope="module")
def stepped() -> tuple[str, list[np.ndarray]]:
    random, levels = np.random.default_rng(0), 6
    first = [random.normal(size=2**level) for level in range(levels + 1)]
    second = [100 * scores for scores in first]
    spent = [2 * 2**level for level in range(levels + 1)]
    image = random.integers(0, 255, (21, 30, 3)).astype(np.uint8)
    large = figures.stepper_face("large", image, {"one": (first, spent), "two": (second, spent)})
    small = figures.stepper_face("small", image[:4, :4], {"two": (second[:3], spent[:3])})
    return figures.stepper([large, small]), first


def test_stepper_draws_the_regions_of_a_level_and_their_sum(stepped):
    html, scores = stepped
    steps = """
    const drawn = [];
    for (let level = 0; level <= 6; level++) {
      range.choose(String(level));
      const colors = rects().map((part) => part.attributes.fill.match(/\\d+/g).map(Number));
      drawn.push({boxes: rects().map(box), colors, told: told()[0], text: range.attributes["aria-valuetext"]});
    }
    return drawn;
    """
    tree = build_tree(21, 30, 6, "alternate")
    for level, drawn in enumerate(play(html, STEPPER + steps)):
        top, left, bottom, right = tree.boxes[tree.nodes(level)].T
        assert drawn["boxes"] == np.stack([top, left, bottom - top, right - left], axis=1).tolist()
        red, _, blue = np.array(drawn["colors"]).T
        strong = np.abs(scores[level]) > 0.1 * np.abs(scores[level]).max()
        assert ((red > blue) == (scores[level] > 0))[strong].all()
        total = sum(float(f"{score:.4g}") for score in scores[level])
        regions = "1 region" if level == 0 else f"{2**level} regions"
        assert drawn["told"] == (
            f"{regions}, {2 * 2**level} evaluations up to this level. Sum of all scores: {shown(total)} "
            f"(level 0: {shown(scores[0][0])})."
        )
        assert drawn["text"] == f"level {level}, {regions}"


def test_stepper_moves_by_keys_and_pointer_and_changes_level_rule_scale_and_face(stepped):
    html, scores = stepped
    steps = """
    const own = ends();
    boxes[0].tick();
    const common = ends();
    boxes[0].tick();
    rule.choose("1");
    const second = ends();
    rule.choose("0");
    map.focus();
    const walk = [frame()];
    for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"]) {
      map.press(key);
      walk.push(frame());
    }
    const ignored = map.press("Tab").prevented;
    map.fire("pointermove", {target: rects()[0]});
    const corner = [frame(), told()[1]];
    map.fire("pointermove", {target: rects()[63]});
    range.choose("1");
    const half = [frame(), told()[1]];
    face.choose("1");
    const left = [texts(rule.children), range.value, rects().length];
    return {own, common, second, walk, ignored, corner, half, left};
    """
    seen = play(html, STEPPER + steps)
    own, common, second = (float(seen[key][2].replace("+", "")) for key in ("own", "common", "second"))
    assert second == pytest.approx(100 * own, rel=0.01)
    assert common >= second
    assert seen["own"][0] == seen["own"][2].replace("+", "−")
    start, right, down, left, up = seen["walk"]  # each [row, column, height, width]
    assert start[0] <= 10.5 < start[0] + start[2]
    assert start[1] <= 15 < start[1] + start[3]
    assert right[1] == start[1] + start[3]  # neighbours touch
    assert down[0] == right[0] + right[2]
    assert left[1] + left[3] == down[1]
    assert up[0] + up[2] == left[0]
    assert not seen["ignored"]
    tree = build_tree(21, 30, 6, "alternate")
    _, _, bottom, right = tree.boxes[tree.nodes(6)][0]
    sign = "+" if scores[6][0] > 0 else ""
    assert seen["corner"] == [
        [0, 0, bottom, right],
        f"Region 1 of 64: score {sign}{shown(scores[6][0])}, rows 0 to {bottom - 1}, columns 0 to {right - 1}, "
        f"{bottom * right} pixels.",
    ]
    assert seen["half"][0] == [10, 0, 11, 30]
    assert seen["half"][1].startswith("Region 2 of 2: ")
    assert seen["left"] == [["two"], "1", 2]


# --- regions switched on and off ----------------------------------------------------------------------------


def test_switches_show_the_stored_outputs_of_the_coalition():
    outputs = np.random.default_rng(1).dirichlet(np.ones(7), size=8)
    outputs[-1] = [0.05, 0.05, 0.05, 0.7, 0.05, 0.05, 0.05]
    rows = np.arange(6)[:, None] // 2 * np.ones((1, 6), int)
    masks = {name: rows == place for place, name in enumerate(("eyes", "nose", "mouth"))}
    face = figures.switch_face("a", np.zeros((6, 6), np.uint8), masks, outputs)
    other = figures.switch_face("b", np.zeros((6, 6), np.uint8), {"all": masks["eyes"]}, outputs[[0, 7]])
    steps = """
    const [gains, bars] = roots[0].all("table");
    const numbers = (part) => texts(part.styled("fercore-number").filter((cell) => cell.tag === "td"));
    const state = () => ({
      bars: numbers(bars), gains: numbers(gains), said: told()[0], title: roots[0].find("title").textContent,
      hidden: roots[0].styled("fercore-cover").map((cover) => cover.attributes.class.includes("hidden")),
    });
    const [show, hide] = roots[0].all("button");
    const seen = {};
    hide.fire("click");
    seen[0] = state();
    show.fire("click");
    seen[7] = state();
    gains.all("input")[1].tick();
    seen[5] = state();
    roots[0].styled("fercore-cover")[0].fire("click");
    seen[4] = state();
    roots[0].find("select").choose("1");
    return [seen, gains.all("input").length];
    """
    seen, regions_of_other = play(figures.region_switches([face, other]), steps)
    assert regions_of_other == 1
    for key, state in seen.items():
        code = int(key)
        assert state["bars"] == [f"{round(value, 4):.3f}" for value in outputs[code]], code
        assert state["hidden"] == [not code >> place & 1 for place in range(3)]
        gains = [outputs[code | 1 << place, 3] - outputs[code & ~(1 << place), 3] for place in range(3)]
        assert [float(text.replace("−", "-")) for text in state["gains"]] == pytest.approx(gains, abs=2e-3)
    assert seen["0"]["said"].startswith("Shown: no region.")
    assert seen["7"]["said"] == "Shown: everything. Happy 0.700, the most probable."
    assert seen["4"]["said"].startswith(f"Shown: mouth. Happy {outputs[4, 3]:.3f}")
    assert NAMES[int(outputs[4].argmax())] in seen["4"]["said"]
    assert seen["4"]["title"] == "a, shown: mouth"


# --- error against evaluations ------------------------------------------------------------------------------


def row(method: str, spent: float, error: float, regions: int = 64) -> dict[str, Any]:
    what = {"dataset": "faces", "regions": regions, "output": "logit", "method": method}
    return what | {"evaluations_per_region": spent, "error": error, "correlation": 1 - error / 2}


def test_errors_are_drawn_and_gone_through_by_keys():
    rows = [row("slow", 8, 0.5), row("slow", 4, 1), row("slow", 16, 0.25), row("quick", 4, 0.4)]
    rows += [row("quick", 8, 0.1), row("quick", 16, 0), row("slow", 4, 2, 256)]
    steps = """
    const points = () => roots[0].styled("fercore-point");
    const stops = () => points().filter((point) => point.attributes.tabindex === "0");
    const place = (point) => point.all("circle").map((c) => [Number(c.attributes.cx), Number(c.attributes.cy)])[0];
    const start = [told()[0], points().map(place), stops().length];
    stops()[0].focus();
    const path = [told()[0]];
    for (const key of ["ArrowRight", "ArrowDown", "ArrowUp", "End", "Home", "ArrowLeft"]) {
      document.activeElement.press(key);
      path.push(told()[0]);
    }
    const label = document.activeElement.attributes["aria-label"];
    boxes[0].tick();
    const left = points().map(place);
    const numbers = roots[0].all("tbody")[1].children.map((line) => texts(line.children).join(" "));
    roots[0].all("select")[1].choose("1");
    return {start, path, label, left, numbers, none: [told()[0], points().length, stops().length]};
    """
    seen = play(figures.error_plot(rows), steps)
    told, places, stops = seen["start"]
    assert told.startswith("5 points, and 1 with error 0, which are not drawn.")
    assert stops == 1
    (x4, y1), (x8, y05), (x16, y025), (_, y04), (_, y01) = places
    assert x8 - x4 == pytest.approx(x16 - x8)  # equal factors, equal distances
    assert y05 - y1 == pytest.approx(y025 - y05)
    assert y01 > y025 > y04  # smaller errors lie lower
    slow = [
        f"slow: {spent} evaluations per region, error {error}, correlation {correlation}."
        for spent, error, correlation in ((4, 1, 0.5), (8, 0.5, 0.75), (16, 0.25, 0.875))
    ]
    quick = "quick: 8 evaluations per region, error 0.1, correlation 0.95."
    assert seen["path"] == [slow[0], slow[1], quick, slow[1], slow[2], slow[0], slow[0]]
    assert seen["label"] == slow[0]
    assert seen["left"] == places[3:]  # a line stays where it is when another goes
    assert seen["numbers"] == ["quick 4 0.4 0.8", "quick 8 0.1 0.95", "quick 16 0 1"]
    # The slow method alone has 256 regions, and it is switched off.
    told, *left = seen["none"]
    assert told.startswith("0 points.")
    assert left == [0, 0]


# --- tables to be filtered ----------------------------------------------------------------------------------

TABLE = [
    ["Network", "Dataset", "Paper: JAFFE", "Paper: CK+"],
    ["VGG-16", "one", "1", "\u2013"],
    ["VGG-16", "two", "2", "3"],
    ["ResNet", "two", "\u2013", "4"],
]


def test_filter_hides_rows_and_columns_and_leaves_alone_what_it_cannot_read():
    data = {"columns": ["Network", "Dataset"], "across": {"label": "Data", "names": ["JAFFE", "CK+"]}}
    steps = """
    const table = roots[0].find("table");
    const shown = (parts) => parts.map((part) => !part.hidden);
    const state = () => ({
      rows: shown(table.tBodies[0].rows), columns: shown(table.tBodies[0].rows[0].cells),
      head: shown(table.tHead.rows[0].cells), count: roots[0].find("output").textContent,
    });
    const lists = roots[0].all("select");
    const seen = [state()];
    for (const [list, place] of [[0, "1"], [1, "2"], [0, "0"], [1, "0"], [2, "1"]]) {
      lists[list].choose(place);
      seen.push(state());
    }
    return {seen, options: lists.map((list) => texts(list.children))};
    """
    figure = {"kind": "filter", "data": json.dumps(data), "table": TABLE}
    played = play(figure, steps)
    assert played["options"] == [["All", "VGG-16", "ResNet"], ["All", "one", "two"], ["All", "JAFFE", "CK+"]]
    start, vgg, both, _, everything, jaffe = played["seen"]
    assert start == everything
    assert all(all(start[key]) for key in ("rows", "columns", "head"))
    assert [state["count"] for state in (start, vgg, both)] == [f"{count} of 3 rows" for count in (3, 2, 1)]
    assert vgg["rows"] == jaffe["rows"] == [True, True, False]  # where there is a number for JAFFE
    assert both["rows"] == [False, True, False]
    assert jaffe["columns"] == jaffe["head"] == [True, True, True, False]
    with pytest.raises(AssertionError, match="not live"):
        play(figure | {"table": [*TABLE, ["a cell over all columns"]]}, "return 1;")
