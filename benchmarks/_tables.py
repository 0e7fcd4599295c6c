"""The bars, worked out from the figures, and the Markdown page. No number is typed here but the bars themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
OVERHEAD = {("proposed", 256): 0.05, ("paper", 256): 0.05, ("vgg16", 512): 0.03}
FASTER_SMALL, FASTER_EXACT, CORRELATION, SLOPE, MEMORY = 3.0, 20.0, 0.95, 0.05, 1e9
TIMED = ("DnCShap (default)", "DnCShap absent", "DnCShap both")


def bars(whole: dict[str, Any]) -> list[Row]:
    """Hold the figures against the bars; what was not measured is neither met nor missed."""
    cells = [cell for name in ("width", "speed") for cell in whole.get(name, {}).get("content", [])]
    lines = [*overhead_bars(cells), *partition_bars(cells), *exact_bars(cells, whole), *slope_bars(whole)]
    return lines + memory_bars(whole)


def bar(what: str, where: str, measured: str | None, wanted: str, met: bool | None) -> Row:
    """Return one line."""
    return {"what": what, "where": where, "measured": measured, "wanted": wanted, "met": met}


def row_of(cell: Row, name: str) -> Row:
    """Return the row of a method."""
    return next((row for row in cell["rows"] if row["method"] == name), {})


def where(cell: Row) -> str:
    """Name a cell."""
    return f"{cell['title']}; {cell['regions']:,} regions, {count(cell['images'], 'image')}"


def count(number: int, noun: str) -> str:
    """Return e.g. "16 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def work(row: Row) -> float | None:
    """Return the time of a method in rows of the floor, which does not drift with the machine."""
    return row["ratio"] * row["evaluations"] if row.get("ratio") is not None else None


def times_faster(cell: Row, name: str, rival: str) -> float | None:
    """Return how many times faster a method is than the fastest rival whose name begins so."""
    own = work(row_of(cell, name))
    rivals = [work(row) for row in cell["rows"] if row["method"].startswith(rival)]
    found = [value for value in rivals if value is not None]
    return min(found) / own if own and found else None


def overhead_bars(cells: list[Row]) -> Iterator[Row]:
    """Time over the floor."""
    for cell in cells:
        most = OVERHEAD.get((cell["network"], cell["regions"]))
        for row in (row_of(cell, name) for name in TIMED) if most else ():
            own = f" ({row['own_ratio'] - 1:+.1%} in its own batches)" if row.get("own_ratio") else ""
            over = None if row.get("ratio") is None else row["ratio"] - 1
            measured, met = (None, None) if over is None else (f"{over:+.1%}{own}", over <= most)
            name = f"{row.get('method')}: time over the floor"
            yield bar(name, where(cell), measured, f"≤ {most:.0%}", met)


def partition_bars(cells: list[Row]) -> Iterator[Row]:
    """Against one context of PartitionExplainer: the same evaluations, the same values."""
    for cell in cells:
        faster = times_faster(cell, "DnCShap absent", "PartitionExplainer fixed_context")
        least = FASTER_SMALL if cell["network"] == "small" else 1.0
        if faster is not None:
            name = "DnCShap absent: times faster than PartitionExplainer(fixed_context=0)"
            yield bar(name, where(cell), f"{faster:.2f}", f"≥ {least:g}", faster >= least)


def exact_bars(cells: list[Row], whole: dict[str, Any]) -> Iterator[Row]:
    """Against the exact values of PartitionExplainer: speed and agreement."""
    agreed = {
        row["method"]: row.get("correlation")
        for row in whole.get("accuracy", {}).get("content", {}).get("rows", ())
        if row["output"] == "probability"
    }
    for cell in cells:
        if cell["regions"] != 256 or cell["images"] != 1 or cell["network"] in ("vgg16", "paper"):
            continue
        for row in cell["rows"]:
            name = row["method"]
            if not name.startswith("DnCShap") or "exact" in name or "best batch" in name:
                continue
            faster = times_faster(cell, name, "PartitionExplainer exact")
            same = cell["network"] == whole.get("accuracy", {}).get("content", {}).get("network")
            like = agreed.get(name) if same else row.get("correlation")
            known = faster is not None and like is not None
            yield bar(
                f"{name}: times faster than PartitionExplainer (exact), correlation with it",
                where(cell),
                f"{faster:.1f}, {like:.3f}" if known else None,
                f"≥ {FASTER_EXACT:g}, ≥ {CORRELATION:g}",
                faster >= FASTER_EXACT and like >= CORRELATION if known else None,
            )


