"""Interactive figures: HTML that stands alone, right data in it, and clear errors for wrong input."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from ferlab import interactive, provenance
from ferlab.interactive.embedding import rounded, shown
from ferlab.interactive.switches import outline
from ferlab.runs import records as results
from ferlab.studies import closeness
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fercore.emotions import COLORS, EMOTIONS, NAMES
from fercore.errors import FercoreError
from fercore.shapley import build_tree

HOSTILE = "</script><b>&\"'<!--"
VOID = {"br", "img", "input"}


class Page(HTMLParser):
    """Collects tags and texts, and notes tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.texts, self.broken = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)

    def handle_data(self, text):
        self.texts.append(text)


def content(html: str) -> Any:
    """Return the data of a figure as a browser reads it: up to the first end of the script."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script', html, re.S)[1])


def image(height: int = 12, width: int = 10, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels)).astype(np.uint8)


def scores(levels: int) -> list[np.ndarray]:
    return [np.random.default_rng(level).normal(size=2**level) for level in range(levels + 1)]


def masks(count: int = 2) -> dict[str, np.ndarray]:
    found = {}
    for place in range(count):
        found[f"region {place}"] = np.zeros((12, 10), dtype=bool)
        found[f"region {place}"][place] = True
    return found


def outputs(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(7), size=2**count)


def point(**changes: Any) -> dict[str, Any]:
    row = {"dataset": "faces", "regions": 64, "output": "logit", "method": "both"}
    return row | {"evaluations_per_region": 4, "error": 0.5, "correlation": 0.9} | changes


def hostile() -> dict[str, str]:
    """Every figure, with a name in it that tries to break out."""
    face = interactive.stepper_face(HOSTILE, image(), {HOSTILE: (scores(2), [2, 4, 8])})
    regions = {HOSTILE: masks(1)["region 0"]}
    return {
        "players": interactive.three_players([HOSTILE, "b", "c"], range(8)),
        "stepper": interactive.stepper([face]),
        "switches": interactive.region_switches(
            [interactive.switch_face(HOSTILE, image(), regions, outputs(1))]
        ),
        "errors": interactive.error_plot([point(dataset=HOSTILE, method=HOSTILE, output=HOSTILE)]),
    }


@pytest.mark.parametrize("kind", ["players", "stepper", "switches", "errors"])
def test_a_figure_stands_alone_and_no_name_breaks_out_of_it(kind):
    html = hostile()[kind]
    page = Page(html)
    assert not page.broken
    assert not page.open
    assert "b" not in [tag for tag, _ in page.tags]
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.tags[0] == ("div", {"class": "fercore-figure", "data-figure": kind})
    assert HOSTILE in json.dumps(content(html), ensure_ascii=False).replace('\\"', '"')
    static = next(place for place, (_, a) in enumerate(page.tags) if a.get("class") == "fercore-static")
    drawn = [attributes for tag, attributes in page.tags[static:] if tag == "svg"]
    assert drawn[0]["role"] == "img"
    assert "title" in [tag for tag, _ in page.tags[static:]]
    assert "noscript" in [tag for tag, _ in page.tags]
    assert "\n\n" not in html  # a blank line would end raw HTML in Markdown
    links = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src")
    ]
    assert all(link.startswith("data:image/png;base64,") for link in links)


def test_data_are_rounded_and_nan_is_refused():
    data = {"a": np.array([1 / 3, 2.0]), "b": (np.float64(1e-9 / 3), np.int64(7)), "c": [True, None, "x"]}
    assert rounded(data, 3) == {"a": [0.333, 2], "b": [3.33e-10, 7], "c": [True, None, "x"]}
    assert json.dumps(rounded([3.0, 1.5])) == "[3, 1.5]"
    with pytest.raises(ValueError, match="JSON"):
        interactive.embed("players", [float("nan")], "", "")


@given(value=st.floats(-1e9, 1e9))
def test_numbers_are_shown_close_and_without_powers_of_ten(value):
    text = shown(value)
    assert re.fullmatch(r"\u2212?\d{1,3}(,\d{3})*(\.\d{1,5})?", text)
    back = float(text.replace("\u2212", "-").replace(",", ""))
    assert back == pytest.approx(value, rel=5e-3, abs=5.1e-6)


# --- three players ----------------------------------------------------------------------------------------------


@given(worths=arrays.arrays(np.float64, 8, elements=st.floats(-10, 10).map(lambda value: round(value, 3))))
@settings(max_examples=20, deadline=None)
def test_static_values_of_three_players_are_the_shapley_values(worths):
    html = interactive.three_players(["x", "y", "z"], worths)
    title = re.search(r"<title>Shapley values: (.*?)\.</title>", html)[1]
    found = [float(part.split(" ")[1].replace("\u2212", "-")) for part in title.split(", ")]
    assert found == pytest.approx(closeness.shapley(worths, 3), rel=6e-3, abs=1e-5)
    assert content(html)["values"] == worths.tolist()
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", html)
    assert [row[0] for row in rows] == ["∅", "{x}", "{y}", "{z}", "{x, y}", "{x, z}", "{y, z}", "{x, y, z}"]
    assert [row[1] for row in rows] == [shown(worths[code]) for code in (0, 1, 2, 4, 3, 5, 6, 7)]


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (["a", "b"], range(4), "three players; 2 names"),
        (["a", "b", "b"], range(8), "name of its own"),
        (["a", "b", " "], range(8), "name of its own"),
        (["a", "b", "c"], range(7), r"shape \(8,\).*it has shape \(7,\)"),
        (["a", "b", "c"], [float("inf")] * 8, "finite; 8 of them"),
        (["a", "b", "c"], ["one"] * 8, "must be numbers"),
    ],
)
def test_three_players_say_what_is_wrong(names, values, message):
    with pytest.raises(ValueError, match=message):
        interactive.three_players(names, values)


# --- the stepper ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "levels"), [(48, 48, 9), (12, 10, 3), (13, 31, 6), (5, 4, 0)])
def test_stepper_has_boxes_scores_and_sums_of_every_level(height, width, levels):
    given_scores = scores(levels)
    spent = [2 * 2**level for level in range(levels + 1)]
    face = interactive.stepper_face("a", image(height, width), {"x": (given_scores, spent)})
    data = content(interactive.stepper([face]))
    entry = data["faces"][0]
    tree = build_tree(height, width, levels, "alternate")
    boxes = data["trees"][entry["tree"]]
    assert np.concatenate(boxes).tolist() == tree.boxes.tolist()
    rule = entry["rules"][0]
    assert rule["evaluations"] == spent
    for level, values in enumerate(given_scores):
        assert rule["scores"][level] == pytest.approx(values.tolist(), rel=1e-3)
        assert sum(rule["scores"][level]) == pytest.approx(values.sum(), abs=1e-3 * np.abs(values).sum())
        top, left, bottom, right = np.array(boxes[level]).T
        densities = np.abs(values) / ((bottom - top) * (right - left))
        assert 0 < rule["limits"][level] <= densities.max() * (1 + 1e-5)


def test_faces_of_one_size_share_their_boxes_and_pages_stay_small():
    rules = {name: (scores(9), [2 ** (level + 1) for level in range(10)]) for name in ("a", "b")}
    faces = [interactive.stepper_face(name, image(48, 48), rules) for name in ("first", "second")]
    html = interactive.stepper(faces)
    assert len(content(html)["trees"]) == 1
    assert len(html) < 120_000


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_the_embedded_picture_is_the_image_in_grey(channels):
    face = image(12, 10, *channels)
    data = content(interactive.stepper([interactive.stepper_face("a", face, {"x": (scores(1), [2, 4])})]))
    encoded = data["faces"][0]["image"].removeprefix("data:image/png;base64,")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    grey = face.reshape(12, 10, -1).mean(axis=2).round()
    np.testing.assert_array_equal(picture, grey)
    assert (data["faces"][0]["height"], data["faces"][0]["width"]) == (12, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": image().astype(float)}, "must be uint8.*it is float64"),
        ({"image": image(12, 10, 2)}, r"of shape \(12, 10, 2\)"),
        ({"rules": {}}, "rules of 'a' must be named"),
        ({"rules": {"x": ([], [])}}, "1 to 10 levels; they have 0"),
        ({"rules": {"x": ([np.ones(1), np.ones(3)], [2, 4])}}, r"level 1 must have shape \(2,\).*\(3,\)"),
        ({"rules": {"x": ([np.ones(1), np.full(2, np.nan)], [2, 4])}}, "at level 1 must be finite"),
        ({"rules": {"x": (scores(1), [2])}}, "must be 2 numbers"),
        ({"rules": {"x": (scores(1), [4, 2])}}, "never fall"),
        ({"rules": {"x": (scores(1), [2, 4]), "y": (scores(2), [2, 4, 8])}}, r"same number.*\[1, 2\]"),
        (
            {"image": image(2, 2), "rules": {"x": (scores(3), [2, 4, 8, 16])}},
            "too deep for an image of 2 x 2",
        ),
    ],
)
def test_stepper_says_what_is_wrong(changes, message):
    good = {"name": "a", "image": image(), "rules": {"x": (scores(1), [2, 4])}}
    with pytest.raises(ValueError, match=message):
        interactive.stepper_face(**good | changes)


def test_faces_need_names_of_their_own():
    face = interactive.stepper_face("a", image(), {"x": (scores(1), [2, 4])})
    for faces in ([], [face, face]):
        with pytest.raises(ValueError, match="faces must be named"):
            interactive.stepper(faces)
    with pytest.raises(ValueError, match="faces must be named"):
        interactive.region_switches([])


# --- regions switched on and off --------------------------------------------------------------------------------


@given(mask=arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=60, deadline=None)
def test_outlines_cover_a_mask_exactly_once(mask):
    painted = np.zeros(mask.shape, dtype=int)
    for left, top, width, height, back in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", outline(mask)):
        assert width == back
        painted[int(top) : int(top) + int(height), int(left) : int(left) + int(width)] += 1
    np.testing.assert_array_equal(painted, mask)


def test_switches_keep_the_order_of_coalitions_regions_and_emotions():
    stored = outputs(3)
    face = interactive.switch_face("a", image(12, 10, 3), masks(3), stored)
    data = content(interactive.region_switches([face]))
    assert data["classes"] == list(NAMES)
    assert data["colors"] == [COLORS[emotion] for emotion in EMOTIONS]
    entry = data["faces"][0]
    assert entry["regions"] == ["region 0", "region 1", "region 2"]
    assert entry["paths"][1] == "M0 1h10v1h-10z"
    np.testing.assert_allclose(entry["outputs"], stored, atol=5e-5)


def test_static_switches_hide_one_region_at_a_time():
    stored = outputs(2)
    html = interactive.region_switches([interactive.switch_face("a", image(), masks(), stored)])
    best = int(stored[3].argmax())
    assert f"region 0: {shown(stored[0b10, best])}<" in html
    assert f"region 1: {shown(stored[0b01, best])}<" in html


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": {}}, "regions of 'a' must be named"),
        ({"masks": masks(9)}, "9 regions; 8 are the most"),
        ({"masks": {"x": np.ones((12, 10)), "y": masks()["region 0"]}}, "'x' of 'a' must be bool"),
        ({"masks": {"x": np.ones((2, 2), bool), "y": masks()["region 0"]}}, r"of shape \(2, 2\)"),
        ({"masks": {"x": np.zeros((12, 10), bool), "y": masks()["region 0"]}}, "with 0 pixels"),
        ({"masks": {"x": np.ones((12, 10), bool), "y": masks()["region 0"]}}, "overlap: 10 pixels"),
        ({"outputs": outputs(3)}, r"shape \(4, 7\).*shape \(8, 7\)"),
        ({"outputs": outputs()[:, :6]}, r"shape \(4, 6\)"),
        ({"outputs": 3 * outputs()}, "sum of 1"),
        ({"outputs": outputs() - [1, -1, 0, 0, 0, 0, 0]}, "0 or more"),
        ({"outputs": np.full((4, 7), np.nan)}, "finite"),
    ],
)
def test_switches_say_what_is_wrong(changes, message):
    good = {"name": "a", "image": image(), "masks": masks(), "outputs": outputs()}
    with pytest.raises(ValueError, match=message):
        interactive.switch_face(**good | changes)


# --- error against evaluations ----------------------------------------------------------------------------------


def record(**changes: Any) -> dict[str, Any]:
    row = {
        "regions": 64,
        "output": "logit",
        "method": "both",
        "per region": 4,
        "error": 0.5,
        "correlation": 0.9,
    }
    return {"experiment": "linear", "dataset": "faces", "metrics": {"agreement": [row]}} | changes


def test_rows_come_from_the_committed_records():
    paths = [path for path in results.paths() if path.parts[-3] == "linear"]
    assert paths, "no record of linear is committed"
    records = [results.read(path) for path in paths]
    rows = interactive.error_rows(records)
    agreement = [row for one in records for row in one["metrics"]["agreement"]]
    assert [row["error"] for row in rows] == [row["error"] for row in agreement]
    data = content(interactive.error_plot(rows))
    assert len(data["rows"]) == len(agreement)
    assert [method["name"] for method in data["methods"]] == list(
        dict.fromkeys(r["method"] for r in agreement)
    )
    assert len({method["marker"] for method in data["methods"]}) == len(data["methods"])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(experiment="accuracy")], "not of 'accuracy'"),
        ([record(), record()], "two records of dataset 'faces'"),
        ([record(metrics={})], "no full metrics.agreement"),
        ([record(metrics={"agreement": [{"regions": 64}]})], "no full metrics.agreement"),
    ],
)
def test_rows_say_what_is_wrong_with_a_record(records, message):
    with pytest.raises(FercoreError, match=message):
        interactive.error_rows(records)


def test_datasets_have_titles_and_unknown_correlations_are_allowed():
    rows = [point(correlation=float("nan")), point(dataset="other", correlation=None)]
    data = content(interactive.error_plot(rows))["rows"]
    assert [row["dataset"] for row in data] == ["Embedded faces", "other"]
    assert [row["correlation"] for row in data] == [None, None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"dataset": "faces"}], "Row 0 lacks regions, output"),
        ([point(), point(error=0.4)], "Two rows.*'evaluations_per_region': 4"),
        ([point(error=-1)], "finite error from 0 on"),
        ([point(error=float("nan"))], "finite error"),
        ([point(evaluations_per_region=0)], "above 0"),
        ([point(method=str(number)) for number in range(8)], "8 methods are too many"),
    ],
)
def test_error_plot_says_what_is_wrong(rows, message):
    with pytest.raises(ValueError, match=message):
        interactive.error_plot(rows)


def test_zero_errors_leave_the_static_figure_whole():
    assert "All errors of the first choice are zero." in interactive.error_plot([point(error=0)])
    assert "<svg" in interactive.error_plot([point(error=0), point(method="other")])


def test_the_kinds_of_figures_are_those_of_the_script():
    script = (provenance.project_root() / "book" / "_static" / "figures.js").read_text(encoding="utf-8")
    makers = re.search(r"var makers = \{(.*?)\};", script, re.S)[1]
    assert {*hostile(), "filter", "ranking"} == set(re.findall(r"(\w+):", makers))
