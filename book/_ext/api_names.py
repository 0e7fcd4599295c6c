"""Make the API pages readable: link the names that docstrings and signatures write short, and mend signatures.

Sphinx finds ``EXPECTED`` only in the module that is described, and a type alias only under its own role. Here the one
documented object whose dotted name ends in the target is taken, of whatever kind.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


def link(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Return a link to the object meant; None, and so a warning, where there is none or more than one."""
    if node.get("refdomain") != "py":
        return None
    found = env.get_domain("py").find_obj(env, None, None, node["reftarget"], None, 1)
    own = [(name, entry) for name, entry in found if not entry.aliased]
    if len(own) != 1:
        return None
    name, entry = own[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def readable(
    app: Sphinx, kind: str, name: str, of: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Write a default that a dataclass makes anew as ``...``: ``<factory>`` is no Python, and spoils all the types."""
    if signature is None or "<factory>" not in signature:
        return None
    return signature.replace("<factory>", "..."), returns


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", link)
    app.connect("autodoc-process-signature", readable)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
