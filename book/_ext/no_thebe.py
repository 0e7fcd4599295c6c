"""Leave out sphinx-thebe, which Jupyter Book loads always, without a setting: this book has no live cells.

It would put two addresses of other people's servers, and an error in every reader's console, into every page.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config


def withdraw(app: Sphinx, config: Config) -> None:
    """Disconnect the handlers of sphinx-thebe, once all extensions have connected theirs, and forget its style."""
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__.split(".")[0] == "sphinx_thebe":
                app.disconnect(listener.id)
    styles = app.registry.css_files
    styles[:] = [(name, about) for name, about in styles if name != "sphinx-thebe.css"]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", withdraw)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
