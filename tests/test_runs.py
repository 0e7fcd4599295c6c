"""Records, freshness, the papermill runner and the notebooks themselves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import jupytext
import nbformat
import pytest
from conftest import ROOT, brightness_faces
from ferlab import networks, provenance
from ferlab.runs import cli, records, runner
from filelock import FileLock

from fercore import checkpoints
from fercore.errors import FercoreError, UnknownNameError

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
# Of the embedded faces, `make book` makes all pages but these, which take long.
KEPT = ("emotion_maps", "explainers", "regions")
COMMITTED = [p for p in records.paths() if p.parent.name != "faces" or p.parts[-3] in KEPT]
PAGES = [p for p in runner.pages() if p.parent.name != "faces" or p.stem in KEPT]


def test_importing_the_package_needs_no_more_than_torch_numpy_and_pillow():
    code = (
        "import sys; before = set(sys.modules); import fercore; from fercore import DnCShap\n"
        "heavy = {'shap', 'sklearn', 'seaborn', 'matplotlib', 'cv2', 'papermill', 'jupytext', 'pandas', 'captum'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "record.json"
    checkpoints.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.write_json(path, {"a": float("nan")})
    with pytest.raises(KeyboardInterrupt), checkpoints.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def make_record(tmp_path):
    run = records.Run("accuracy", "toy", model="proposed", seed=0)
    return run.finish("name", brightness_faces(14), {"test": {"accuracy": 0.5}}, folder=tmp_path)


def test_a_new_record_is_fresh_and_reads_back(tmp_path):
    record = records.read(make_record(tmp_path))
    assert records.stale(record) == []
    assert record["metrics"]["test"]["accuracy"] == 0.5
    assert record["provenance"]["data_checksum"].startswith("sha256:")
    assert {"notebook", "outcome", "FaceDataset", "PROCEDURE"} <= set(record["provenance"]["code"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p["code"].update(notebook="0"), "notebook has changed"),
        (lambda p: p["code"].update(outcome="0"), "outcome has changed"),
        (lambda p: p["code"].update(lost="0"), "lost is gone"),
        (lambda p: p["code"].pop("outcome"), "outcome is new"),
        (lambda p: p["versions"].update(torch="1.0.0"), "torch was 1.0.0, constraints.txt pins"),
    ],
)
def test_every_change_makes_a_record_stale_by_name(tmp_path, change, reason):
    record = records.read(make_record(tmp_path))
    change(record["provenance"])
    assert any(reason in said for said in records.stale(record))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": 0}', '{"schema": 2, "provenance": {"code": 3}}']
)
def test_a_damaged_record_is_named(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(FercoreError, match=r"broken.json is not a run record"):
        records.read(path)


@pytest.mark.parametrize("path", COMMITTED, ids=records.place)
def test_committed_runs_are_fresh_and_have_a_page(path):
    record, page = records.read(path), runner.page_of(path)
    assert page is not None, "a record without a page: delete it, or run its experiment again"
    assert records.stale(record) == [], f"run again: {runner.command(page)}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_committed_pages_belong_to_their_records(path):
    about = nbformat.read(path, as_version=4).metadata["fercore"]
    assert runner.page_path(about["experiment"], about["dataset"], about["asked"]) == path
    again = runner.command(path)
    assert checkpoints.digest(ROOT / about["record"]) == about["record_sha256"], f"run again: {again}"


def test_there_is_a_real_run_in_the_book():
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
        if "parameters" not in cell.metadata.get("tags", []):
            assert len(cell.source.splitlines()) <= 15, cell.source
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            assert figure["caption"]
            assert cell.metadata["mystnb"]["image"]["alt"]
    assert "tqdm.notebook" not in path.read_text()


HEAD = (
    "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     language: python\n"
    "#     name: python3\n# ---\n\n"
)
TINY = (
    HEAD
    + '# %% [markdown]\n# # Tiny\n#\n# See `fig-a`.\n\n# %% tags=["parameters"]\ndataset = "faces"\nlevel = 1\n\n'
)
CODE = """# %% mystnb={"figure": {"name": "fig-a", "caption": "c"}, "image": {"alt": "a"}}
import sys
from ferlab.runs import records as results
from conftest import brightness_faces
print("progress", file=sys.stderr)
run = results.Run("tiny", dataset, level=level)
record = run.finish("x", brightness_faces(14), {"level": 1 // level})
print("Record:", results.place(record))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with one tiny notebook, which the runner takes for its own."""
    for name in ("notebooks", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "constraints.txt").write_text("")
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    code = (
        "from pathlib import Path\nfrom ferlab import provenance\n"
        f"provenance.project_root = lambda: Path({str(tmp_path)!r})\n"
    )
    (tmp_path / "notebooks" / "tiny.py").write_text(
        TINY + CODE.replace("import sys\n", "import sys\n" + code)
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    runner.pair()
    return tmp_path


def test_the_page_of_a_run_is_named_after_what_tells_it_from_others():
    asked = {"fold": 3, "width": 0.5, "model": "vgg16", "dataset": "jaffe"}
    assert runner.page_path("accuracy", "jaffe", asked).name == "accuracy-vgg16-3.ipynb"
    assert runner.page_path("accuracy", "jaffe", {"dataset": "jaffe"}).name == "accuracy.ipynb"


def test_a_run_writes_page_and_record_and_is_not_repeated(project, capfd):
    page, ran = runner.run("tiny", "faces", {"level": 1})
    assert ran
    assert page == project / "book" / "runs" / "faces" / "tiny.ipynb"
    notebook = nbformat.read(page, as_version=4)
    about = notebook.metadata["fercore"]
    assert about["parameters"] == {"dataset": "faces", "level": 1}
    assert about["record"] == "results/tiny/faces/x.json"
    assert notebook.cells[0].source.startswith("# Tiny: Embedded faces")
    assert "`fig-a-faces`" in notebook.cells[0].source
    parameters, injected, last = notebook.cells[1:]
    assert "remove-cell" in parameters.metadata["tags"]
    assert "hide-input" in injected.metadata["tags"]
    assert last.metadata["mystnb"]["figure"]["name"] == "fig-a-faces"
    assert [output["name"] for output in last.outputs] == ["stdout"]  # progress bars are not part of a page
    assert "papermill" not in json.dumps(notebook.metadata)
    assert runner.command(page) == "ferlab run tiny --dataset faces -p level=1"
    before = page.stat().st_mtime_ns
    assert runner.run("tiny", "faces", {"level": 1}) == (page, False)
    assert page.stat().st_mtime_ns == before
    assert runner.run("tiny", "faces", {"level": 1}, force=True) == (page, True)


def test_the_reviewed_text_is_what_runs_even_before_it_is_paired(project, capfd):
    text = project / "notebooks" / "tiny.py"
    text.write_text(text.read_text().replace("# # Tiny", "# # Edited"))
    page, _ = runner.run("tiny")
    assert nbformat.read(page, as_version=4).cells[0].source.startswith("# Edited: Embedded faces")


@pytest.mark.parametrize("damaged", ["page", "record"])
def test_a_damaged_page_or_record_is_made_anew(project, capfd, damaged):
    page, _ = runner.run("tiny")
    path = page if damaged == "page" else project / "results" / "tiny" / "faces" / "x.json"
    path.write_text(path.read_text()[:50])
    assert runner.run("tiny") == (page, True)


def test_a_notebook_run_by_hand_publishes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    monkeypatch.delenv("FERCORE_PUBLISH", raising=False)
    path = records.Run("accuracy", "toy").finish("x", brightness_faces(14), {})
    assert path == tmp_path / "runs" / "results" / "accuracy" / "toy" / "x.json"


def test_a_killed_kernel_is_reported(project, capfd):
    text = project / "notebooks" / "tiny.py"
    text.write_text(text.read_text().replace("import sys\n", "import os\nos._exit(9)\n", 1))
    with pytest.raises(FercoreError, match=r"tiny on faces stopped: DeadKernelError"):
        runner.run("tiny")


@pytest.mark.parametrize("failures", [1, runner.STARTS])
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
    assert (status, len(tried)) == ((0, 2) if failures == 1 else (1, runner.STARTS))
    log = (project / "runs" / "faces" / "tiny.log").read_text()
    assert "attempt 1 of" in log or not status
    assert ("did not start" in capfd.readouterr().err) == bool(status)


def test_the_book_s_table_of_parameters_is_complete():
    page = (ROOT / "book" / "rerun.md").read_text(encoding="utf-8")
    table = page[page.index("tab-notebook-parameters\n") :].split("```")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    assert named == set().union(*(runner.parameters_of(runner.read_text_notebook(p)) for p in NOTEBOOKS))


def test_the_example_of_the_readme_runs(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        assert len(code.splitlines()) <= 10
        exec(compile(code, "README.md", "exec"), names)
    shape, gap, own = capsys.readouterr().out.splitlines()
    assert shape == "(2, 48, 48, 3, 1) [512 512]"
    assert float(gap) < 1e-12
    assert own.endswith("[256 256]")


def test_a_failing_notebook_publishes_nothing(project, capfd):
    with pytest.raises(
        FercoreError, match=r"tiny on faces stopped in code cell \d: ZeroDivisionError"
    ) as error:
        runner.run("tiny", "faces", {"level": 0})
    assert "runs/faces/tiny.failed.ipynb" in str(error.value)
    assert (project / "runs" / "faces" / "tiny.failed.ipynb").is_file()
    assert not (project / "book").exists()
    assert not list((project / "results").rglob("*.json"))


def test_unknown_names_are_refused_before_anything_runs(project):
    with pytest.raises(UnknownNameError, match="no experiment 'tony'; choose tiny"):
        runner.run("tony", "faces")
    with pytest.raises(UnknownNameError, match="no dataset 'face'"):
        runner.run("tiny", "face")
    with pytest.raises(UnknownNameError, match="no parameter levle; it has dataset, level"):
        runner.run("tiny", "faces", {"levle": 2})


def test_command_line_values_are_never_evaluated(capsys):
    assert [cli._value(text) for text in ("0.25", "20", "add", "true", "__import__('os')")] == [
        0.25, 20, "add", True, "__import__('os')",
    ]  # fmt: skip
    assert cli.main(["run", "accuracy", "-p", "width"]) == 1
    assert "write NAME=VALUE" in capsys.readouterr().err
    assert cli.main(["run", "acuracy"]) == 1
    assert "no experiment 'acuracy'" in capsys.readouterr().err


def test_setting_names_are_readable():
    from fercore.datasets import splits

    parts = splits.split(brightness_faces(70), "paper", 2)
    name = networks.setting("faces", width=0.25, fold=2, epochs=20).name(parts)
    assert name == "proposed-concatenate-w0.25-paper-e20-paper-2"


WAITING = """import sys
import time
from pathlib import Path
if not Path({flag!r}).exists():
    Path({flag!r}).touch()
    print("epoch 1", file=sys.stderr, flush=True)
    time.sleep(600)
"""
COMMAND = """import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have jobs in the background ignore it
sys.path.insert(0, {tests!r})
from ferlab import provenance
from ferlab.runs import cli as __main__
provenance.project_root = lambda: Path({root!r})
sys.exit(__main__.main(sys.argv[1:]))
"""


def start(project, *arguments):
    """Start the command line on the toy project in a process of its own."""
    code = COMMAND.format(tests=str(ROOT / "tests"), root=str(project))
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path, process):
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def hang_at_first(project):
    """Let the first attempt of the toy notebook hang; return the file that says that it does."""
    text, flag = project / "notebooks" / "tiny.py", project / "hangs"
    text.write_text(text.read_text().replace("import sys\n", WAITING.format(flag=str(flag)), 1))
    return flag


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_noted_and_resumed(project, capfd, end):
    flag = hang_at_first(project)
    process = start(project, "run", "tiny")
    wait_for(flag, process)
    process.send_signal(end)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGINT else -9)
    assert ("goes on from here" in said) == (end == signal.SIGINT)
    assert runner.unfinished() == [("tiny", "faces", {})]
    assert "unfinished: ferlab run tiny --dataset faces" in cli.listing()
    assert not (project / "book").exists()
    assert cli.main(["run", "--resume"]) == 0
    assert runner.unfinished() == []
    assert (project / "book" / "runs" / "faces" / "tiny.ipynb").is_file()
    assert cli.main(["run", "--resume"]) == 0
    assert "Nothing is unfinished" in capfd.readouterr().out


def test_of_two_processes_with_the_same_run_one_does_it(project, capfd):
    (project / "runs" / "faces").mkdir(parents=True)
    page = runner.page_path("tiny", "faces")
    with FileLock(project / "runs" / "faces" / "tiny.started.lock"):
        with pytest.raises(FercoreError, match=r"Another process is making tiny\.ipynb of faces"):
            runner.run("tiny", wait=False)
        second = start(project, "run", "tiny", "--force")
        told = second.stderr.readline()
        assert "Another process is making tiny.ipynb of faces: waiting" in told
        runner._publish(
            runner._execute("tiny", {"dataset": "faces"}, page), "tiny", {"dataset": "faces"}, page
        )
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "fresh, not run again" in out


def test_the_log_keeps_what_the_notebook_wrote_and_where_it_failed(project, capfd):
    with pytest.raises(FercoreError, match=r"Its log: runs/faces/tiny\.log"):
        runner.run("tiny", "faces", {"level": 0})
    log = (project / "runs" / "faces" / "tiny.log").read_text()
    assert "progress\n" in log
    assert "tiny on faces stopped in code cell" in log
    assert "ZeroDivisionError" in log
    assert runner.unfinished() == []  # it ended, if badly


def test_a_dry_run_says_what_would_be_done_and_does_nothing(project, capsys):
    assert cli.main(["run", "tiny", "-p", "level=2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "ferlab run tiny --dataset faces -p level=2\n" in said
    assert "book/runs/faces/tiny.ipynb would be made" in said
    assert "has not been run here" in said
    assert "with   dataset=faces, level=2" in said
    assert not (project / "book").exists()
    runner.run("tiny", "faces", {"level": 2})
    assert "is fresh: nothing would be run" in cli.describe(cli.intent("tiny", "faces", {"level": 2}))
    assert cli.intent("tiny", "faces", {"level": 1}).reasons == ("it was made with other parameters",)
    assert cli.main(["run", "--list"]) == 0
    assert "tiny: Tiny\n    faces/tiny: fresh, took 0 s" in capsys.readouterr().out


def test_short_options_are_parameters(capsys):
    options = cli._parser().parse_args(
        ["run", "accuracy", "--model", "vgg16", "--fold", "2", "-p", "width=0.5"]
    )
    assert cli._parameters(options) == {"model": "vgg16", "fold": 2, "width": 0.5}
    assert cli.main(["run", "accuracy", "--fold", "2", "-p", "fold=3"]) == 1
    assert "fold is given twice" in capsys.readouterr().err
    assert cli.main(["run"]) == 1
    assert "needs an experiment" in capsys.readouterr().err


def test_time_left_is_that_of_the_last_run_or_guessed_from_the_cells(capsys):
    known = runner.ProgressLine("tiny on faces", 4, expected=1000.0)
    assert known.left().startswith("about 16:")
    known.say("epoch 1\repoch 2: \x1b[31m50%\x1b[0m\r\n")
    known.close()
    new = runner.ProgressLine("tiny on faces", 4)
    assert new.left() == "time left unknown"
    new.update(2)
    assert new.left() == "perhaps 0:00 left"
    new.close()
    assert "epoch 2: 50%" in known._said


def test_figures_of_different_notebooks_have_different_names():
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in NOTEBOOKS
        for cell in jupytext.read(path).cells
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert sorted(names) == sorted(set(names))
