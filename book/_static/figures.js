/* Interactive figures of the book, without any library.
 *
 * A figure is an element of class "fercore-figure" with data in a <script type="application/json"> and a fallback, a
 * static SVG of class "fercore-static", that is there without this script, in print, and where the data are damaged.
 * data-figure names one of the makers below; each gets the element and the data.
 */
(function () {
  "use strict";

  var SVG = "http://www.w3.org/2000/svg";
  var next = 0;

  function make(tag, attributes, text) {
    var element = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) {
      element.setAttribute(name, attributes[name]);
    });
    if (text !== undefined) {
      element.textContent = text;
    }
    return element;
  }

  function draw(tag, attributes) {
    var element = document.createElementNS(SVG, tag);
    Object.keys(attributes).forEach(function (name) {
      element.setAttribute(name, attributes[name]);
    });
    return element;
  }

  function labelled(text, control, output) {
    var line = make("p", { class: "fercore-control" });
    line.append(make("label", { for: control.id }, text), " ", control);
    if (output) {
      line.append(" ", output);
    }
    return line;
  }

  /* Which points are kept when k of them are, per class; and what was measured at some k. */
  function ranking(root, data) {
    var id = "fercore-" + next++;
    var choice = make("select", { id: id + "-class" });
    data.classes.forEach(function (entry, place) {
      choice.append(make("option", { value: place }, entry.name));
    });
    var count = data.points;
    var range = make("input", { id: id + "-k", type: "range", min: 1, max: count, step: 1, value: data.start });
    var output = make("output", { for: range.id });
    var said = make("p", { class: "fercore-said", "aria-live": "polite" });
    var figure = draw("svg", { viewBox: data.view.join(" "), role: "img", class: "fercore-drawing" });
    var title = draw("title", {});
    figure.append(title);
    var dots = [];
    for (var number = 0; number < count; number++) {
      dots.push(draw("circle", { r: data.radius }));
      figure.append(dots[number]);
    }

    function nearest(k) {
      return data.measured.reduce(function (best, row) {
        return Math.abs(row.k - k) < Math.abs(best.k - k) ? row : best;
      });
    }

    function show() {
      var entry = data.classes[Number(choice.value)];
      var k = Number(range.value);
      entry.order.forEach(function (point, rank) {
        var dot = dots[point];
        dot.setAttribute("cx", entry.face[point][0]);
        dot.setAttribute("cy", entry.face[point][1]);
        dot.setAttribute("class", rank < k ? "kept" : "left-out");
        dot.style.fill = rank < k ? entry.color : "";
      });
      output.textContent = k + " of " + count;
      range.setAttribute("aria-valuetext", k + " of " + count + " landmarks");
      title.textContent = entry.name + ": the " + k + " most relevant of " + count + " landmarks on a mean face";
      var row = nearest(k);
      said.textContent =
        (row.k === k ? "Measured: " : "Nearest measured number, " + row.k + ": ") +
        entry.measured[String(row.k)] + " % accuracy, " + row.parameters + " parameters, " + row.flops +
        " operations per clip.";
    }

    choice.addEventListener("change", show);
    range.addEventListener("input", show);
    show();
    var controls = make("div", { class: "fercore-controls" });
    controls.append(labelled("Emotion", choice), labelled("Landmarks kept", range, output));
    return [controls, figure, said];
  }

  var makers = { ranking: ranking };

  function enhance(root) {
    var source = root.querySelector('script[type="application/json"]');
    var maker = makers[root.dataset.figure];
    if (!source || !maker || root.classList.contains("fercore-live")) {
      return;
    }
    var parts;
    try {
      parts = maker(root, JSON.parse(source.textContent));
    } catch (error) {
      return; /* the static figure stays */
    }
    var live = make("div", { class: "fercore-interactive" });
    parts.forEach(function (part) {
      live.append(part);
    });
    root.append(live);
    root.classList.add("fercore-live");
  }

  function start() {
    Array.prototype.forEach.call(document.querySelectorAll(".fercore-figure"), enhance);
  }

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
  } else {
    start();
  }
})();
