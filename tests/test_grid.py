"""The grid of runs: its jobs, their command lines, what starts them again, their GPUs, and the tables they end in."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, brightness_faces
from ferlab.runs import cli, runner, sources
from ferlab.runs import records as results
from ferlab.runs.grid import Grid
from ferlab.studies import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from test_runs import project  # noqa: F401  the fixture

from fercore import checkpoints
from fercore import models as networks
from fercore.datasets import DATASETS, splits
from fercore.errors import FercoreError, UnknownNameError

CONFIG = yaml.safe_load((ROOT / "workflow" / "grid.yaml").read_text(encoding="utf-8"))


def read(**changes):
    return Grid.read(CONFIG | changes)


# Names and configuration


def test_the_shipped_grid_has_a_job_for_every_combination():
    grid = read()
    names = grid.train_names()
    assert len(names) == len(set(names)) == 1 * 4 * 2 * 5
    assert names[:2] == ["faces-vgg16-paper-0", "faces-vgg16-paper-1"]
    assert grid.after_names() == ["emotion_maps-faces"]
    assert grid.trained_for("faces") == "faces-proposed-subject-0"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"datasets": ["face"]}, UnknownNameError, "no dataset 'face'; choose one of ck48"),
        ({"models": ["vgg"]}, ValueError, "no network 'vgg'; choose proposed, baseline, vgg16, resnet50"),
        ({"maps_of": "vgg"}, ValueError, "no network 'vgg'"),
        ({"protocols": ["subjects"]}, ValueError, "no protocol 'subjects'; choose official"),
        ({"recipe": "papr"}, ValueError, "no recipe 'papr'; choose paper, strong"),
        ({"experiments": ["maps"]}, UnknownNameError, "no experiment 'maps'"),
        ({"experiments": ["data_card"]}, UnknownNameError, r"data_card\.py has no parameter"),
        ({"training": {"widht": 1}}, UnknownNameError, r"accuracy\.py has no parameter widht"),
        ({"after_parameters": {"deep": 1}}, UnknownNameError, r"emotion_maps\.py has no parameter deep"),
        ({"training": ["width"]}, ValueError, "training: write one line NAME: VALUE"),
        ({"folds": ["one"]}, ValueError, "folds: 'one' is not a whole number"),
        ({"folds": [-1]}, ValueError, "folds: '-1' is not a whole number"),
        ({"folds": [1.5]}, ValueError, "folds: '1.5' is not a whole number"),
        ({"folds": ["²"]}, ValueError, "folds: '²' is not a whole number"),
        ({"folds": []}, ValueError, "folds: the grid needs at least one"),
        ({"protocols": None}, ValueError, "protocols: the grid needs at least one"),
        ({"datasets": []}, ValueError, "datasets: the grid needs at least one"),
    ],
)
def test_names_are_checked_before_anything_runs(changes, error, message):
    with pytest.raises(error, match=message):
        read(**changes)


def test_the_command_line_of_snakemake_gives_text_and_single_values():
    grid = read(folds=["0", "3"], models="vgg16", datasets="jaffe", protocols="paper", experiments=None)
    assert grid.train_names() == ["jaffe-vgg16-paper-0", "jaffe-vgg16-paper-3"]
    assert read(folds=2).folds == (2,)
    assert grid.after_names() == []


def test_fer2013_has_its_own_split_in_the_place_of_subjects():
    grid = read(
        datasets=["fer2013", "jaffe"],
        models=["proposed"],
        protocols=["paper", "subject", "loso"],
        folds=[1, 2],
    )
    assert grid.train_names() == [
        *("fer2013-proposed-paper-1", "fer2013-proposed-paper-2", "fer2013-proposed-official-0"),
        *(
            f"jaffe-proposed-{protocol}-{fold}"
            for protocol in ("paper", "subject", "loso")
            for fold in (1, 2)
        ),
    ]
    assert grid.trained_for("fer2013") == "fer2013-proposed-official-0"  # an official split has no fold 1
    assert "-p fold=0 " in grid.after("emotion_maps", "fer2013") + " "
    assert grid.trained_for("jaffe") == "jaffe-proposed-loso-1"


some = {"min_size": 1, "max_size": 3, "unique": True}
GRIDS = st.fixed_dictionaries(
    {
        "datasets": st.lists(st.sampled_from(sorted(DATASETS)), **some),
        "models": st.lists(st.sampled_from(networks.MODELS), **some),
        "protocols": st.lists(st.sampled_from(splits.PROTOCOLS), **some),
        "folds": st.lists(st.integers(0, 117), **some),
        "maps_of": st.sampled_from(networks.MODELS),
        "experiments": st.just(["emotion_maps", "regions"]),
    }
)


def wildcards():
    """Return the patterns of the Snakefile for the names of trainings and of what comes after."""
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    parts = dict(re.findall(r'^    (\w+)="([^"]+)",$', text.split("wildcard_constraints:")[1], flags=re.M))
    pattern = {name: f"(?P<{name}>{part})" for name, part in parts.items()}
    joined = ("{dataset}-{model}-{protocol}-{fold}", "{experiment}-{dataset}")
    assert all(f"/{name}.json" in text for name in joined)
    return [re.compile(name.format(**pattern)) for name in joined]


def asked(arguments):
    """Return experiment, dataset and parameters as the command line reads them."""
    options = cli._parser().parse_args(["run", *shlex.split(arguments)])
    return options.experiment, options.dataset, cli._parameters(options)


TRAINING, AFTER = wildcards()


@settings(max_examples=40)
@given(config=GRIDS)
def test_names_of_jobs_read_back_as_what_they_run(config):
    grid = Grid(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in config.items()}, training={"epochs": 3}
    )
    names = grid.train_names()
    assert len(set(names)) == len(names)
    for name in {*names, *map(grid.trained_for, grid.datasets)}:
        found = TRAINING.fullmatch(name).groupdict()
        assert int(found["fold"]) == 0 or not found["protocol"].startswith("official")
        experiment, dataset, parameters = asked(
            grid.train(*[int(v) if v.isdecimal() else v for v in found.values()])
        )
        assert (experiment, dataset) == ("accuracy", found["dataset"])
        assert {**found, "fold": int(found["fold"])} == {"dataset": dataset} | {
            key: value for key, value in parameters.items() if key not in ("recipe", "epochs")
        }
    for name in grid.after_names():
        found = AFTER.fullmatch(name).groupdict()
        wanted = TRAINING.fullmatch(grid.trained_for(found["dataset"])).groupdict()
        experiment, dataset, parameters = asked(grid.after(**found))
        assert {"experiment": experiment, "dataset": dataset} == found
        assert {key: str(parameters[key]) for key in ("model", "protocol", "fold")} == {
            key: wanted[key] for key in ("model", "protocol", "fold")
        }
        if grid.maps_of in grid.models and found["dataset"] != "fer2013":
            assert grid.trained_for(found["dataset"]) in names


# Command lines

HOSTILE = ["; rm -rf ~", "$(id)", "`id`", "a b", "'", '"', "\\", "\n", "--force", "-p", "x=y", "é"]
HOSTILE += ["", "true", "3", "null", "[1]", "{x}", "%s"]
VALUES = st.recursive(
    st.one_of(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
        st.sampled_from(HOSTILE) | st.text(max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.from_regex(r"[a-z]\w{0,6}", fullmatch=True).filter(lambda name: name != "dataset")
PARAMETERS = st.dictionaries(NAMES, VALUES, max_size=3)


@given(parameters=PARAMETERS)
def test_command_lines_are_read_back_as_they_were_meant(parameters):
    line = sources.run_line("accuracy", "faces", parameters)
    assert line.startswith("ferlab run accuracy --dataset faces")
    experiment, dataset, found = asked(line.removeprefix("ferlab run "))
    assert (experiment, dataset, found) == ("accuracy", "faces", parameters)
    assert list(map(type, found.values())) == [type(parameters[name]) for name in found]


@settings(max_examples=25)
@given(parameters=PARAMETERS)
def test_no_shell_makes_anything_of_a_value(parameters):
    line = sources.arguments("accuracy", "faces", parameters)
    if "\0" in line or (not line.isprintable() and any("\ud800" <= c <= "\udfff" for c in line)):
        return  # no process can be given these
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, cwd="/")
    assert done.stdout.decode().split("\0")[:-1] == shlex.split(line)
    assert done.stderr == b""


def test_commands_of_pages_can_be_pasted(tmp_path):
    page = tmp_path / "x.ipynb"
    told = {"dataset": "faces", "box": [1, 2, 3], "pretrained": False, "note": "a; rm -rf ~", "fold": None}
    about = {"experiment": "accuracy", "dataset": "faces", "asked": told, "record": "x"}
    page.write_text(json.dumps({"metadata": {"fercore": about}}))
    assert asked(runner.command(page).removeprefix("ferlab run ")) == (
        *("accuracy", "faces"),
        {name: value for name, value in told.items() if name != "dataset"},
    )


# Stamps


def test_a_job_leaves_a_stamp_of_what_it_made(project, capfd):  # noqa: F811
    stamp = project / "runs" / "grid" / "x.json"
    for said in ("wrote", "fresh, not run again"):
        assert cli.main(["run", "tiny", "-p", "level=1", "--stamp", str(stamp)]) == 0
        assert said in capfd.readouterr().out
        record = runner.stamped(stamp)
        assert record == project / "results" / "tiny" / "faces" / "x.json"
        stamp.unlink()
    assert cli.main(["run", "tiny", "-p", "level=0", "--stamp", str(stamp)]) == 1
    assert not stamp.exists()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "3", '{"record": 3, "record_sha256": ""}', '{"record": "x"}', "[" * 9999]
)
def test_a_damaged_stamp_is_named(tmp_path, text):
    (tmp_path / "stamp.json").write_text(text)
    with pytest.raises(FercoreError, match=r"stamp\.json .*grid again"):
        runner.stamped(tmp_path / "stamp.json")


# GPUs

CLAIM = """
import os, sys
from pathlib import Path
from ferlab.runs import runner
with runner.claimed(Path(sys.argv[1])) as name:
    print(name, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def claim(tmp_path):
    """Return what starts a process that claims a device and keeps it until it is told to end."""
    started = []

    def start():
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CLAIM, str(tmp_path)],
                env={**os.environ, runner.VARIABLE: "0, GPU-1/2"},
                **dict.fromkeys(("stdin", "stdout"), subprocess.PIPE),
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_processes_have_a_gpu_each_and_the_third_waits_until_one_is_free(claim):
    first, second = claim(), claim()
    lines = [process.stdout.readline().split() for process in (first, second)]
    assert sorted(lines) == [["0", "0"], ["GPU-1/2", "GPU-1/2"]]
    third = claim()
    assert select.select([third.stdout], [], [], 3)[0] == []
    first.send_signal(signal.SIGKILL)  # a killed run leaves no lock behind
    assert third.stdout.readline().split() == lines[0]
    second.communicate("\n", timeout=60)
    assert second.returncode == 0


