/* The few parts of a document that figures.js needs, for Node.js. Reads {script, figures, steps} as JSON from standard
 * input: runs the script on the figures, then the steps, a function's body, and prints what these return. */
"use strict";

class Part {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], listeners: {}, style: {}, dataset: {}, names: new Set() });
    Object.assign(this, { hidden: false, checked: false, disabled: false });
    this.classList = { contains: (name) => this.names.has(name), add: (name) => this.names.add(name) };
  }

  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name === "id" || name === "value") this[name] = String(value);
  }

  getAttribute(name) {
    return name in this.attributes ? this.attributes[name] : null;
  }

  removeAttribute(name) {
    delete this.attributes[name];
  }

  get value() {
    return this.given ?? (this.tag === "select" ? this.children[0]?.value : undefined);
  }

  set value(value) {
    this.given = String(value);
  }

  get textContent() {
    return this.children.map((child) => (child instanceof Part ? child.textContent : String(child))).join("");
  }

  set textContent(text) {
    this.children = [text];
  }

  get firstChild() {
    return this.children[0];
  }

  append(...parts) {
    this.children.push(...parts);
  }

  replaceChildren(...parts) {
    this.children = parts;
  }

  insertBefore(part, other) {
    this.children.splice(this.children.indexOf(other), 0, part);
  }

  addEventListener(name, listener) {
    (this.listeners[name] ??= []).push(listener);
  }

  fire(name, event = {}) {
    const sent = { target: this, prevented: false, preventDefault: () => (sent.prevented = true), ...event };
    (this.listeners[name] ?? []).forEach((listener) => listener(sent));
    return sent;
  }

  focus() {
    document.activeElement = this;
    this.fire("focus");
  }

  /* What a reader does: choose, type, tick, press a key. */
  choose(value) {
    this.value = value;
    this.fire(this.tag === "select" ? "change" : "input");
  }

  tick() {
    this.checked = !this.checked;
    this.fire("change");
  }

  press(key) {
    return this.fire("keydown", { key });
  }

  all(wanted) {
    const right = typeof wanted === "string" ? (part) => part.tag === wanted : wanted;
    const below = this.children.flatMap((child) => (child instanceof Part ? child.all(right) : []));
    return right(this) ? [this, ...below] : below;
  }

  find(wanted) {
    return this.all(wanted)[0];
  }

  styled(name) {
    return this.all((part) => (part.attributes.class ?? "").split(" ").includes(name));
  }

  querySelector(selector) {
    return selector.startsWith("script") ? this.source : this.find(selector);
  }
}

function table(rows) {
  const element = new Part("table");
  const lines = rows.map((cells) => {
    const line = new Part("tr");
    line.cells = cells.map((text) => {
      const cell = new Part("td");
      cell.textContent = text;
      return cell;
    });
    return line;
  });
  element.tHead = { rows: lines.slice(0, 1) };
  element.tBodies = [{ rows: lines.slice(1) }];
  return element;
}

const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const roots = given.figures.map((figure) => {
  const root = new Part("div");
  root.dataset.figure = figure.kind;
  root.source = { textContent: figure.data };
  if (figure.table) root.append(table(figure.table));
  return root;
});
global.document = {
  readyState: "complete",
  createElement: (tag) => new Part(tag),
  createElementNS: (space, tag) => new Part(tag),
  querySelectorAll: () => roots,
};
eval(given.script);
const result = new Function("roots", "Part", given.steps)(roots, Part);
console.log(JSON.stringify(result));
