"""What Sphinx is taught for the book: a small book is built with all its extensions, and wrong input is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import lean
import mathjax_local
import nbformat
import page_tools
import provenance
import pytest
import records
import run_table
from bs4 import BeautifulSoup
from conftest import ROOT, build_book
from sphinx.errors import ExtensionError

HOSTILE = "<script>alert('x')</script>&\""
RECORD = "accuracy/fer2013/accuracy-w0.25.json"
METRICS = {
    "test": {"accuracy": 0.62617, "images": 3589, "per_class": [0.5, 0.25]},
    "test_without_duplicates": {"accuracy": 0.6},
    "interval_95": {"accuracy": {"low": 0.6}},
}
WHEN = {"started": "2026-11-22T10:00:00+00:00", "hardware": HOSTILE}
CONTENT = {"experiment": "accuracy", "dataset": "fer2013", "model": "proposed", "protocol": "official"}
CONTENT |= {"fold": 0, "metrics": METRICS, "training": {"seconds": 7200.0}}
CONTENT |= {"provenance": {**WHEN, "seconds": 61.2}}
STEP = {"step": "check", "found": {"brief": "all is well"}, "seconds": 1234.5, "device": "GPU"}
RUN = {**WHEN, "experiment": "emotion_maps", "seconds": 3725, "seed": 0, "record": f"results/{RECORD}"}
RUN |= {"parameters": {HOSTILE: HOSTILE}, "versions": {"torch": "2.13.0"}}
PAGE = f"""# Page & co.

{{record}}`{RECORD}:metrics.test.accuracy:.1%`, {{record}}`{RECORD}:metrics.gone`, $x^2$

```{{run-table}} fer2013
:caption: All runs.
```
```{{full-scale-table}}
```
```{{course-downloads}}
```
```{{reachable}} 213 5 99.20
```
"""


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with one record, one that is damaged, and a file outside that is none."""
    folder = tmp_path_factory.mktemp("project") / "results"
    write(folder / RECORD, CONTENT)
    write(folder / "accuracy" / "fer2013" / "broken.json", "{")
    write(folder / "full_scale" / "check.json", {**STEP, "finished": WHEN["started"]})
    write(folder.parent / "secret.json", {"key": 1})
    return folder


@pytest.fixture(scope="module")
def book(results):
    """Where the built book lies, its two pages, one of prose and one of a run, and the warnings."""
    root = results.parent
    write(root / "index.md", f"{PAGE}\n```{{toctree}}\nbook/run\n```\n")
    cell = nbformat.v4.new_markdown_cell("# A run")
    run = nbformat.v4.new_notebook(cells=[cell], metadata={"fercore": RUN})
    write(root / "book" / "run.ipynb", nbformat.writes(run))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "notebooks").symlink_to(ROOT / "notebooks")
    names = ["course_versions", "lean", "mathjax_local", "no_thebe", "provenance", "records", "run_table"]
    extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_thebe", "accuracy_tables", *names]
    options = {"exclude_patterns": ["results", "notebooks"], "nb_execution_mode": "off"}
    options |= {"myst_enable_extensions": ["dollarmath"], "html_sourcelink_suffix": ""}
    options["source_suffix"] = dict.fromkeys([".md", ".ipynb"], "myst-nb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERCORE_REPOSITORY", "owner/name")
        app, said = build_book(root, extensions=extensions, **options)
    out = Path(app.outdir)
    return out, *((out / name).read_text(encoding="utf-8") for name in ("index.html", "book/run.html")), said


def text(html):
    return " ".join(BeautifulSoup(html, "html.parser").get_text(" ").split())


def test_records_are_quoted_and_listed_and_what_is_wrong_warned_of(book):
    _, html, _, said = book
    page = text(html)
    assert f'title="results/{RECORD}: metrics.test.accuracy">62.6%</abbr>' in html
    assert "62.6% , ?? ," in page
    row = "fer2013 accuracy proposed official, fold 0 test 62.6 %, test without duplicates 60.0 % 2026-11-22 61 s"
    assert f"All runs. ¶ {' '.join(run_table.HEADINGS)} {row} 7,200 s" in page
    assert "check all is well 1,234 s GPU 2026-11-22" in page
    assert "213 images in 5 folds of 42 or 43: 99.20 % is impossible" in page
    assert len(said.splitlines()) == 2
    assert f"record: {RECORD}: no key 'metrics.gone'" in said
    assert "run-table: fer2013/broken.json: cannot be read" in said


