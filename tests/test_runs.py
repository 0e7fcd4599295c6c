"""Records, freshness, the papermill runner and the notebooks themselves."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jupytext
import layouts
import nbformat
import papermill
import pytest
from conftest import ROOT, brightness_faces
from ferlab import provenance
from ferlab.runs import cli, kernels, records, runner
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from fercore import checkpoints, load
from fercore.errors import FercoreError

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
# Of the embedded faces, `make book` makes all pages but these, which take long.
KEPT = ("ablation", "emotion_maps", "explainers", "leakage", "linear", "regions")
COMMITTED = [p for p in records.paths() if p.parent.name != "faces" or p.parts[-3] in KEPT]
PAGES = [p for p in runner.pages() if p.parent.name != "faces" or p.stem in KEPT]


def test_importing_the_package_needs_no_more_than_torch_numpy_and_pillow():
    code = (
        "import sys; import fercore; from fercore import DnCShap\n"
        "heavy = {'shap', 'sklearn', 'seaborn', 'matplotlib', 'cv2', 'papermill', 'jupytext', 'pandas', 'captum'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Records


def test_a_record_is_fresh_until_something_changes_and_then_says_what(tmp_path):
    run = records.Run("accuracy", "toy", model="proposed", seed=0)
    record = records.read(run.finish("name", brightness_faces(14), {"accuracy": 0.5}, folder=tmp_path))
    facts = record["provenance"]
    assert (records.stale(record), record["metrics"]) == ([], {"accuracy": 0.5})
    assert facts["data_checksum"].startswith("sha256:")
    assert {"notebook", "outcome", "FaceDataset", "PROCEDURE"} <= set(facts["code"])
    facts["code"] |= {"notebook": "0", "lost": "0"}
    del facts["code"]["outcome"]
    facts["versions"]["torch"] = "1.0.0"
    *code, version = records.stale(record)
    assert code == ["notebook has changed", "lost is gone", "outcome is new"]
    assert version.startswith("torch was 1.0.0, constraints.txt pins")


def test_a_record_is_of_its_data_where_they_are_at_hand(tmp_path, monkeypatch, capsys):
    folder = layouts.write_jaffe(tmp_path)
    monkeypatch.setenv("FERCORE_DATA", str(tmp_path))
    record = records.read(records.Run("accuracy", "jaffe").finish("x", load("jaffe"), {}, folder=tmp_path))
    assert records.stale(record) == []
    image = layouts.images_of(folder)[0]
    image.write_bytes(layouts.encoded(layouts.value_of(image.name) ^ 1, (20, 20), "L", "TIFF"))
    records._checksum.cache_clear()
    assert records.stale(record) == ["the data of jaffe here are others, by their checksum"]
    image.write_bytes(b"no image")
    records._checksum.cache_clear()
    assert records.stale(record)[0].startswith("its data cannot be read (")
    shutil.rmtree(folder)
    records._checksum.cache_clear()
    assert (records.stale(record), records.data_at_hand("jaffe")) == ([], "")
    records._checksum.cache_clear()


def test_a_notebook_run_by_hand_publishes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    monkeypatch.delenv("FERCORE_PUBLISH", raising=False)
    path = records.Run("accuracy", "toy").finish("x", brightness_faces(14), {})
    assert path == tmp_path / "runs" / "results" / "accuracy" / "toy" / "x.json"


# What is committed


@pytest.mark.parametrize("path", COMMITTED, ids=records.place)
def test_committed_runs_are_fresh(path):
    assert records.stale(records.read(path)) == [], "ferlab refresh says how to make it again"


def test_committed_records_and_pages_belong_together():
    facts = {path: runner.about(path) for path in PAGES}
    for path, about in facts.items():
        assert runner.page_path(about["experiment"], about["dataset"], about["asked"]) == path
        assert checkpoints.digest(ROOT / about["record"]) == about["record_sha256"], runner.command(path)
    assert {about["record"] for about in facts.values()} == {records.place(path) for path in COMMITTED}
    assert {p.stem for p in PAGES if p.parent.name == "fer2013"} >= {"accuracy", "emotion_maps"}


def test_text_and_ipynb_notebooks_are_in_step():
    assert runner.pair(write=False) == [], "run: ferlab pair"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_keep_the_house_rules(path):
    cells = jupytext.read(path).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    words = len(re.findall(r"\w+", "".join(c.source for c in cells if c.cell_type == "markdown")))
    assert len(code) <= 20
    assert 600 <= words <= 2500
    for cell in code:
        long = len(cell.source.splitlines()) > 15
        assert not long or "parameters" in cell.metadata.get("tags", []), cell.source
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            assert figure["caption"]
            assert cell.metadata["mystnb"]["image"]["alt"]
    assert "tqdm.notebook" not in path.read_text()


def test_figures_of_different_notebooks_have_different_names():
    cells = [cell.metadata.get("mystnb", {}) for path in NOTEBOOKS for cell in jupytext.read(path).cells]
    names = [about["figure"]["name"] for about in cells if "figure" in about]
    assert len(names) == len(set(names)) > 50


def test_the_book_s_table_of_parameters_is_complete():
    page = (ROOT / "book" / "rerun.md").read_text(encoding="utf-8")
    table = page[page.index("tab-notebook-parameters\n") :].split("```")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    assert named == set().union(*(runner.parameters_of(p) for p in NOTEBOOKS))


def test_the_example_of_the_readme_runs(capsys):
    names = {}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        assert len(code.splitlines()) <= 10
        exec(compile(code, "README.md", "exec"), names)
    shape, gap, own = capsys.readouterr().out.splitlines()
    assert shape == "(2, 48, 48, 3, 1) [512 512]"
    assert float(gap) < 1e-12
    assert own.endswith("[256 256]")


# The runner

# What accuracy.ipynb may be asked for: committed pages are among these.
CHOSEN = {
    "model": st.sampled_from(["", "proposed", "baseline", "vgg16", "resnet50"]),
    "fusion": st.sampled_from(["add", "concatenate"]),
    "recipe": st.sampled_from(["paper", "strong"]),
    "protocol": st.sampled_from(["", "paper", "official"]),
    "precision": st.sampled_from(["float32", "bfloat16"]),
    "epochs": st.sampled_from([10, 20, 40]),
    "fold": st.integers(0, 4),
    "seed": st.integers(0, 2),
}
TINY = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tiny
#
# See `fig-a`.

# %% tags=["parameters"]
dataset = "faces"
level = 1

"""
HEAD = """# %% mystnb={{"figure": {{"name": "fig-a", "caption": "c"}}, "image": {{"alt": "a"}}}}
import os, sys
from pathlib import Path
from ferlab import provenance
root = Path({root!r})
provenance.project_root = lambda: root
from ferlab.runs import records as results
from conftest import brightness_faces
"""
CODE = """print("progress", os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OMP_NUM_THREADS"), file=sys.stderr)
metrics = {"level": 1 // level}
"""
FOOT = """
record = results.Run("tiny", dataset, level=level).finish("x", brightness_faces(14), metrics)
{after}
print("Record:", results.place(record))
"""


