"""What a page offers beside its text: run it elsewhere, download it, cite it.

Binder and Colab open notebooks from a repository on GitHub: ``FERCORE_REPOSITORY`` (``owner/name``), else the remote
``origin``. Without either a line says how to get the buttons, for a link into nowhere helps nobody.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ferlab import definitions

FOLDER = "_downloads/run"  # below the built book


def git(root: str | Path, *words: str) -> str:
    """Return what git says of a working tree, or ``""`` where there is none."""
    if shutil.which("git") is None:
        return ""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment).stdout.strip()


def repository(root: str | Path) -> str:
    """Return ``owner/name`` on GitHub, or ``""``."""
    given = os.environ.get("FERCORE_REPOSITORY")
    if not given:
        found = re.search(r"github\.com[:/](.+?)(\.git)?/?$", git(root, "remote", "get-url", "origin"))
        given = found[1] if found else ""
    return given if re.fullmatch(r"[\w.-]+/[\w.-]+", given) else ""


def launch(name: str, notebook: str, branch: str) -> str:
    """Return links that open a notebook (its path in the repository ``owner/name``) in Binder and Colab, as HTML."""
    if not name:
        return (
            '<span class="launch-none">Buttons for Binder and Colab appear in copies that are built with '
            "<code>FERCORE_REPOSITORY=owner/name</code>, as the publishing workflow does.</span>"
        )
    where, ref = quote(name), quote(branch, safe="")
    binder = f"https://mybinder.org/v2/gh/{where}/{ref}?urlpath={quote(f'lab/tree/{notebook}', safe='')}"
    colab = f"https://colab.research.google.com/github/{where}/blob/{ref}/{quote(notebook)}"
    shown = '<a class="launch" rel="noopener" href="{}">Open in {}</a>'
    return f"{shown.format(escape(binder), 'Binder')} {shown.format(escape(colab), 'Colab')}"


def downloads(root: Path, run: Mapping[str, Any]) -> dict[str, str]:
    """Return {what it is: path in the project} of the files behind a run."""
    experiment = str(run.get("experiment", ""))
    pair, text = f"notebooks/{experiment}.ipynb", f"notebooks/{experiment}.py"
    found = {"notebook": pair, "its text": text, "record": str(run.get("record", ""))}
    reached = definitions.modules(root / text) if (root / text).is_file() else []
    used = [path.relative_to(root).as_posix() for path in reached if path.is_relative_to(root)]
    drawn = [name for name in used if re.search(r"/(figures|interactive)/(?!__init__)\w+\.py$", name)]
    return found | {f"figures: {Path(name).stem}": name for name in drawn}


def offer(root: Path, outdir: Path, page: str, files: Mapping[str, str], pathto: Callable[..., str]) -> str:
    """Copy files into the build and return links to them, as HTML; the executed notebook is there as the source."""
    links = [f'<a href="{escape(pathto(f"_sources/{page}", 1))}" download>executed notebook</a>']
    for title, name in files.items():
        source = root / name
        if not name or not source.is_file():
            continue
        target = outdir / FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        links.append(f'<a href="{escape(pathto(f"{FOLDER}/{name}", 1))}" download>{escape(title)}</a>')
    return ", ".join(links)


def citation(title: str, version: str, commit: str) -> str:
    """Return how to cite a page, as HTML."""
    built = f", commit {escape(commit)}" if commit else ""
    return (
        f'<p class="cite-page">Cite this page: The fercore developers (2026). <em>{escape(title)}</em>. In: '
        f"fercore {escape(version)}{built}.</p>"
    )
