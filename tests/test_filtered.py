"""The directive ``{filtered}``: a small book is built with it."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parents[1]
TABLE = """
| Dataset | Model | Accuracy |
|---|---|---|
| FER2013 | VGG-16 | 1 |
| JAFFE | ResNet-50 | 2 |
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that builds a page and returns its HTML (or text), and the warnings."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "book" / "_ext"), *sys.path])

    def run(page: str, builder: str = "html", *extensions: str) -> tuple[str, str]:
        (tmp_path / "index.md").write_text(f"# Page\n\n{page}\n", encoding="utf-8")
        warnings = io.StringIO()
        options = {
            "extensions": ["myst_parser", "filtered", *extensions],
            "myst_enable_extensions": ["colon_fence"],
        }
        out = tmp_path / builder
        with patch_docutils(), docutils_namespace():
            app = Sphinx(tmp_path, None, out, tmp_path / "trees", builder, options, None, warnings)
            app.build()
        suffix = {"html": "html", "text": "txt"}[builder]
        return (out / f"index.{suffix}").read_text(encoding="utf-8"), warnings.getvalue()

    return run


def test_a_table_keeps_all_rows_and_gets_what_the_script_reads(build):
    html, warnings = build(f":::{{filtered}}\n:columns: Dataset, Model\n{TABLE}:::")
    assert not warnings
    figure = re.search(
        r'<div class="fercore-figure" data-figure="filter">(.*?)</table>\s*</div>', html, re.S
    )[1]
    assert json.loads(re.search(r">({.*?})</script>", figure)[1]) == {"columns": ["Dataset", "Model"]}
    assert figure.count("<tr") == 3
    assert "hidden" not in figure


def test_it_goes_around_another_directive(build):
    inner = "```{accuracy-table} table-2\n:name: tab\n:caption: Both.\n```"
    options = ":columns: Network\n:across: Dataset: FER2013, JAFFE"
    html, warnings = build(f"````{{filtered}}\n{options}\n\n{inner}\n````", "html", "accuracy_tables")
    assert not warnings
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    assert data == {"columns": ["Network"], "across": {"label": "Dataset", "names": ["FER2013", "JAFFE"]}}
    assert '<table class="accuracy-table' in html
    assert "Both." in html


def test_other_builders_print_the_table_alone(build):
    text, warnings = build(f":::{{filtered}}\n:columns: Dataset\n{TABLE}:::", "text")
    assert not warnings
    assert "ResNet-50" in text
    assert "fercore" not in text


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (f":::{{filtered}}\n:columns: Data\n{TABLE}:::", "no Data; its columns are Dataset, Model, Accuracy"),
        (f":::{{filtered}}\n:across: Data: CK+\n{TABLE}:::", "no CK+"),
        (f":::{{filtered}}\n{TABLE}:::", "say what to choose by"),
        (":::{filtered}\n:columns: Dataset\n\nWords.\n:::", "one table is needed inside, and there are 0"),
        (f":::{{filtered}}\n:columns: Dataset\n{TABLE}\nAnd\n{TABLE}:::", "there are 2"),
    ],
)
def test_what_is_wrong_is_said(build, page, message):
    _, warnings = build(page)
    assert message in warnings
