"""The grid: experiments x datasets x models x protocols x folds, each job one run of the command line.

    pip install -c constraints.txt -e . -e "notebooks[cluster]"
    snakemake --profile workflow/profiles/local          # this machine
    snakemake --profile workflow/profiles/workstation    # several GPUs, one job on each
    snakemake --profile workflow/profiles/slurm          # a cluster

A job leaves a stamp under runs/grid/, not the page itself, for Snakemake deletes the outputs of a job before it runs
it. Whether a page is fresh is for the runner to say; a job whose page is fresh ends at once. The parameter `code` is a
checksum of the notebook and of all modules that it can reach, blind to comments, so that an edit starts again just the
jobs that depend on it.
"""

from ferlab import definitions, provenance
from ferlab.runs import grid, runner
from ferlab.studies import tables

configfile: "workflow/grid.yaml"

GRID = grid.Grid.read(config)
STAMPS = "runs/grid"


def code_of(experiment):
    return definitions.digest(provenance.project_root() / "notebooks" / f"{experiment}.py")


# Anything on the command line of a job is quoted by the shell's rules; nothing is evaluated.
RUN = "python -m ferlab run {params.what} --stamp {output} > {log} 2>&1"


wildcard_constraints:
    dataset="[a-z0-9]+",
    model="[a-z0-9]+",
    protocol="[a-z-]+",
    fold="[0-9]+",
    experiment="[a-z_]+",


rule all:
    input:
        f"{STAMPS}/tables/accuracy.md",
        # Named here too: of a stamp that was deleted Snakemake would else not ask, as long as the tables are there.
        [f"{STAMPS}/accuracy/{name}.json" for name in GRID.train_names()],
        [f"{STAMPS}/after/{name}.json" for name in GRID.after_names()],


rule train:
    output:
        STAMPS + "/accuracy/{dataset}-{model}-{protocol}-{fold}.json",
    params:
        what=lambda w: GRID.train(w.dataset, w.model, w.protocol, int(w.fold)),
        code=code_of("accuracy"),
    log:
        STAMPS + "/logs/accuracy/{dataset}-{model}-{protocol}-{fold}.log",
    benchmark:
        STAMPS + "/benchmarks/accuracy/{dataset}-{model}-{protocol}-{fold}.tsv"
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=720,
    shell:
        RUN


rule after:
    input:
        lambda w: f"{STAMPS}/accuracy/{GRID.trained_for(w.dataset)}.json",
    output:
        STAMPS + "/after/{experiment}-{dataset}.json",
    params:
        what=lambda w: GRID.after(w.experiment, w.dataset),
        code=lambda w: code_of(w.experiment),
    log:
        STAMPS + "/logs/after/{experiment}-{dataset}.log",
    benchmark:
        STAMPS + "/benchmarks/after/{experiment}-{dataset}.tsv"
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=720,
    shell:
        RUN


rule tables:
    input:
        [f"{STAMPS}/accuracy/{name}.json" for name in GRID.train_names()],
    output:
        STAMPS + "/tables/accuracy.md",
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=10,
    run:
        tables.write(f"{STAMPS}/tables", tables.rows(runner.stamped(path) for path in input))