def test_without_a_list_no_gpu_is_claimed_and_a_wrong_list_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(runner.VARIABLE, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with runner.claimed(tmp_path) as name:
        assert (name, os.environ["CUDA_VISIBLE_DEVICES"]) == (None, "5")
    monkeypatch.setenv(runner.VARIABLE, "1,1")
    with runner.claimed(tmp_path) as name:
        assert (name, os.environ["CUDA_VISIBLE_DEVICES"]) == ("1", "1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    monkeypatch.setenv(runner.VARIABLE, "0;id")
    with (
        pytest.raises(ValueError, match=r"'0;id' is not a device; write e\.g\. FERCORE_GPUS=0,1"),
        runner.claimed(tmp_path),
    ):
        pass


# Tables


def records(root, models=("proposed", "vgg16"), folds=3, **parameters):
    """Write records of accuracy: fold f of the network m has 0.5 + m / 10 + f / 100."""
    paths = []
    for number, model in enumerate(models):
        for fold in range(folds):
            given = {
                "model": model,
                "fold": fold,
                "width": 0.5,
                "epochs": 3,
                "recipe": "paper",
                "seed": 0,
            } | parameters
            run = results.Run("accuracy", "toy", **given)
            metrics = {"test": {"accuracy": 0.5 + number / 10 + fold / 100}}
            if fold == 1:
                metrics["without_copies"] = {"accuracy": 0.4}
            paths.append(
                run.finish(f"{number}-{fold}", brightness_faces(14), metrics, protocol="paper", folder=root)
            )
    return paths


@pytest.fixture
def quick(monkeypatch):
    """Records without what their notebooks reach."""
    monkeypatch.setattr(results, "code", lambda _: {})


def test_rows_take_folds_together_as_the_tables_of_the_book_do(tmp_path, quick):
    paths = records(tmp_path)
    other = results.Run("leakage", "toy", model="proposed").finish(
        "x", brightness_faces(14), {}, folder=tmp_path
    )
    found = tables.rows([*reversed(paths), other])
    assert [(row["model"], row["folds"], row["accuracy"]) for row in found] == [
        ("proposed", 3, 51.0),
        ("vgg16", 3, 61.0),
    ]
    assert found[0]["sd"] == 1.0
    assert (found[0]["least"], found[0]["most"]) == (50.0, 52.0)
    assert found[0]["without_copies"] == round((50 + 40 + 52) / 3, 2)
    groups = tables.groups({path: results.read(path) for path in paths})
    for row, group in zip(found, groups, strict=True):
        assert group.text == f"{row['accuracy']:.1f}\u00a0% ({row['folds']} folds, ± {row['sd']:.1f})"
        assert row["variant"] == group.variant
    (single,) = tables.rows(paths[:1])
    assert (single["folds"], single["sd"], single["without_copies"]) == (1, None, None)


def test_two_records_of_one_run_are_named(tmp_path, quick):
    paths = records(tmp_path, folds=1)
    copy = Path(shutil.copy(paths[0], paths[0].with_name("copy.json")))
    with pytest.raises(FercoreError, match=r"copy\.json and .*0-0\.json are the same run"):
        tables.rows([*paths, copy])


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def test_tables_are_written_three_times_and_hold_data_as_data(tmp_path, quick):
    hostile = "<script>x</script> | `a`\n| b |"
    found = tables.rows(records(tmp_path, models=("proposed", hostile), recipe=hostile, folds=2))
    table, content, text = tables.write(tmp_path / "tables", found)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (
        [row["model"] for row in rows]
        == [row["model"] for row in found]
        == json.loads(json.dumps([hostile, "proposed"]))
    )
    assert json.loads(content.read_text(encoding="utf-8")) == found
    lines = text.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(tables.COLUMNS) + 1}
    assert Tags("\n".join(lines)).found == []


# Snakemake


def dry_run(folder, profile, *more):
    """Run Snakemake dry in a folder that is linked to the workflow; return what it says."""
    for name in ("Snakefile", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        f"workflow/profiles/{profile}",
        "--dry-run",
        *more,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def jobs(said):
    """Return the number of jobs of each rule."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", said, flags=re.M)}


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_snakemake_plans_the_whole_grid(tmp_path, profile):
    pytest.importorskip("snakemake")
    if profile == "slurm":
        pytest.importorskip("snakemake_executor_plugin_slurm")
    said = dry_run(tmp_path, profile, "--config", "models=[proposed,vgg16]", "folds=[0,1]")
    assert jobs(said) == {"train": 8, "after": 1, "tables": 1, "all": 1, "total": 11}
    assert "runs/grid/accuracy/faces-proposed-subject-0.json" in said
    assert not (tmp_path / "runs").exists()


def test_snakemake_makes_again_a_stamp_that_was_deleted(tmp_path):
    """As the error of a stamp that fits no more tells people to do."""
    pytest.importorskip("snakemake")
    names = read(models=["vgg16", "proposed"], folds=[0], protocols=["paper"]).train_names()
    made = [f"accuracy/{name}.json" for name in names] + [
        "after/emotion_maps-faces.json",
        "tables/accuracy.md",
    ]
    for name in made[1:]:
        checkpoints.write_json(tmp_path / "runs" / "grid" / name, {})
    said = dry_run(tmp_path, "local", "--config", "models=[vgg16,proposed]", "folds=[0]", "protocols=[paper]")
    assert jobs(said) == {"train": 1, "tables": 1, "all": 1, "total": 3}
    assert made[0] in said


def test_the_snakefile_gives_a_shell_nothing_that_is_not_quoted():
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    commands_of_rules = re.findall(r"^    shell:\n +(.+)$", text, flags=re.M)
    assert commands_of_rules == ["RUN", "RUN"]
    (line,) = re.findall(r'^RUN = "(.+)"$', text, flags=re.M)
    # `what` is quoted by ferlab.runs.sources, the two paths consist of wildcards that the patterns above allow.
    assert re.findall(r"\{([\w.]+)\}", line) == ["params.what", "output", "log"]
    assert re.findall(r"what=(lambda .+),$", text, flags=re.M) == [
        "lambda w: GRID.train(w.dataset, w.model, w.protocol, int(w.fold))",
        "lambda w: GRID.after(w.experiment, w.dataset)",
    ]
    assert all(
        re.fullmatch(r"\[[a-z0-9_-]+\]\+", part)
        for part in re.findall(r'^    \w+="(.+)",$', text, flags=re.M)
    )


# Load: benchmarks/load.py, with little of everything


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """The benchmark, the figures of its quick plan and its page."""
    pytest.importorskip("snakemake")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        module = importlib.import_module("load")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    folder = tmp_path_factory.mktemp("load")
    module.main(["--quick", "--output", str(folder)])
    yield module, json.loads((folder / "load.json").read_text()), (folder / "load.md").read_text()
    del sys.modules["load"]


def test_every_record_job_and_image_is_counted(load):
    module, found, _ = load
    plan = module.QUICK
    records, grid, mapping = (found[name]["content"] for name in ("records", "grid", "mapping"))
    assert records["records"] == records["folds"] == plan.records
    assert records["rows"] == plan.records // splits.FOLDS
    assert grid["jobs"] == {"train": plan.jobs, "after": 1, "tables": 1, "all": 1, "total": plan.jobs + 3}
    for part, count in zip(mapping["sets"], plan.images, strict=True):
        assert part["images"] == part["mapped"] == count
        assert part["chunks"] == count // 64
        assert part["peak"] >= part["before"] > 2**25


def test_memory_of_mapping_does_not_grow_with_the_images(load):
    """Each chunk of 64 images explains 640 masked ones of 8 x 8 pixels: half a megabyte, of which nothing may stay."""
    module, found, _ = load
    small, large = module.QUICK.images
    assert found["mapping"]["content"]["growth"] < 8e6 < (large - small) / 64 * 640 * 3 * 64 * 4
    assert found["mapping"]["content"]["growth"] <= module.BARS["growth"]


def test_a_made_up_record_is_as_large_as_a_real_one(load, tmp_path):
    (path,) = load[0].write_records(tmp_path, 1)
    real = [path for path in results.paths() if path.parts[-3:-1] == ("accuracy", "fer2013")]
    sizes = [path.stat().st_size for path in real]
    assert min(sizes) <= path.stat().st_size <= max(sizes)
    assert set(results.read(path)) == set(results.read(real[0]))


def test_the_page_of_the_load_says_what_its_figures_say(load, tmp_path):
    module, found, page = load
    assert page.count("| yes |") + page.count("| **no** |") == 2
    slow = json.loads(json.dumps(found))
    slow["records"]["content"]["seconds"] = 5.1
    assert "| 5.10 s | ≤ 5 s | **no** |" in module.document(slow)
    assert found["records"]["about"]["hardware"] in page
    with pytest.raises(SystemExit):
        module.parse(["--quick"])
