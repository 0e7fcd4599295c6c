"""The grid of runs: its jobs, their command lines, what starts them again, their GPUs, and the tables they end in."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, brightness_faces
from ferlab import provenance
from ferlab.runs import cli, kernels, sources
from ferlab.runs import records as results
from ferlab.runs.grid import Grid
from ferlab.studies import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore import checkpoints
from fercore import models as networks
from fercore.datasets import DATASETS, splits
from fercore.errors import FercoreError, UnknownNameError

CONFIG = yaml.safe_load((ROOT / "workflow" / "grid.yaml").read_text(encoding="utf-8"))


def read(**changes):
    return Grid.read(CONFIG | changes)


# Names and configuration


def test_the_shipped_grid_has_a_job_for_every_combination_and_text_of_a_command_line_is_read():
    grid = read()
    names = grid.train_names()
    assert len(names) == len(set(names)) == 1 * 4 * 2 * 5
    assert names[:2] == ["faces-vgg16-paper-0", "faces-vgg16-paper-1"]
    assert grid.after_names() == ["emotion_maps-faces"]
    assert grid.trained_for("faces") == "faces-proposed-subject-0"
    grid = read(folds=["0", "3"], models="vgg16", datasets="jaffe", protocols="paper", experiments=None)
    assert grid.train_names() == ["jaffe-vgg16-paper-0", "jaffe-vgg16-paper-3"]
    assert grid.after_names() == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"datasets": ["face"]}, UnknownNameError, "no dataset 'face'; choose one of ck48"),
        ({"models": ["vgg"]}, ValueError, "no network 'vgg'; choose proposed, baseline, vgg16, resnet50"),
        ({"experiments": ["data_card"]}, UnknownNameError, r"data_card\.py has no parameter"),
        ({"training": {"widht": 1}}, UnknownNameError, r"accuracy\.py has no parameter widht"),
        ({"training": ["width"]}, ValueError, "training: write one line NAME: VALUE"),
        ({"folds": [1.5]}, ValueError, "folds: '1.5' is not a whole number"),
        ({"protocols": None}, ValueError, "protocols: the grid needs at least one"),
    ],
)
def test_names_are_checked_before_anything_runs(changes, error, message):
    with pytest.raises(error, match=message):
        read(**changes)


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
    found = cli.run.make_context("run", shlex.split(arguments)).params
    given = {name: found[name] for name in ("pairs", "model", "recipe", "protocol", "fold")}
    return found["experiment"], found["dataset"], cli.parameters(**given)


TRAINING, AFTER = wildcards()


@settings(max_examples=40)
@given(config=GRIDS)
def test_names_of_jobs_read_back_as_what_they_run(config):
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    grid = Grid(**lists, training={"epochs": 3})
    names = grid.train_names()
    assert len(set(names)) == len(names)
    for name in {*names, *map(grid.trained_for, grid.datasets)}:
        found = TRAINING.fullmatch(name).groupdict()
        found["fold"] = int(found["fold"])
        assert found["fold"] == 0 or not found["protocol"].startswith("official")  # which has no fold 1
        assert found["dataset"] != "fer2013" or found["protocol"] not in ("subject", "loso")  # no subjects
        line = asked(grid.train(**found))
        assert line == ("accuracy", found.pop("dataset"), {"epochs": 3, "recipe": "paper", **found})
    for name in grid.after_names():
        found = AFTER.fullmatch(name).groupdict()
        wanted = TRAINING.fullmatch(grid.trained_for(found["dataset"])).groupdict()
        experiment, dataset, parameters = asked(grid.after(**found))
        assert {"experiment": experiment, "dataset": dataset} == found
        found = {key: str(parameters[key]) for key in ("model", "protocol", "fold")}
        assert wanted == {"dataset": dataset, **found}
        if grid.maps_of in grid.models:
            assert grid.trained_for(dataset) in names


# Command lines

HOSTILE = ["; rm -rf ~", "$(id)", "`id`", "a b", "'", '"', "\\", "\n", "--force"]
HOSTILE += ["x=y", "", "3", "[1]", "{x}", "%s"]
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


@settings(max_examples=50)
@given(parameters=PARAMETERS)
def test_no_shell_makes_anything_of_a_command_line_and_it_is_read_back_as_it_was_meant(parameters):
    line = sources.arguments("accuracy", "faces", parameters)
    experiment, dataset, found = asked(line)
    assert (experiment, dataset, found) == ("accuracy", "faces", parameters)
    assert list(map(type, found.values())) == [type(parameters[name]) for name in found]
    if "\0" in line or any("\ud800" <= c <= "\udfff" for c in line):
        return  # no process can be given these
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, cwd="/")
    assert done.stdout.decode().split("\0")[:-1] == shlex.split(line)
    assert done.stderr == b""


def test_the_snakefile_gives_a_shell_nothing_that_is_not_quoted():
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert re.findall(r"^    shell:\n +(.+)$", text, flags=re.M) == ["RUN", "RUN"]
    (line,) = re.findall(r'^RUN = "(.+)"$', text, flags=re.M)
    # `what` is quoted by ferlab.runs.sources, the two paths consist of the wildcards.
    assert re.findall(r"\{([\w.]+)\}", line) == ["params.what", "output", "log"]
    assert re.findall(r"what=lambda w: (\S+)\(", text) == ["GRID.train", "GRID.after"]
    parts = re.findall(r'^    \w+="(.+)",$', text, flags=re.M)
    assert all(re.fullmatch(r"\[[a-z0-9_-]+\]\+", part) for part in parts)


# GPUs

CLAIM = """
import os, sys
from pathlib import Path
from ferlab import provenance
from ferlab.runs import kernels
provenance.project_root = lambda: Path(sys.argv[1])
with kernels.claimed() as name:
    print(name, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    sys.stdin.readline()
"""


def test_processes_have_a_gpu_each_and_the_third_waits_until_one_is_free(tmp_path):
    started = []

    def claim():
        command, pipe = [sys.executable, "-c", CLAIM, str(tmp_path)], subprocess.PIPE
        variables = {**os.environ, kernels.GPUS: "0, GPU-1/2"}
        started.append(subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    try:
        first, second = claim(), claim()
        lines = [process.stdout.readline().split() for process in (first, second)]
        assert sorted(lines) == [["0", "0"], ["GPU-1/2", "GPU-1/2"]]
        third = claim()
        assert select.select([third.stdout], [], [], 5)[0] == []
        first.kill()  # a killed run leaves no lock behind
        assert third.stdout.readline().split() == lines[0]
        second.communicate("\n", timeout=60)
        assert second.returncode == 0
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_without_a_list_no_gpu_is_claimed_and_a_wrong_list_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    for listed, expected in (("", (None, "5")), ("1,1", ("1", "1"))):
        monkeypatch.setenv(kernels.GPUS, listed)
        with kernels.claimed() as name:
            assert (name, os.environ["CUDA_VISIBLE_DEVICES"]) == expected
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    monkeypatch.setenv(kernels.GPUS, "0;id")
    wrong = pytest.raises(ValueError, match=r"'0;id' is not a device; write e\.g\. FERCORE_GPUS=0,1")
    with wrong, kernels.claimed():
        pass


# Tables


def test_folds_become_a_row_and_tables_are_written_three_times_and_hold_data_as_data(tmp_path, monkeypatch):
    """Fold f of the network m has 0.5 + m / 10 + f / 100."""
    monkeypatch.setattr(results, "code", lambda _: {})
    hostile, paths = "<script>x</script> | `a`\n| b |", []
    for number, model, fold in (
        (m, model, f) for m, model in enumerate(("proposed", hostile)) for f in range(3)
    ):
        known = {"width": 0.5, "epochs": 3, "recipe": hostile, "seed": 0, "model": model, "fold": fold}
        metrics = {"test": {"accuracy": 0.5 + number / 10 + fold / 100}}
        metrics |= {"without_copies": {"accuracy": 0.4}} if fold == 1 else {}
        run, about = results.Run("accuracy", "toy", **known), {"protocol": "paper", "folder": tmp_path}
        paths.append(run.finish(str(len(paths)), brightness_faces(14), metrics, **about))
    other = results.Run("leakage", "toy").finish("x", brightness_faces(14), {}, folder=tmp_path)
    found = tables.rows([*reversed(paths), other])
    numbers = [[row[name] for name in ("model", "folds", "accuracy", "sd", "least", "most")] for row in found]
    assert numbers == [[hostile, 3, 61.0, 1.0, 60.0, 62.0], ["proposed", 3, 51.0, 1.0, 50.0, 52.0]]
    assert found[1]["without_copies"] == round((50 + 40 + 52) / 3, 2)
    (single,) = tables.rows(paths[:1])
    assert (single["folds"], single["sd"], single["without_copies"]) == (1, None, None)
    copy = shutil.copy(paths[0], paths[0].with_name("copy.json"))
    with pytest.raises(FercoreError, match=r"copy\.json and .*0\.json are the same run"):
        tables.rows([*paths, copy])
    table, content, text = tables.write(tmp_path / "tables", found)
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["model"] for row in csv.DictReader(file)] == [hostile, "proposed"]
    assert json.loads(content.read_text(encoding="utf-8")) == found
    lines = text.read_text(encoding="utf-8").splitlines()
    assert [line.count("|") for line in lines] == [len(tables.COLUMNS) + 1] * 4
    assert "<" not in "".join(lines)


# Snakemake


def dry_run(folder, profile, *config):
    """Run Snakemake dry in a folder that is linked to the workflow; return its jobs by rule, and what it says."""
    pytest.importorskip("snakemake_executor_plugin_slurm" if profile == "slurm" else "snakemake")
    for name in ("Snakefile", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    options = ["--profile", f"workflow/profiles/{profile}", "--dry-run", "--config", *config]
    command = [sys.executable, "-m", "snakemake", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", said, flags=re.M)}, said


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_snakemake_plans_the_whole_grid(tmp_path, profile):
    jobs, said = dry_run(tmp_path, profile, "models=[proposed,vgg16]", "folds=[0,1]")
    assert jobs == {"train": 8, "after": 1, "tables": 1, "all": 1, "total": 11}
    assert "runs/grid/accuracy/faces-proposed-subject-0.json" in said
    assert not (tmp_path / "runs").exists()


def test_snakemake_makes_again_a_stamp_that_was_deleted(tmp_path):
    """As the error of a stamp that fits no more tells people to do."""
    lost, *names = read(models=["vgg16", "proposed"], folds=[0], protocols=["paper"]).train_names()
    made = [
        *(f"accuracy/{name}.json" for name in names),
        "after/emotion_maps-faces.json",
        "tables/accuracy.md",
    ]
    for name in made:
        checkpoints.write_json(tmp_path / "runs" / "grid" / name, {})
    jobs, said = dry_run(tmp_path, "local", "models=[vgg16,proposed]", "folds=[0]", "protocols=[paper]")
    assert jobs == {"train": 1, "tables": 1, "all": 1, "total": 3}
    assert f"accuracy/{lost}.json" in said


def test_load_counts_every_record_job_and_image_and_mapping_keeps_its_memory(tmp_path):
    """Each chunk of 64 images explains 640 masked ones of 8 x 8 pixels: half a megabyte, of which nothing may stay."""
    sections = ["records", "mapping", *(["grid"] if importlib.util.find_spec("snakemake") else [])]
    command = [sys.executable, ROOT / "benchmarks" / "load.py", "--quick", "--output", tmp_path]
    command += [word for name in sections for word in ("--only", name)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert re.search(r"^records: seconds .*, at most 5: True$", said, flags=re.M)
    assert re.search(r"^mapping: growth .*, at most 6.4e.07: True$", said, flags=re.M)
    found = {name: one["content"] for name, one in json.loads((tmp_path / "load.json").read_text()).items()}
    assert [found["records"][name] for name in ("records", "folds", "rows")] == [60, 60, 60 // splits.FOLDS]
    if "grid" in found:
        assert found["grid"]["jobs"] == {"train": 12, "after": 1, "tables": 1, "all": 1, "total": 15}
    small, large = found["mapping"]["sets"]
    assert [part["mapped"] for part in (small, large)] == [64 * part["chunks"] for part in (small, large)]
    assert found["mapping"]["growth"] < 8e6 < (large["images"] - small["images"]) / 64 * 640 * 3 * 64 * 4