def slope_bars(whole: dict[str, Any]) -> Iterator[Row]:
    """Time against regions on logarithmic axes."""
    for line in whole.get("slope", {}).get("content", ()):
        slope, points = line["slopes"]["seconds"], line["points"]
        name = f"DnCShap {line['contexts']}: slope of time against regions"
        place = f"{line['title']}; {points[0]['regions']:,} to {points[-1]['regions']:,} regions"
        yield bar(name, place, f"{slope:.3f}", f"1.0 ± {SLOPE:g}", abs(slope - 1) <= SLOPE)


def memory_bars(whole: dict[str, Any]) -> list[Row]:
    """What an explanation adds to the peak of a plain batch."""
    found = whole.get("memory", {}).get("content")
    if not found:
        return []
    more = {key: found["explained"][key] - found["plain"][key] for key in ("host", "device")}
    gpu = f", GPU {more['device'] / 1e6:,.0f} MB" if more["device"] else ""
    text, place = f"{more['host'] / 1e6:,.0f} MB{gpu}", f"{found['title']}; {found['regions']:,} regions"
    name, met = "DnCShap: memory over that of one plain batch", max(more.values()) <= MEMORY
    return [bar(name, place, text, "≤ 1 GB", met)]


# Markdown


def table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """Return a table, the first columns, of words, to the left and the others to the right."""
    lines = [head, [":--"] * words + ["--:"] * (len(head) - words), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: float | None, form: str) -> str:
    """Format a figure that may be absent."""
    return "" if value is None else format(value, form)


def speed_table(cell: Row) -> str:
    """Return the table of one cell, and the list of what was not run."""
    ran = [row for row in cell["rows"] if row["ratio"] is not None]
    with_values = any("error" in row for row in ran)
    head = ["method", "evaluations", "calls", "seconds", "floor, s", "ratio", "ratio, own batches", "rounds"]
    lines = []
    for row in ran:
        line = [row["method"], f"{row['evaluations']:,.0f}", f"{row['calls']:,.0f}", f"{row['seconds']:.3f}"]
        line += [f"{row['floor_seconds']:.3f}", f"{row['ratio']:.3f}", number(row["own_ratio"], ".3f")]
        line += [str(len(row["rounds"]))]
        lines.append(line + [number(row.get(key), ".3f") for key in ("correlation", "error") if with_values])
    head += ["correlation", "rel. L2 error"] if with_values else []
    parts = [f"### {where(cell)}", f"Best batch of the floor: {cell['floor_batch']}."]
    parts += [table(head, lines)] if lines else []
    return "\n\n".join(parts + not_run(cell["rows"]))


def speed_tables(cells: list[Row]) -> str:
    """Return the tables of all cells, and one line for each cell of which nothing was measured."""
    measured = [cell for cell in cells if any(row["ratio"] is not None for row in cell["rows"])]
    parts = [speed_table(cell) for cell in measured]
    if missing := [unmeasured(cell) for cell in cells if cell not in measured]:
        parts += ["### Nothing measured", "\n".join(missing)]
    return "\n\n".join(parts)


def unmeasured(cell: Row) -> str:
    """Say in one line of a list why nothing was measured in a cell, and how many evaluations it would have taken."""
    reasons = "; ".join(dict.fromkeys(row["skipped"].rstrip(".") for row in cell["rows"]))
    expected = [row["expected"] for row in cell["rows"] if row.get("expected")]
    evaluations = f" ({min(expected):,} to {max(expected):,} evaluations)" if expected else ""
    return f"- {where(cell)}{evaluations}: {reasons}."