def test_what_the_book_needs_is_in_it_and_no_more(book):
    out, *pages, _ = book
    assert (out / "_static" / "mathjax" / "tex-svg-full.js").stat().st_size > 10**6
    assert 'src="_static/mathjax/tex-svg-full.js' in pages[0]
    assert not any("thebe" in page or "unpkg" in page for page in pages)
    for folder, page in ((out, pages[0]), (out / "book", pages[1])):
        links = [link["href"] for link in BeautifulSoup(page, "html.parser").find_all("a", href=True)]
        inside = [link.partition("#")[0] for link in links if "://" not in link]
        assert [link for link in inside if link and not (folder / link).is_file()] == []
    assert pages[0].count(".ipynb") >= 16  # eight chapters, each for students and for instructors
    assert sorted(lean.superfluous(out)) == []


def test_a_run_says_where_it_comes_from_and_data_stay_data(book):
    _, prose, run, _ = book
    assert "Built from" in prose
    assert (
        "Cite this page: The fercore developers (2026). <em>Page &amp; co.</em>. In: fercore 0.1.0" in prose
    )
    for title, value in (("Duration", "1 h 02 min"), ("Seed", "0"), ("Started", "2026-11-22 10:00:00 UTC")):
        assert f"<dt>{title}</dt><dd>{value}</dd>" in run
    assert "<code>torch = 2.13.0</code>" in run
    assert "Data checksum" not in run  # absent, so not shown as empty
    assert "<script>alert" not in prose + run
    assert run.count("&lt;script&gt;") >= 3
    binder = "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab%2Ftree%2Fnotebooks%2Femotion_maps.ipynb"
    assert f'href="{binder}"' in run
    assert "colab.research.google.com/github/owner/name/blob/main/notebooks/emotion_maps.ipynb" in run
    for name in ("executed notebook", "notebook", "its text"):
        assert f" download>{name}</a>" in run
    drawn = page_tools.downloads(ROOT, {"experiment": "emotion_maps"}).values()
    assert [Path(name).stem for name in drawn if "/figures/" in name] == ["panels", "style"]
    assert re.search(r'<dt>Record</dt><dd><a href="../_downloads/\w+/accuracy-w0.25.json" download>', run)
    assert "its record is not there" in run  # it is damaged: no version of its form


@pytest.mark.parametrize(
    ("reference", "printed"),
    {"accuracy:.4f": "0.6262", "images:,d": "3,589", "per_class.1:.2f": "0.25", "images": "3589"}.items(),
)
def test_a_value_is_quoted_in_its_format(results, reference, printed):
    assert records.quote(results, f"{RECORD}:metrics.test.{reference}") == printed


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("fer2013/absent.json:metrics", r"fer2013/absent\.json.*'metrics'"),
        (f"{RECORD}:metrics.test.per_class.9", r"accuracy-w0\.25\.json: no key 'metrics\.test\.per"),
        (f"{RECORD}:metrics.test.accuracy.more", "no key"),
        (f"{RECORD}:metrics", "not a single value"),
        (f"{RECORD}:protocol:.4f", "cannot be shown"),
        ("../secret.json:key", "no such record"),
        (RECORD, "not of the form"),
    ],
)
def test_what_cannot_be_quoted_is_named(results, reference, named):
    with pytest.raises(records.RecordError, match=named):
        records.quote(results, reference)


def test_committed_records_fit_the_table():
    for path in (ROOT / "results").glob("*/*/[!.]*.json"):
        cells = run_table.row(records.load(path))
        assert cells[0] == path.parent.name
        assert "–" not in cells[: 4 if cells[1] == "accuracy" else 2]  # others may train no network


def test_the_state_of_a_run_is_that_of_its_record(monkeypatch):
    path = next((ROOT / "results" / "accuracy" / "fer2013").glob("*.json"))
    for reasons, state in (
        ([], 'fresh">fresh</span>: the present code would make this page'),
        ([HOSTILE], 'stale">stale</span>: &lt;script&gt;'),
        (list("abcde"), 'stale">stale</span>: a; b; c and 2 more'),
    ):
        monkeypatch.setattr(provenance.records, "stale", lambda record, reasons=reasons: reasons)
        assert f'<span class="state-{state}' in provenance.state(path)


