"""What a page offers beside its text: run it elsewhere, download it, cite it.

Binder and Colab open notebooks from a repository on GitHub. Its name is taken from ``FERCORE_REPOSITORY``, as
``owner/name``, else from the checkout's remote ``origin``; the branch from ``FERCORE_REF``, else ``main``. Without a
name a line says how to get the buttons, for a link into nowhere helps nobody.
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


def repository(root: str | Path) -> str:
    """Return ``owner/name`` on GitHub, or ``""``."""
    given = os.environ.get("FERCORE_REPOSITORY", "")
    if not given:
        command = ["git", "-C", str(root), "remote", "get-url", "origin"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", done.stdout.strip())
        given = found[1] if found else ""
    return given if re.fullmatch(r"[\w.-]+/[\w.-]+", given) else ""


def launch(name: str, notebook: str, branch: str = "main") -> str:
    """Return the links that open a notebook of a repository in Binder and in Colab, as HTML.

    Args:
        name: ``owner/name``, or ``""``.
        notebook: Path of the paired ``.ipynb`` in the repository.
        branch: Branch or tag.
    """
    if not name:
        return (
            '<span class="launch-none">Buttons for Binder and Colab appear in copies that are built with '
            "<code>FERCORE_REPOSITORY=owner/name</code>, as the publishing workflow does.</span>"
        )
    where, ref = quote(name), quote(branch, safe="")
    binder = f"https://mybinder.org/v2/gh/{where}/{ref}?urlpath={quote(f'lab/tree/{notebook}', safe='')}"
    colab = f"https://colab.research.google.com/github/{where}/blob/{ref}/{quote(notebook)}"
    links = {"Binder": binder, "Colab": colab}
    return " ".join(
        f'<a class="launch" rel="noopener" href="{escape(link)}">Open in {title}</a>'
        for title, link in links.items()
    )


def downloads(root: Path, run: Mapping[str, Any]) -> dict[str, str]:
    """Return {what it is: path in the project} of the files behind a run."""
    experiment = str(run.get("experiment", ""))
    found = {
        "notebook": f"notebooks/{experiment}.ipynb",
        "its text": f"notebooks/{experiment}.py",
        "record": str(run.get("record", "")),
    }
    text = root / found["its text"]
    reached = definitions.modules(text) if text.is_file() else []
    used = [path.relative_to(root).as_posix() for path in reached if path.is_relative_to(root)]
    drawn = [name for name in used if re.search(r"/(figures|interactive)/\w+\.py$", name)]
    return found | {f"figures: {Path(name).stem}": name for name in drawn if "__init__" not in name}


def offer(root: Path, outdir: Path, page: str, files: Mapping[str, str], pathto: Callable[..., str]) -> str:
    """Copy the files into the build and return the links to them, as HTML.

    The executed notebook itself is there already, as the page's source.
    """
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


def branch() -> str:
    """Return the branch or tag that the buttons open."""
    return os.environ.get("FERCORE_REF") or "main"
