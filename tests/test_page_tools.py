"""What every page offers: launch buttons, downloads, a citation, and whether its run is fresh."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from test_book import BOOK, HOSTILE, ROOT, extension

page_tools = extension("page_tools")
provenance = extension("provenance")


class TestRepository:
    @pytest.fixture(autouse=True)
    def clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FERCORE_REPOSITORY", raising=False)
        monkeypatch.delenv("FERCORE_REF", raising=False)

    @pytest.mark.parametrize(
        ("remote", "name"),
        [
            ("https://github.com/some-one/fer.core.git", "some-one/fer.core"),
            ("git@github.com:some-one/fercore.git", "some-one/fercore"),
            ("https://github.com/some-one/fercore", "some-one/fercore"),
            ("/srv/git/fercore.git", ""),
            ("https://example.org/some-one/fercore.git", ""),
        ],
    )
    def test_remote(self, tmp_path: Path, remote: str, name: str) -> None:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", remote], check=True)
        assert page_tools.repository(tmp_path) == name

    def test_environment_wins_and_is_checked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FERCORE_REPOSITORY", "owner/name")
        assert page_tools.repository(tmp_path) == "owner/name"
        monkeypatch.setenv("FERCORE_REPOSITORY", HOSTILE)
        assert page_tools.repository(tmp_path) == ""
        monkeypatch.setenv("FERCORE_REF", "v1")
        assert page_tools.branch() == "v1"

    def test_links(self) -> None:
        html = page_tools.launch("owner/name", "notebooks/linear.ipynb", "a/branch")
        assert (
            'href="https://mybinder.org/v2/gh/owner/name/a%2Fbranch?urlpath=lab%2Ftree%2Fnotebooks%2Flinear.ipynb"'
            in html
        )
        assert "colab.research.google.com/github/owner/name/blob/a%2Fbranch/notebooks/linear.ipynb" in html

    def test_no_link_without_a_repository(self) -> None:
        html = page_tools.launch("", "notebooks/linear.ipynb")
        assert "href" not in html
        assert "FERCORE_REPOSITORY" in html


def test_downloads_name_the_modules_that_draw() -> None:
    found = page_tools.downloads(
        ROOT, {"experiment": "emotion_maps", "record": "results/emotion_maps/faces/a.json"}
    )
    assert found == {
        "notebook": "notebooks/emotion_maps.ipynb",
        "its text": "notebooks/emotion_maps.py",
        "record": "results/emotion_maps/faces/a.json",
        "figures: panels": "notebooks/ferlab/figures/panels.py",
        "figures: style": "notebooks/ferlab/figures/style.py",
    }
    assert page_tools.downloads(ROOT, {}) == {
        "notebook": "notebooks/.ipynb",
        "its text": "notebooks/.py",
        "record": "",
    }


def test_offer_copies_what_exists(tmp_path: Path) -> None:
    files = {"text": "notebooks/linear.py", "absent": "results/none.json", "empty": ""}
    html = page_tools.offer(ROOT, tmp_path, "book/a.ipynb", files, lambda name, _: f"../{name}")
    page, text = html.split(", ")
    assert page == '<a href="../_sources/book/a.ipynb" download>executed notebook</a>'
    assert text == '<a href="../_downloads/run/notebooks/linear.py" download>text</a>'
    copied = tmp_path / "_downloads" / "run" / "notebooks" / "linear.py"
    assert copied.read_bytes() == (ROOT / "notebooks" / "linear.py").read_bytes()


def test_citation_is_escaped() -> None:
    html = page_tools.citation(HOSTILE, "0.1", HOSTILE)
    assert "<script" not in html
    assert "fercore 0.1, commit &lt;script" in html


class TestState:
    def test_committed_run(self, tmp_path: Path) -> None:
        page = next((BOOK / "runs" / "fer2013").glob("*.ipynb"))
        run = provenance.read_metadata(page)
        found = provenance.read_record(ROOT, run)
        assert 'class="state-fresh"' in provenance.state(found)
        found["provenance"]["code"]["notebook"] = HOSTILE
        html = provenance.state(found)
        assert 'class="state-stale"' in html
        assert "notebook has changed" in html

    def test_lost_or_damaged_record(self, tmp_path: Path) -> None:
        (tmp_path / "bad.json").write_text(json.dumps({"schema": 1}), encoding="utf-8")
        for name in ("bad.json", "none.json", ""):
            assert "its record is not there" in provenance.state(
                provenance.read_record(tmp_path, {"record": name})
            )

    def test_rows_come_first(self) -> None:
        html = provenance.render({"experiment": "linear"}, "abc", None, {"State": "<b>x</b>", "Empty": ""})
        assert html.index("<dt>State</dt><dd><b>x</b></dd>") < html.index("Experiment")
        assert "Empty" not in html

    def test_version(self) -> None:
        assert f'version = "{provenance.version(ROOT)}"' in (ROOT / "pyproject.toml").read_text(
            encoding="utf-8"
        )


def test_only_what_no_page_loads_is_left_out(tmp_path: Path) -> None:
    lean = extension("lean")
    kept = ["_static/a.js", "_static/own.png", "_static/f.woff2", "_static/g.ttf", "_images/twice.png"]
    gone = ["_static/a.js.map", "_static/twice.png", "_static/f.ttf"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert lean.superfluous(tmp_path) == sorted(tmp_path / name for name in gone)
