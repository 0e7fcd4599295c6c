"""book/_static/figures.js, run by Node.js on the few parts of a document that it needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from fercore import provenance, temo
from fercore.temo import interactive

SCRIPT = provenance.project_root() / "book" / "_static" / "figures.js"
NODE = shutil.which("node")
DOCUMENT = """
class Part {
  constructor(tag) {
    Object.assign(this, {tag, attributes: {}, children: [], listeners: {}, style: {}, dataset: {}, names: new Set()});
    this.classList = {contains: (name) => this.names.has(name), add: (name) => this.names.add(name)};
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name === "id" || name === "value") this[name] = String(value);
  }
  append(...parts) {
    this.children.push(...parts);
    if (this.tag === "select" && this.value === undefined) this.value = "0";
  }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  querySelector() { return this.source; }
  find(tag) {
    if (this.tag === tag) return this;
    for (const child of this.children) {
      const found = child instanceof Part && child.find(tag);
      if (found) return found;
    }
  }
}
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const roots = given.figures.map((text) => {
  const root = new Part("div");
  root.dataset.figure = given.kind;
  root.source = {textContent: text};
  return root;
});
global.document = {
  readyState: "complete",
  createElement: (tag) => new Part(tag),
  createElementNS: (space, tag) => new Part(tag),
  querySelectorAll: () => roots,
};
eval(given.script);
const state = (root) => ({
  live: root.names.has("fercore-live"),
  kept: root.find("svg")?.children.flatMap((dot, i) => (dot.attributes.class === "kept" ? [i - 1] : [])),
  output: root.find("output")?.textContent,
  title: root.find("title")?.textContent,
  label: root.find("label")?.attributes.for === root.find("select")?.id,
  said: root.children[0]?.children[2]?.textContent,
});
const before = roots.map(state);
const [range, choice] = [roots[0].find("input"), roots[0].find("select")];
if (range) {
  range.value = "5"; range.listeners.input();
  choice.value = "1"; choice.listeners.change();
}
console.log(JSON.stringify({before, after: roots.map(state), type: range?.attributes.type}));
"""


def figure() -> str:
    rows = [
        {
            "fold": fold,
            "method": method,
            "k": k,
            "class": label,
            "accuracy": 0.5 + label / 30,
            "balanced": 0.5,
        }
        for fold in range(2)
        for label in (0, 3)
        for method, k in (("all", 12), ("integrated gradients", 3))
    ]
    relevance = {"zeros": np.stack([np.arange(12.0)[None], np.arange(12.0)[::-1][None]], axis=1)}
    study = temo.Study(rows, relevance, {}, (0, 3), temo.Plan(sizes=(12, 3)))
    costs = [{"k": 12, "parameters": 1200, "flops": 9}, {"k": 3, "parameters": 300, "flops": 4}]
    faces = np.random.default_rng(0).normal(size=(2, 12, 2))
    return interactive.slider(study, faces, costs)


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_slider_and_list_change_the_figure_and_damage_leaves_the_static_one():
    text = re.search(r'<script type="application/json">(.*?)</script>', figure())[1]
    given = {"kind": "ranking", "figures": [text, "{"], "script": SCRIPT.read_text(encoding="utf-8")}
    answer = subprocess.run(
        [NODE, "-e", DOCUMENT], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    seen = json.loads(answer.stdout)
    first, damaged = seen["before"]
    assert seen["type"] == "range"
    assert first["live"]
    assert first["label"]
    assert first["kept"] == [9, 10, 11]
    assert first["output"] == "3 of 12"
    assert first["said"] == "Measured: 50.0 % accuracy, 300 parameters, 4 operations per clip."
    assert not damaged["live"]
    after = seen["after"][0]
    assert after["kept"] == [0, 1, 2, 3, 4]
    assert after["title"] == "Happy: the 5 most relevant of 12 landmarks on a mean face"
    assert after["said"].startswith("Nearest measured number, 3: 60.0 % accuracy")
