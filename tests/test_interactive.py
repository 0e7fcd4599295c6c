"""Interactive figures: HTML that stands alone, with the right data in it."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from ferlab import interactive, provenance
from ferlab.interactive.embedding import rounded, shown
from ferlab.interactive.switches import outline
from ferlab.runs import records as results
from ferlab.studies import closeness
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fercore.shapley import build_tree

HOSTILE = "</script><b>&\"'<!--"


def content(html: str) -> Any:
    """Return the data of a figure as a browser reads it: up to the first end of the script."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script', html, re.S)[1])


def image(height: int = 12, width: int = 10, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels)).astype(np.uint8)


def scores(levels: int) -> list[np.ndarray]:
    return [np.random.default_rng(level).normal(size=2**level) for level in range(levels + 1)]


def point(**changes: Any) -> dict[str, Any]:
    row = {"dataset": "faces", "regions": 64, "output": "logit", "method": "both"}
    return row | {"evaluations_per_region": 4, "error": 0.5, "correlation": 0.9} | changes


def hostile() -> dict[str, str]:
    """Every figure, with a name in it that tries to break out."""
    face = interactive.stepper_face(HOSTILE, image(), {HOSTILE: (scores(2), [2, 4, 8])})
    mask, outputs = np.ones((12, 10), bool), np.full((2, 7), 1 / 7)
    return {
        "players": interactive.three_players([HOSTILE, "b", "c"], range(8)),
        "stepper": interactive.stepper([face]),
        "switches": interactive.region_switches(
            [interactive.switch_face(HOSTILE, image(), {HOSTILE: mask}, outputs)]
        ),
        "errors": interactive.error_plot([point(dataset=HOSTILE, method=HOSTILE, output=HOSTILE)]),
    }


@pytest.mark.parametrize("kind", ["players", "stepper", "switches", "errors"])
def test_a_figure_stands_alone_and_no_name_breaks_out_of_it(kind):
    html = hostile()[kind]
    page = BeautifulSoup(html, "html.parser")
    assert html.count("<script") == html.count("</script") == html.count("<noscript") == 1
    assert page.b is None
    (figure,) = page.find_all(recursive=False)
    assert figure.attrs == {"class": ["fercore-figure"], "data-figure": kind}
    assert HOSTILE in json.dumps(content(html), ensure_ascii=False).replace('\\"', '"')
    drawn = figure.find(class_="fercore-static").find("svg", role="img")
    assert HOSTILE in drawn.get_text()
    assert drawn.title
    assert "\n\n" not in html  # a blank line would end raw HTML in Markdown
    links = [tag.get("href") or tag.get("src") or "data:" for tag in page.find_all(True)]
    assert all(link.startswith("data:") for link in links)


def test_the_kinds_of_figures_are_those_of_the_script():
    script = (provenance.project_root() / "book" / "_static" / "figures.js").read_text(encoding="utf-8")
    makers = re.search(r"var makers = \{(.*?)\};", script, re.S)[1]
    assert {*hostile(), "filter", "ranking"} == set(re.findall(r"(\w+):", makers))


def test_data_are_rounded_and_nan_is_refused():
    data = {"a": np.array([1 / 3, 2.0]), "b": (np.float64(1e-9 / 3), np.int64(7)), "c": [True, None, "x"]}
    assert json.dumps(rounded(data, 3)) == '{"a": [0.333, 2], "b": [3.33e-10, 7], "c": [true, null, "x"]}'
    with pytest.raises(ValueError, match="JSON"):
        interactive.embed("players", [float("nan")], "", "")


@given(value=st.floats(-1e9, 1e9))
def test_numbers_are_shown_close_and_without_powers_of_ten(value):
    text = shown(value)
    assert re.fullmatch(r"\u2212?\d{1,3}(,\d{3})*(\.\d{1,5})?", text)
    back = float(text.replace("\u2212", "-").replace(",", ""))
    assert back == pytest.approx(value, rel=5e-3, abs=5.1e-6)