def not_run(rows: list[Row]) -> list[str]:
    """Name what is missing from a table, with its evaluations, one paragraph for each reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["skipped"] is not None:
            evaluations = f" ({row['expected']:,} evaluations)" if row.get("expected") else ""
            reasons.setdefault(row["skipped"].rstrip("."), []).append(row["method"] + evaluations)
    return [f"Not run ({reason}): {'; '.join(names)}." for reason, names in reasons.items()]


def accuracy_table(content: Row) -> str:
    """Return agreement with the exact values."""
    lines, skipped = [], []
    for row in content["rows"]:
        if row["skipped"] is None:
            line = [row["method"], row["output"], f"{row['evaluations']:,.0f}"]
            lines.append([*line, number(row["correlation"], ".3f"), number(row["error"], ".3f")])
        else:
            skipped.append(row | {"method": f"{row['method']}, {row['output']}"})
    about = (
        f"{content['title']}; {content['regions']:,} regions, mean over {count(content['images'], 'image')}: region "
        "values of the predicted class against the exact ones (all contexts). FeatureAblation, KernelShap, LIME and "
        "the published procedure define other values, so their distance is no error of theirs."
    )
    head = ["method", "output", "evaluations per image", "correlation", "rel. L2 error"]
    return "\n\n".join([about, table(head, lines), *not_run(skipped)])


def slope_table(lines: list[Row]) -> str:
    """Return times and evaluations against regions."""
    rows = []
    for line in lines:
        name = f"{line['title']}, {line['contexts']}"
        for point in line["points"]:
            figures = f"{point['regions']:,}", f"{point['evaluations']:,}", f"{point['seconds']:.4f}"
            rows.append([name, *figures])
        slopes = [f"{line['slopes'][key]:.3f}" for key in ("evaluations", "seconds")]
        rows.append([f"{name}: **slope**", "", *slopes])
    head = ["network", "regions", "evaluations", "seconds"]
    return "Fastest of the rounds, one image.\n\n" + table(head, rows)


def memory_table(found: Row) -> str:
    """Return the peaks."""
    head = ["peak after", "host, MB", "GPU, MB"]
    names = {
        "plain": f"one plain batch of {found['batch']}",
        "explained": f"{found['evaluations']:,} evaluations",
    }
    sizes = {key: [f"{found[key][place] / 1e6:,.0f}" for place in ("host", "device")] for key in names}
    rows = [[names[key], *sizes[key]] for key in names]
    return f"{found['title']}; {found['regions']:,} regions, one image.\n\n" + table(head, rows)


def bars_table(lines: list[Row]) -> str:
    """Return the bars."""
    answers = {True: "yes", False: "**no**", None: "not measured"}
    rows = [[b["what"], b["where"], b["measured"] or "", b["wanted"], answers[b["met"]]] for b in lines]
    return table(["bar", "where", "measured", "wanted", "met"], rows, words=2)


def machine_line(about: Row) -> str:
    """Say where and when a section was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    gpu = f"GPU: {about['gpu']}; " if "gpu" in about else ""
    place = f"{gpu}{about['hardware']} of {about['cores']} cores"
    plan = f"plan {about['plan']!r}, seed {about['seed']}, on {about['device']}"
    return f"*{about['date']}, {plan}. {place}; {versions}.*"


INTRODUCTION = """# DnCShap beside other explainers

Written by `make bench` (`benchmarks/explainers.py`); every round is in `explainers.json`. A **ratio** is an explainer's
time over its **floor**: as many images through the same network in the best batch size and nothing else. On a CPU the
floor runs between the explainer's own calls, on a GPU right behind it; figures are medians over the rounds. "Own
batches" takes the floor in the batches that the explainer chose, so that what is left is its own work. Times faster
compares ratio x evaluations, which the drift of the machine's speed does not touch. The images are embedded faces."""


def document(whole: dict[str, Any]) -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    if whole.get("bars"):
        parts += ["## Bars", bars_table(whole["bars"])]
    writers = {
        "speed": ("Speed", speed_tables),
        "width": ("Speed at the paper's width", speed_tables),
        "accuracy": ("Agreement with the exact values", accuracy_table),
        "slope": ("Time against regions", slope_table),
        "memory": ("Memory", memory_table),
    }
    for name, (title, write) in writers.items():
        if name in whole:
            parts += [f"## {title}", machine_line(whole[name]["about"]), write(whole[name]["content"])]
    return "\n\n".join(parts) + "\n"