def test_a_copy_without_version_control_says_so():
    assert "without version control" in provenance.render({}, "", None, {})
    assert "commit <code>&lt;" in provenance.render({}, HOSTILE, None, {})


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("https://github.com/some-one/fer.core.git", "some-one/fer.core"),
        ("git@github.com:some-one/fercore/", "some-one/fercore"),
        ("https://example.org/some-one/fercore.git", ""),
    ],
)
def test_the_repository_is_that_of_the_remote_or_of_the_environment(tmp_path, monkeypatch, remote, name):
    monkeypatch.delenv("FERCORE_REPOSITORY", raising=False)
    assert page_tools.repository(tmp_path) == ""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", remote], check=True)
    assert page_tools.repository(tmp_path) == name
    for given, found in (("owner/name", "owner/name"), (HOSTILE, "")):
        monkeypatch.setenv("FERCORE_REPOSITORY", given)
        assert page_tools.repository(tmp_path) == found


def test_buttons_need_a_repository_and_escape_its_branch():
    html = page_tools.launch("", "notebooks/linear.ipynb", "main")
    assert ("href" in html, "FERCORE_REPOSITORY" in html) == (False, True)
    assert "owner/name/a%2Fb?urlpath" in page_tools.launch("owner/name", "notebooks/linear.ipynb", "a/b")


def test_mathjax_that_is_not_installed_is_told():
    with pytest.raises(ExtensionError, match=r"no-such-distribution is not installed; .*pip install"):
        mathjax_local.find_mathjax("no-such-distribution")


def test_only_what_no_page_loads_is_left_out(tmp_path):
    kept = ["_static/a.js", "_static/own.png", "_static/f.woff2", "_static/g.ttf", "_images/twice.png"]
    gone = ["_static/a.js.map", "_static/f.ttf", "_static/twice.png"]
    for name in kept + gone:
        write(tmp_path / name, "")
    assert lean.superfluous(tmp_path) == [tmp_path / name for name in gone]


# The directive {filtered}

TABLE = (
    "\n| Dataset | Model | Accuracy |\n|---|---|---|\n| FER2013 | VGG-16 | 1 |\n| JAFFE | ResNet-50 | 2 |\n"
)
FILTERED = f""":::{{filtered}}
:columns: Dataset, Model
{TABLE}:::

:::{{filtered}}
:columns: Network
:across: Dataset: FER2013, JAFFE

```{{accuracy-table}} table-2
:caption: Both.
```
:::
"""
WRONG = {
    f":columns: Data\n{TABLE}": "no Data; its columns are Dataset, Model, Accuracy",
    f":across: Data: CK+\n{TABLE}": "no CK+",
    TABLE: "say what to choose by",
    ":columns: Dataset\n\nWords.\n": "one table is needed inside, and there are 0",
}


def filtered(folder, page, builder="html"):
    """Build a page with the directive; return it, as HTML or text, and the warnings."""
    write(folder / "index.md", f"# Page\n\n{page}")
    extensions = ["myst_parser", "filtered", "accuracy_tables"]
    app, said = build_book(folder, builder, extensions=extensions, myst_enable_extensions=["colon_fence"])
    (made,) = Path(app.outdir).glob("index.[ht]*")
    return made.read_text(encoding="utf-8"), said.splitlines()


def test_a_table_keeps_all_rows_and_gets_what_the_script_reads(tmp_path):
    html, said = filtered(tmp_path / "book", FILTERED)
    assert said == []
    figures = re.findall(r'<div class="fercore-figure" data-figure="filter">.*?</table>\s*</div>', html, re.S)
    data = [json.loads(re.search(r">({.*?})</script>", figure)[1]) for figure in figures]
    across = {"label": "Dataset", "names": ["FER2013", "JAFFE"]}
    assert data == [{"columns": ["Dataset", "Model"]}, {"columns": ["Network"], "across": across}]
    assert (figures[0].count("<tr"), "hidden" in figures[0], "Both." in figures[1]) == (3, False, True)


def test_other_builders_print_the_table_alone(tmp_path):
    plain, said = filtered(
        tmp_path / "book", f":::{{filtered}}\n:columns: Dataset, Model\n{TABLE}:::\n", "text"
    )
    assert (said, "ResNet-50" in plain, "fercore" in plain) == ([], True, False)


def test_what_cannot_be_filtered_is_said(tmp_path):
    said = filtered(tmp_path / "book", "\n".join(f":::{{filtered}}\n{page}:::\n" for page in WRONG))[1]
    told = [line for line in said if "ERROR" in line]
    assert [message in line for message, line in zip(WRONG.values(), told, strict=True)] == [True] * len(
        WRONG
    )