@given(worths=arrays.arrays(np.float64, 8, elements=st.floats(-10, 10).map(lambda value: round(value, 3))))
@settings(max_examples=20, deadline=None)
def test_static_values_of_three_players_are_the_shapley_values(worths):
    html = interactive.three_players(["x", "y", "z"], worths)
    title = re.search(r"<title>Shapley values: (.*?)\.</title>", html)[1]
    found = [float(part.split(" ")[1].replace("\u2212", "-")) for part in title.split(", ")]
    assert found == pytest.approx(closeness.shapley(worths, 3), rel=6e-3, abs=1e-5)
    assert content(html)["values"] == worths.tolist()
    rows = dict(re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", html))
    names = ["∅", "{x}", "{y}", "{z}", "{x, y}", "{x, z}", "{y, z}", "{x, y, z}"]
    assert rows == {
        name: shown(worths[code]) for name, code in zip(names, (0, 1, 2, 4, 3, 5, 6, 7), strict=True)
    }


# --- the stepper ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "levels"), [(48, 48, 9), (13, 31, 6), (5, 4, 0)])
def test_stepper_has_boxes_scores_and_a_scale_of_every_level(height, width, levels):
    spent = [2 * 2**level for level in range(levels + 1)]
    rules = {name: (scores(levels), spent) for name in ("a", "b")}
    html = interactive.stepper(
        [interactive.stepper_face(name, image(height, width), rules) for name in ("first", "second")]
    )
    assert len(html) < 120_000
    data, tree = content(html), build_tree(height, width, levels, "alternate")
    (boxes,) = data["trees"].values()  # faces of one size share them
    assert np.concatenate(boxes).tolist() == tree.boxes.tolist()
    rule = data["faces"][1]["rules"][1]
    assert rule["evaluations"] == spent
    for level, values in enumerate(scores(levels)):
        assert rule["scores"][level] == pytest.approx(values.tolist(), rel=1e-3)
        densities = np.abs(values) / tree.pixels(level)
        assert 0 < rule["limits"][level] <= densities.max() * (1 + 1e-5)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_the_embedded_picture_is_the_image_in_grey(channels):
    face = image(12, 10, *channels)
    data = content(interactive.stepper([interactive.stepper_face("a", face, {"x": (scores(1), [2, 4])})]))
    encoded = data["faces"][0]["image"].removeprefix("data:image/png;base64,")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    np.testing.assert_array_equal(picture, face.reshape(12, 10, -1).mean(axis=2).round())
    assert (data["faces"][0]["height"], data["faces"][0]["width"]) == (12, 10)


# --- regions switched on and off --------------------------------------------------------------------------------


@given(mask=arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=60, deadline=None)
def test_outlines_cover_a_mask_exactly_once(mask):
    painted = np.zeros(mask.shape, dtype=int)
    for left, top, width, height, back in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", outline(mask)):
        assert width == back
        painted[int(top) : int(top) + int(height), int(left) : int(left) + int(width)] += 1
    np.testing.assert_array_equal(painted, mask)


def test_the_static_drawing_hides_one_region_at_a_time():
    outputs = np.random.default_rng(0).dirichlet(np.ones(7), size=8)
    masks = {f"region {place}": np.arange(120).reshape(12, 10) // 10 == place for place in range(3)}
    html = interactive.region_switches([interactive.switch_face("a", image(12, 10, 3), masks, outputs)])
    best = int(outputs[-1].argmax())
    for region, code in enumerate((0b110, 0b101, 0b011)):
        assert f"region {region}: {shown(outputs[code, best])}<" in html


# --- error against evaluations ----------------------------------------------------------------------------------


def test_rows_come_from_the_committed_records():
    records = [results.read(path) for path in results.paths() if path.parts[-3] == "linear"]
    agreement = [row for one in records for row in one["metrics"]["agreement"]]
    data = content(interactive.error_plot(interactive.error_rows(records)))
    assert [row["error"] for row in data["rows"]] == pytest.approx(
        [row["error"] for row in agreement], rel=1e-5
    )
    names = [method["name"] for method in data["methods"]]
    assert names == list(dict.fromkeys(row["method"] for row in agreement))
    assert len({method["marker"] for method in data["methods"]}) == len(names) > 1


def test_titles_of_datasets_unknown_correlations_zero_errors_and_too_many_methods():
    rows = [point(correlation=float("nan")), point(dataset="other", correlation=None)]
    data = content(interactive.error_plot(rows))["rows"]
    assert [row["dataset"] for row in data] == ["Embedded faces", "other"]
    assert [row["correlation"] for row in data] == [None, None]
    assert "All errors of the first choice are zero." in interactive.error_plot([point(error=0)])
    assert "<svg" in interactive.error_plot([point(error=0), point(method="other")])
    with pytest.raises(ValueError, match="8 methods are too many"):
        interactive.error_plot([point(method=str(number)) for number in range(8)])