def notebook(root, code=CODE, after=""):
    """Write the toy notebook of a project: what it does before it writes its record, and after it."""
    (root / "notebooks" / "tiny.py").write_text(
        TINY + HEAD.format(root=str(root)) + code + FOOT.format(after=after)
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with one tiny notebook, which the runner takes for its own."""
    for name in ("notebooks", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "constraints.txt").write_text("")
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    notebook(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"), prepend=os.pathsep)
    runner.pair()
    return tmp_path


def change(project, old, new):
    """Replace something in the toy notebook."""
    path = project / "notebooks" / "tiny.py"
    path.write_text(path.read_text().replace(old, new, 1))


def test_a_run_writes_page_and_record_and_is_not_repeated(project, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # the user's own number
    page, ran = runner.run("tiny", "faces", {"level": 1})
    assert ran
    assert page == project / "book" / "runs" / "faces" / "tiny.ipynb"
    made = nbformat.read(page, as_version=4)
    about = made.metadata["fercore"]
    assert about["parameters"] == {"dataset": "faces", "level": 1}
    assert about["record"] == "results/tiny/faces/x.json"
    title, parameters, injected, last = made.cells
    assert title.source.startswith("# Tiny: Embedded faces")
    assert "`fig-a-faces`" in title.source
    assert "remove-cell" in parameters.metadata["tags"]
    assert "hide-input" in injected.metadata["tags"]
    assert last.metadata["mystnb"]["figure"]["name"] == "fig-a-faces"
    assert [output["name"] for output in last.outputs] == ["stdout"]  # progress bars are not part of a page
    assert (project / "runs" / "faces" / "tiny.log").read_text() == "progress PASSIVE 3\n"
    assert "tiny on faces" in capfd.readouterr().err  # papermill's bar
    assert runner.command(page) == "ferlab run tiny --dataset faces -p level=1"
    assert runner.run("tiny", "faces", {"level": 1}) == (page, False)
    assert runner.run("tiny", "faces", {"level": 1}, force=True) == (page, True)
    change(project, "# # Tiny", "# # Edited")  # the reviewed text is what runs, even before it is paired
    assert runner.run("tiny") == (page, True)
    assert nbformat.read(page, as_version=4).cells[0].source.startswith("# Edited: Embedded faces")
    for damaged in (page, project / about["record"]):
        damaged.write_text(damaged.read_text()[:50])
        assert runner.run("tiny") == (page, True)


def test_other_runs_leave_page_and_record_of_the_book_alone_unless_published(project):
    """Two other runs leave pages and records of their own; what is given its default is the same run."""
    page, _ = runner.run("tiny", "faces", {"level": 1})
    record = project / runner.about(page)["record"]
    before = page.read_bytes(), record.read_bytes()
    assert runner.run("tiny", "faces", {}) == (page, False)
    made = [runner.run("tiny", "faces", {"level": level})[0] for level in (2, 3)]
    found = [project / runner.about(path)["record"] for path in made]
    assert len({*made, *found, page, record}) == 6
    assert all(path.is_relative_to(project / "runs") and path.is_file() for path in (*made, *found))
    assert (page.read_bytes(), record.read_bytes()) == before
    assert "runs/pages/faces/tiny-" in cli.listing()
    assert runner.run("tiny", "faces", {"level": 2}, publish=True) == (page, True)
    assert runner.run("tiny", "faces", {"level": 2}) == (page, False)
    assert json.loads(record.read_text())["parameters"]["level"] == 2


@given(parameters=st.fixed_dictionaries({}, optional=CHOSEN))
def test_no_parameters_lead_to_another_run_s_committed_page(parameters):
    page = runner.page_path("accuracy", "fer2013", parameters)
    facts = runner.about(page)
    assert not facts or runner.key("accuracy", "fer2013", facts["asked"]) == runner.key(
        "accuracy", "fer2013", parameters
    )
    assert facts or page.is_relative_to(ROOT / "runs" / "pages")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"levle": 1}, r"no parameter levle; did you mean level\?"),
        ({"level": 2.5}, "a whole number, like 1"),
    ],
)
def test_papermill_alone_does_not_run_the_default_of_a_misspelt_parameter(project, given, said):
    with pytest.raises(papermill.PapermillExecutionError, match=said):
        papermill.execute_notebook(project / "notebooks" / "tiny.ipynb", None, given, progress_bar=False)


def test_the_runs_that_the_page_on_reruns_calls_the_book_s_are(capsys):
    text = (ROOT / "book" / "rerun.md").read_text(encoding="utf-8")
    block = text[text.index("## Run one notebook") :].split("```")[1]
    lines = [
        line.removeprefix("ferlab ").split() for line in block.splitlines() if line.startswith("ferlab run")
    ]
    assert len(lines) > 8
    for line in lines:
        assert cli.main([*line, "--dry-run"]) == 0
        assert re.search(r"page   book/runs/fer2013/\S+ is fresh", capsys.readouterr().out), line


def test_a_whole_number_in_the_place_of_a_fraction_is_the_same_run():
    assert runner.key("accuracy", "faces", {"width": 1}) == runner.key("accuracy", "faces", {"width": 1.0})
    assert runner.key("accuracy", "faces", {"width": 1}) != runner.key("accuracy", "faces", {})


def test_what_a_notebook_takes_is_what_papermill_finds_in_it():
    for path in NOTEBOOKS:
        found = papermill.inspect_notebook(str(path.with_suffix(".ipynb")))
        expected = {name: ast.literal_eval(about["default"]) for name, about in found.items()}
        assert runner.parameters_of(path) == expected


@pytest.mark.parametrize("line", ["--help", "status", "run --list", "data status"])
def test_what_only_looks_starts_without_torch(project, line):
    code = f"from ferlab.runs import cli; cli.main({line.split()!r}); import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=project)


def test_a_failing_notebook_publishes_nothing_and_says_where_it_failed(project, capfd):
    assert cli.main(["run", "tiny", "-p", "level=0", "--stamp", str(project / "stamp")]) == 1
    said, key = capfd.readouterr().err, runner.key("tiny", "faces", {"level": 0})
    assert re.search(r"tiny on faces stopped in code cell \d: ZeroDivisionError", said)
    assert (
        f"as far as it came: runs/faces/tiny-{key}.failed.ipynb\nIts log: runs/faces/tiny-{key}.log" in said
    )
    assert (project / "runs" / "faces" / f"tiny-{key}.failed.ipynb").is_file()
    assert re.search(
        r"(?s)progress .*ZeroDivisionError", (project / "runs" / "faces" / f"tiny-{key}.log").read_text()
    )
    assert not (project / "book").exists()
    assert not (project / "stamp").exists()
    assert not list((project / "results").rglob("*.json"))
    assert runner.unfinished() == []  # it ended, if badly


def test_a_killed_kernel_is_reported(project, capfd):
    change(project, "import os, sys\n", "import os\nos._exit(9)\n")
    with pytest.raises(FercoreError, match=r"tiny on faces stopped: DeadKernelError"):
        runner.run("tiny")
    assert runner.unfinished() == [("tiny", "faces", {}, True)]


@pytest.mark.parametrize("failures", [1, kernels.STARTS])
def test_a_kernel_that_does_not_start_is_tried_again(project, capfd, monkeypatch, failures):
    from jupyter_client.asynchronous import AsyncKernelClient

    real, tried = AsyncKernelClient.wait_for_ready, []

    async def ready(client, timeout=None):
        tried.append(client)
        if len(tried) <= failures:
            raise RuntimeError("Kernel died before replying to kernel_info")
        await real(client, timeout=timeout)

    monkeypatch.setattr(AsyncKernelClient, "wait_for_ready", ready)
    status = cli.main(["run", "tiny"])
    assert (status, len(tried)) == ((0, 2) if failures == 1 else (1, kernels.STARTS))
    assert "attempt 1 of" in (project / "runs" / "faces" / "tiny.log").read_text()
    assert ("did not start" in capfd.readouterr().err) == bool(status)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the number of threads is left alone")
def test_beside_other_work_a_kernel_has_one_thread_for_each_processor_that_is_free():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        time.sleep(1)
        assert kernels.threads() == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    finally:
        for process in busy:
            process.kill()
            process.wait()


# Interrupted, and started twice

COMMAND = """import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have jobs in the background ignore it
from ferlab import provenance
from ferlab.runs import cli
provenance.project_root = lambda: Path({root!r})
sys.exit(cli.main(sys.argv[1:]))
"""


def start(project, *arguments):
    """Start the command line on the toy project in a process of its own."""
    command = [sys.executable, "-c", COMMAND.format(root=str(project)), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path, process):
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_is_noted_and_resumed(project, capfd, end):
    flag = project / "hangs"  # at the first attempt
    hang = f"import time\nif not Path({str(flag)!r}).exists():\n    Path({str(flag)!r}).touch()\n    time.sleep(600)\n"
    change(project, "from ferlab import provenance\n", hang + "from ferlab import provenance\n")
    process = start(project, "run", "tiny")
    wait_for(flag, process)
    process.send_signal(end)
    _, said = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[end]
    assert ("goes on from here" in said) == (end != signal.SIGKILL)
    assert runner.unfinished() == [("tiny", "faces", {}, True)]
    assert "unfinished: ferlab run tiny --dataset faces" in cli.listing()
    assert not (project / "book").exists()
    assert cli.main(["run", "--resume"]) == 0
    assert runner.unfinished() == []
    assert (project / "book" / "runs" / "faces" / "tiny.ipynb").is_file()
    assert cli.main(["run", "--resume"]) == 0
    assert "Nothing is unfinished" in capfd.readouterr().out


def test_of_two_processes_with_the_same_run_one_does_it(project, capfd):
    (project / "runs" / "faces").mkdir(parents=True)
    with FileLock(project / "runs" / "faces" / "tiny.started.lock"):
        assert cli.main(["run", "tiny", "--no-wait"]) == 1
        assert "Another process is making tiny.ipynb of faces; nothing done" in capfd.readouterr().err
        second = start(project, "run", "tiny", "--force")
        assert "Another process is making tiny.ipynb of faces: waiting" in second.stderr.readline()
        runner._make("tiny", {"dataset": "faces"}, runner.page_path("tiny", "faces"))
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "fresh, not run again" in out


# The command line


def test_a_dry_run_says_what_would_be_done_and_does_nothing(project, capsys):
    assert cli.main(["run", "tiny", "-p", "level=2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    line = "ferlab run tiny --dataset faces -p level=2\n  page   runs/pages/faces/tiny-"
    assert said.startswith(line)
    assert said.endswith("has not been run here\n  data   is there\n  with   dataset=faces, level=2\n")
    assert not (project / "book").exists()
    runner.run("tiny", "faces", {"level": 2}, publish=True)
    fresh = "is fresh: nothing would be run\n  time   took 0 s last"
    assert fresh in cli.intent("tiny", "faces", {"level": 2}, False, False)
    assert "would be made (--force)" in cli.intent("tiny", "faces", {"level": 2}, True, False)
    assert "would be made (it was made with other parameters)" in cli.intent("tiny", "faces", {}, False, True)
    assert cli.listing() == "tiny: Tiny\n    faces/tiny: fresh, took 0 s"
    capsys.readouterr()
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out == "results/tiny/faces/x.json: fresh\n"
    change(project, "# # Tiny", "# # Edited")
    assert cli.main(["status"]) == 1
    assert "x.json: STALE: notebook has changed\n    run again: ferlab run tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("run accuracy -p width", 1, "ferlab: -p width: write NAME=VALUE"),
        ("run acuracy", 1, "no experiment 'acuracy'; choose"),
        ("run accuracy --dataset face", 1, "no dataset 'face'"),
        ("run accuracy -p levle=2", 1, "no parameter levle"),
        ("run accuracy -p dataset=faces", 1, "use --dataset"),
        ("run accuracy --fold 2 -p fold=3", 1, "fold is given twice"),
        ("run", 1, "needs an experiment"),
        ("run accuracy -p epoch=1", 1, "no parameter epoch; did you mean epochs?"),
        ("run accuracy -p epochs=many", 1, "epochs='many': accuracy.py takes a whole number, like"),
        ("run accuracy -p width=true", 1, "width=True: accuracy.py takes a number"),
        ("run accuracy --resume", 1, "leave accuracy out"),
        ("run accuracy --bogus", 2, "--bogus"),
        ("", 2, "Commands:"),
    ],
)
def test_what_cannot_be_asked_is_named(capsys, line, status, said):
    assert cli.main(line.split()) == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("line", ["status", "refresh", "run --list", "run accuracy", "course handouts"])
def test_outside_a_checkout_nothing_is_called_fresh(tmp_path, monkeypatch, capsys, line):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 1
    assert "holds no notebooks: ferlab works in a checkout of the project" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_reader_who_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m ferlab run --list | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout[:8], done.stderr) == ("ablation", "")
    assert done.returncode in (0, 1)  # 0: it had written everything
