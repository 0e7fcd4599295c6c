/* Interactive figures of the book, without any library.
 *
 * A figure is an element of class "fercore-figure" with data in a <script type="application/json"> and a fallback, a
 * static SVG of class "fercore-static", that is there without this script, in print, and where the data are damaged.
 * data-figure names one of the makers below; each gets the element and the data, and returns what to add. Tables to be
 * filtered have no static drawing: they stay as they are.
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

  /* A list of choices; say is called after each change. Nothing is to be chosen where there is one entry. */
  function chooser(label, names, say) {
    var select = make("select", { id: "fercore-" + next++ });
    var line = labelled(label, select);
    var self = {
      line: line,
      select: select,
      place: function () {
        return Number(select.value);
      },
      set: function (entries) {
        var kept = entries.indexOf(self.names && self.names[self.place()]);
        self.names = entries;
        select.replaceChildren.apply(
          select,
          entries.map(function (name, place) {
            return make("option", { value: place }, name);
          })
        );
        select.value = String(Math.max(kept, 0));
        line.hidden = entries.length < 2;
      },
    };
    self.set(names);
    select.addEventListener("change", say);
    return self;
  }

  function checkbox(text, checked, say) {
    var box = make("input", { id: "fercore-" + next++, type: "checkbox" });
    box.checked = checked;
    box.addEventListener("change", say);
    var label = make("label", { for: box.id, class: "fercore-check" });
    label.append(box, " ", text);
    return { box: box, label: label };
  }

  function button(text, say) {
    var element = make("button", { type: "button", class: "fercore-button" }, text);
    element.addEventListener("click", say);
    return element;
  }

  function group(legend, parts) {
    var set = make("fieldset", { class: "fercore-group" });
    set.append.apply(set, [make("legend", {}, legend)].concat(parts));
    return set;
  }

  function said() {
    return make("p", { class: "fercore-said", "aria-live": "polite" });
  }

  function block(name, parts) {
    var element = make("div", { class: name });
    element.append.apply(element, parts);
    return element;
  }

  function row(cells) {
    var line = make("tr");
    line.append.apply(line, cells);
    return line;
  }

  /* A heading that starts with ">" stands over numbers. */
  function heading(text) {
    var plain = text.replace(/^>/, "");
    return make(plain ? "th" : "td", plain === text ? { scope: "col" } : { scope: "col", class: "fercore-number" }, plain);
  }

  function table(caption, headings, rows) {
    var element = make("table", { class: "fercore-table" });
    var head = make("thead");
    var body = make("tbody");
    head.append(row(headings.map(heading)));
    body.append.apply(body, rows);
    element.append(make("caption", {}, caption), head, body);
    return element;
  }

  /* As ferlab.interactive.embedding.shown: about three significant digits, a true minus sign, no powers of ten. */
  function shown(value) {
    if (!value) {
      return "0";
    }
    var decimals = Math.min(5, Math.max(1, 2 - Math.floor(Math.log10(Math.abs(value)))));
    var parts = Math.abs(value).toFixed(decimals).split(".");
    var whole = parts[0].replace(/\B(?=(\d{3})+$)/g, ",");
    var rest = parts[1].replace(/0+$/, "");
    var plain = whole + (rest ? "." + rest : "");
    return (value < 0 && plain !== "0" ? "\u2212" : "") + plain;
  }

  function signed(value) {
    var plain = shown(value);
    return value > 0 && plain !== "0" ? "+" + plain : plain;
  }

  /* A bar in a cell, from the zero of a common scale, and its number in another cell. */
  function bar(color) {
    var track = make("td", { class: "fercore-track" });
    var inside = make("div", { class: "fercore-scale", "aria-hidden": "true" });
    var fill = make("span", { class: "fercore-bar" });
    var zero = make("span", { class: "fercore-zero" });
    var number = make("td", { class: "fercore-number" });
    fill.style.background = color;
    inside.append(fill, zero);
    track.append(inside);
    return {
      cells: [track, number],
      set: function (value, low, high, text) {
        var span = high - low || 1;
        var clipped = Math.min(high, Math.max(low, value));
        fill.style.left = (100 * (Math.min(clipped, 0) - low)) / span + "%";
        fill.style.width = (100 * Math.abs(clipped)) / span + "%";
        zero.style.left = (-100 * low) / span + "%";
        number.textContent = text;
      },
    };
  }

  function sum(values) {
    return values.reduce(function (total, value) {
      return total + value;
    }, 0);
  }

  function unique(values) {
    return Array.from(new Set(values));
  }

  function count(number, thing) {
    return number.toLocaleString("en") + " " + thing + (number === 1 ? "" : "s");
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

  /* A game of three players: coalition, order of arrival, worths, Shapley values. Bit i of a code is player i. */
  function players(root, data) {
    var names = data.names;
    var values = data.values.slice();
    var everyone = (1 << names.length) - 1;
    var orders = permutations(names);
    var present = names.map(function (name) {
      return checkbox(name, false, show);
    });
    var order = chooser("Order of arrival", orders.map(arrival), show);
    var spoken = said();
    var inputs = [];
    var lines = [];
    var codes = [];
    for (var code = 0; code <= everyone; code++) {
      codes.push(code);
    }
    codes.sort(function (first, second) {
      return size(first) - size(second) || first - second;
    });
    codes.forEach(function (code) {
      var input = make("input", { type: "number", step: "any", "aria-label": "Worth of " + coalition(code) });
      if (Math.max.apply(null, data.values.map(Math.abs)) <= 2) {
        input.setAttribute("step", "0.05");
      }
      input.addEventListener("input", function () {
        var value = parseFloat(input.value);
        input.setAttribute("aria-invalid", isFinite(value) ? "false" : "true");
        if (isFinite(value)) {
          values[code] = value;
          show();
        }
      });
      var cell = make("td");
      cell.append(input);
      inputs[code] = input;
      lines[code] = row([make("th", { scope: "row" }, coalition(code)), cell]);
    });
    var steps = names.map(function () {
      return [make("td"), make("td"), make("td", { class: "fercore-number" })];
    });
    var bars = names.map(function (name, player) {
      return bar(data.colors[player]);
    });
    var total = said();
    total.removeAttribute("aria-live");

    function arrival(order) {
      return order
        .map(function (player) {
          return names[player];
        })
        .join(", ");
    }

    function permutations(list) {
      var found = [];
      (function extend(start) {
        if (start.length === list.length) {
          found.push(start);
        }
        list.forEach(function (_, player) {
          if (start.indexOf(player) < 0) {
            extend(start.concat(player));
          }
        });
      })([]);
      return found;
    }

    function size(code) {
      return names.filter(function (_, player) {
        return (code >> player) & 1;
      }).length;
    }

    function coalition(code) {
      var inside = names.filter(function (_, player) {
        return (code >> player) & 1;
      });
      return inside.length ? "{" + inside.join(", ") + "}" : "\u2205";
    }

    /* Calls visit(player, code of those who are there already, marginal contribution) in the order of arrival. */
    function arrive(order, visit) {
      var there = 0;
      order.forEach(function (player) {
        visit(player, there, values[there | (1 << player)] - values[there]);
        there |= 1 << player;
      });
    }

    function shapley() {
      var gains = names.map(function () {
        return 0;
      });
      orders.forEach(function (order) {
        arrive(order, function (player, _, gain) {
          gains[player] += gain / orders.length;
        });
      });
      return gains;
    }

    function show() {
      var chosen = 0;
      present.forEach(function (entry, player) {
        chosen |= entry.box.checked ? 1 << player : 0;
      });
      lines.forEach(function (line, code) {
        line.setAttribute("class", code === chosen ? "fercore-present" : "");
        line.setAttribute("aria-current", code === chosen ? "true" : "false");
      });
      var place = 0;
      arrive(orders[order.place()], function (player, there, gain) {
        var cells = steps[place++];
        var joined = there | (1 << player);
        cells[0].textContent = names[player];
        cells[1].textContent = coalition(there);
        cells[2].textContent = shown(values[joined]) + " \u2212 " + shown(values[there]) + " = " + shown(gain);
      });
      var scores = shapley();
      var low = Math.min.apply(null, [0].concat(scores));
      var high = Math.max.apply(null, [0].concat(scores));
      scores.forEach(function (score, player) {
        bars[player].set(score, low, high, shown(score));
      });
      spoken.textContent = "v(" + coalition(chosen) + ") = " + shown(values[chosen]);
      total.textContent =
        "Sum of the Shapley values: " + shown(sum(scores)) + ". v(" + coalition(everyone) + ") \u2212 v(\u2205) = " +
        shown(values[everyone] - values[0]) + ".";
    }

    function reset() {
      values = data.values.slice();
      inputs.forEach(function (input, code) {
        input.value = String(values[code]);
        input.setAttribute("aria-invalid", "false");
      });
      present.forEach(function (entry) {
        entry.box.checked = false;
      });
      order.select.value = "0";
      show();
    }

    reset();
    var boxes = present.map(function (entry) {
      return entry.label;
    });
    var left = block("", [
      table(
        "Worth of every coalition; change any of them",
        ["Coalition S", "Worth v(S)"],
        codes.map(function (code) {
          return lines[code];
        })
      ),
      button("Reset", reset),
    ]);
    var right = block("", [
      order.line,
      table("Marginal contributions in this order", ["Arrives", "Finds there", ">Adds"], steps.map(row)),
      table(
        "Shapley values: the mean over all six orders",
        ["Player", "", ">Value"],
        names.map(function (name, player) {
          return row([make("th", { scope: "row" }, name)].concat(bars[player].cells));
        })
      ),
      total,
    ]);
    return [group("Who is there?", boxes), spoken, block("fercore-columns", [left, right])];
  }

  /* Regions of a face, level by level, coloured by score per pixel; boxes are [top, left, bottom, right]. */
  function stepper(root, data) {
    var point = null; /* [row, column] in the chosen region, kept from level to level */
    var faces = chooser("Face", namesOf(data.faces), show);
    var rules = chooser("Rule", namesOf(data.faces[0].rules), show);
    var range = make("input", { id: "fercore-" + next++, type: "range", min: 0, step: 1, value: 0 });
    var output = make("output", { for: range.id });
    var common = checkbox("One colour scale for all levels and rules of this face", false, show);
    var help = make("p", { id: "fercore-" + next++, class: "fercore-help" });
    help.textContent = "Point at a region. With the keyboard: focus the face, then use the arrow keys.";
    var figure = draw("svg", {
      class: "fercore-drawing fercore-map",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "map of regions",
      "aria-describedby": help.id,
    });
    var picture = draw("image", { x: 0, y: 0, preserveAspectRatio: "none" });
    var regions = draw("g", { class: "fercore-regions", opacity: data.opacity });
    var frame = draw("rect", { class: "fercore-frame" });
    figure.append(picture, regions, frame);
    var spent = said();
    var region = said();
    var ends = [make("span"), make("span", {}, "0"), make("span")];
    var ramp = make("div", { class: "fercore-ramp", "aria-hidden": "true" });
    ramp.style.background = "linear-gradient(to right, " + data.colors.join(", ") + ")";
    var note = make("p", { class: "fercore-help" });
    var drawn = "";

    function namesOf(entries) {
      return entries.map(function (entry) {
        return entry.name;
      });
    }

    function state() {
      var face = data.faces[faces.place()];
      var level = Number(range.value);
      var rule = face.rules[rules.place()];
      return { face: face, rule: rule, level: level, boxes: data.trees[face.tree][level], scores: rule.scores[level] };
    }

    function limit(now) {
      if (!common.box.checked) {
        return now.rule.limits[now.level];
      }
      return now.face.rules.reduce(function (most, rule) {
        return Math.max(most, Math.max.apply(null, rule.limits));
      }, 0);
    }

    /* Between the two nearest of the given colours; share is -1 ... 1. */
    function mix(share) {
      var place = ((Math.min(1, Math.max(-1, share)) + 1) / 2) * (data.colors.length - 1);
      var lower = Math.min(Math.floor(place), data.colors.length - 2);
      var parts = [1, 3, 5].map(function (at) {
        var from = parseInt(data.colors[lower].slice(at, at + 2), 16);
        var to = parseInt(data.colors[lower + 1].slice(at, at + 2), 16);
        return Math.round(from + (to - from) * (place - lower));
      });
      return "rgb(" + parts.join(",") + ")";
    }

    function within(boxes, where) {
      return boxes.findIndex(function (box) {
        return box[0] <= where[0] && where[0] < box[2] && box[1] <= where[1] && where[1] < box[3];
      });
    }

    function area(box) {
      return (box[2] - box[0]) * (box[3] - box[1]);
    }

    function lay(now) {
      var rects = now.boxes.map(function (box, place) {
        return draw("rect", {
          x: box[1], y: box[0], width: box[3] - box[1], height: box[2] - box[0], "data-region": place,
        });
      });
      regions.replaceChildren.apply(regions, rects);
    }

    function show() {
      var face = data.faces[faces.place()];
      rules.set(namesOf(face.rules));
      var deepest = face.rules[0].scores.length - 1;
      range.setAttribute("max", deepest);
      range.value = String(Math.min(Number(range.value), deepest));
      var now = state();
      figure.setAttribute("viewBox", "0 0 " + face.width + " " + face.height);
      picture.setAttribute("width", face.width);
      picture.setAttribute("height", face.height);
      picture.setAttribute("href", face.image);
      if (drawn !== face.tree + " " + now.level) {
        drawn = face.tree + " " + now.level;
        lay(now);
      }
      var most = limit(now);
      Array.prototype.forEach.call(regions.children, function (rect, place) {
        rect.setAttribute("fill", mix(now.scores[place] / area(now.boxes[place]) / most));
      });
      output.textContent = now.level + " of " + deepest;
      range.setAttribute("aria-valuetext", "level " + now.level + ", " + count(now.boxes.length, "region"));
      figure.setAttribute("aria-label", face.name + ", " + now.rule.name + ", " + count(now.boxes.length, "region"));
      spent.textContent =
        count(now.boxes.length, "region") + ", " + count(now.rule.evaluations[now.level], "evaluation") +
        " up to this level. Sum of all scores: " + shown(sum(now.scores)) + " (level 0: " +
        shown(now.rule.scores[0][0]) + ").";
      ends[0].textContent = signed(-most);
      ends[2].textContent = signed(most);
      note.textContent =
        "Score per pixel: red supports the class, blue speaks against it. " +
        (common.box.checked ? "The scale is the same for all levels and rules of this face."
          : "The scale is that of this level and rule: compare colours within the drawing only.");
      tell(now);
    }

    function tell(now) {
      frame.style.display = point ? "" : "none";
      if (!point) {
        region.textContent = "";
        return;
      }
      if (within(now.boxes, point) < 0) {
        point = center(now.face); /* another face, and a smaller one */
      }
      var place = within(now.boxes, point);
      var box = now.boxes[place];
      ["y", "x", "height", "width"].forEach(function (name, side) {
        frame.setAttribute(name, side < 2 ? box[side] : box[side] - box[side - 2]);
      });
      region.textContent =
        "Region " + (place + 1) + " of " + now.boxes.length + ": score " + signed(now.scores[place]) + ", " +
        extent("row", box[0], box[2]) + ", " + extent("column", box[1], box[3]) + ", " + count(area(box), "pixel") + ".";
    }

    function extent(name, start, end) {
      return end - start === 1 ? name + " " + start : name + "s " + start + " to " + (end - 1);
    }

    function middle(box) {
      return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    }

    function center(face) {
      return middle([0, 0, face.height, face.width]);
    }

    function pointed(event) {
      var place = event.target.getAttribute("data-region");
      var now = state();
      if (place !== null && now.boxes[Number(place)]) {
        point = middle(now.boxes[Number(place)]);
        tell(now);
      }
    }

    function focused() {
      var now = state();
      point = point || center(now.face);
      tell(now);
    }

    /* To the neighbour at the middle of a side, and nowhere at the edge of the image. */
    function moved(event) {
      var way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!way || event.altKey || event.ctrlKey || event.metaKey) {
        return;
      }
      event.preventDefault();
      var now = state();
      focused();
      var box = now.boxes[within(now.boxes, point)];
      var target = middle(box).map(function (value, axis) {
        return way[axis] < 0 ? box[axis] - 0.5 : way[axis] > 0 ? box[axis + 2] + 0.5 : value;
      });
      var place = within(now.boxes, target);
      if (place >= 0) {
        point = middle(now.boxes[place]);
        tell(now);
      }
    }

    range.addEventListener("input", show);
    figure.addEventListener("pointermove", pointed);
    figure.addEventListener("pointerdown", pointed);
    figure.addEventListener("focus", focused);
    figure.addEventListener("keydown", moved);
    range.setAttribute("max", data.faces[0].rules[0].scores.length - 1);
    range.value = String(Math.min(4, data.faces[0].rules[0].scores.length - 1));
    show();
    return [
      block("fercore-controls", [faces.line, rules.line, labelled("Level", range, output), common.label]),
      block("fercore-columns", [
        block("", [figure, block("fercore-legend", [ramp, block("fercore-ends", ends)])]),
        block("", [spent, region, note, help]),
      ]),
    ];
  }

  /* Regions of a face shown or hidden, with stored outputs: bit i of a row's number says that region i is shown. */
  function switches(root, data) {
    var faces = chooser(
      "Face",
      data.faces.map(function (face) {
        return face.name;
      }),
      change
    );
    var figure = draw("svg", { class: "fercore-drawing fercore-face", role: "img" });
    var title = draw("title", {});
    var picture = draw("image", { x: 0, y: 0, preserveAspectRatio: "none" });
    var covers = draw("g", {});
    figure.append(title, picture, covers);
    var spoken = said();
    var bars = data.classes.map(function (_, place) {
      return bar(data.colors[place]);
    });
    var names = data.classes.map(function (name) {
      return make("th", { scope: "row" }, name);
    });
    var probabilities = table(
      "What the network says",
      ["Emotion", "", ">Probability"],
      names.map(function (cell, place) {
        return row([cell].concat(bars[place].cells));
      })
    );
    var gains = make("tbody");
    var caption = make("caption");
    var head = make("thead");
    head.append(row(["Show", "", ">Adds"].map(heading)));
    var contributions = make("table", { class: "fercore-table" });
    contributions.append(caption, head, gains);
    var regions = []; /* of the chosen face: {box, cover, bar} */

    function face() {
      return data.faces[faces.place()];
    }

    function most(outputs) {
      return outputs.indexOf(Math.max.apply(null, outputs));
    }

    /* What a region adds to the probability of a class: with it, minus without it, the others as they are. */
    function gain(outputs, code, region, label) {
      return outputs[code | (1 << region)][label] - outputs[code & ~(1 << region)][label];
    }

    function change() {
      var now = face();
      figure.setAttribute("viewBox", "0 0 " + now.width + " " + now.height);
      picture.setAttribute("width", now.width);
      picture.setAttribute("height", now.height);
      picture.setAttribute("href", now.image);
      regions = now.regions.map(function (name, place) {
        var entry = checkbox(name, true, show);
        var cover = draw("path", { d: now.paths[place], class: "fercore-cover" });
        cover.addEventListener("click", function () {
          entry.box.checked = !entry.box.checked;
          show();
        });
        return { box: entry.box, label: entry.label, cover: cover, bar: bar("var(--fer-accent, #0072b2)") };
      });
      covers.replaceChildren.apply(
        covers,
        regions.map(function (region) {
          return region.cover;
        })
      );
      gains.replaceChildren.apply(
        gains,
        regions.map(function (region) {
          var first = make("th", { scope: "row" });
          first.append(region.label);
          return row([first].concat(region.bar.cells));
        })
      );
      show();
    }

    function show() {
      var now = face();
      var code = 0;
      regions.forEach(function (region, place) {
        code |= region.box.checked ? 1 << place : 0;
        region.cover.setAttribute("class", "fercore-cover" + (region.box.checked ? "" : " hidden"));
      });
      var outputs = now.outputs[code];
      var label = most(now.outputs[now.outputs.length - 1]);
      var scale = 0;
      now.outputs.forEach(function (_, other) {
        regions.forEach(function (_, region) {
          scale = Math.max(scale, Math.abs(gain(now.outputs, other, region, label)));
        });
      });
      regions.forEach(function (region, place) {
        var value = gain(now.outputs, code, place, label);
        region.bar.set(value, -scale, scale, (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(3));
      });
      outputs.forEach(function (value, place) {
        bars[place].set(value, 0, 1, value.toFixed(3));
        names[place].setAttribute("class", place === label ? "fercore-chosen" : "");
      });
      caption.textContent =
        "What each region adds to the probability of " + data.classes[label] + ", while the others stay as they are";
      var visible = now.regions.filter(function (_, place) {
        return (code >> place) & 1;
      });
      var listed = visible.length === regions.length ? "everything" : visible.join(", ") || "no region";
      title.textContent = now.name + ", shown: " + listed;
      spoken.textContent =
        "Shown: " + listed + ". " + data.classes[label] + " " + outputs[label].toFixed(3) +
        (most(outputs) === label ? ", the most probable."
          : "; most probable: " + data.classes[most(outputs)] + " " + outputs[most(outputs)].toFixed(3) + ".");
    }

    function all(checked) {
      return function () {
        regions.forEach(function (region) {
          region.box.checked = checked;
        });
        show();
      };
    }

    change();
    var buttons = [button("Show all", all(true)), button("Hide all", all(false))];
    return [
      block("fercore-controls", [faces.line].concat(buttons)),
      spoken,
      block("fercore-columns", [figure, block("", [contributions, probabilities])]),
    ];
  }

  /* Relative error against evaluations per region, both logarithmic: a line per method, a tab stop for all points. */
  function errors(root, data) {
    var frame = { left: 64, right: 548, top: 12, bottom: 300 };
    var kinds = {
      dataset: chooser("Dataset", different(data.rows, "dataset"), refill),
      regions: chooser("Regions", different(data.rows, "regions"), refill),
      output: chooser("Output", different(data.rows, "output"), show),
    };
    var methods = data.methods.map(function (method) {
      var entry = checkbox(method.name, true, show);
      var sample = draw("svg", { viewBox: "-8 -8 16 16", class: "fercore-sample", "aria-hidden": "true" });
      sample.append(marker(method, 0, 0));
      entry.label.append(" ", sample);
      return entry;
    });
    var figure = draw("svg", { viewBox: "0 0 560 360", class: "fercore-drawing fercore-chart", role: "group" });
    var spoken = make("p", { class: "fercore-said" });
    var body = make("tbody");
    var numbers = make("details", { class: "fercore-details" });
    numbers.append(
      make("summary", {}, "The numbers"),
      (function () {
        var whole = table("Relative error and correlation", ["Method", ">Evaluations", ">Error", ">Correlation"], []);
        whole.append(body);
        return whole;
      })()
    );
    var lines = []; /* of each method that is drawn: its points, by evaluations */
    var current = null;

    function different(rows, key) {
      return unique(
        rows.map(function (row) {
          return String(row[key]);
        })
      );
    }

    function marker(method, x, y) {
      return draw("path", { d: method.marker, fill: method.color, transform: "translate(" + x + " " + y + ")" });
    }

    function rowsOf(keys) {
      return data.rows.filter(function (row) {
        return keys.every(function (key) {
          return String(row[key]) === kinds[key].names[kinds[key].place()];
        });
      });
    }

    /* Only what there is of the dataset, and then of its number of regions, can be chosen. */
    function refill() {
      kinds.regions.set(different(rowsOf(["dataset"]), "regions"));
      kinds.output.set(different(rowsOf(["dataset", "regions"]), "output"));
      show();
    }

    function axis(values) {
      var low = 0.85 * Math.min.apply(null, values);
      var high = Math.max.apply(null, values) / 0.85;
      return { low: low, high: high };
    }

    function spread(value, ends, from, to) {
      return from + ((to - from) * Math.log(value / ends.low)) / Math.log(ends.high / ends.low);
    }

    function decades(ends) {
      var found = [];
      for (var power = Math.floor(Math.log10(ends.low)); power <= Math.ceil(Math.log10(ends.high)); power++) {
        [1, 2, 5].forEach(function (step) {
          found.push(step * Math.pow(10, power));
        });
      }
      return found.filter(function (value) {
        return ends.low <= value && value <= ends.high;
      });
    }

    function label(content, x, y, anchor) {
      var element = draw("text", { x: x, y: y, "text-anchor": anchor });
      element.textContent = content;
      return element;
    }

    function axes(ends, budgets) {
      var parts = [];
      decades(ends.y).forEach(function (value) {
        var y = spread(value, ends.y, frame.bottom, frame.top);
        parts.push(draw("path", { d: "M" + frame.left + " " + y + "H" + frame.right, class: "fercore-grid" }));
        parts.push(label(shown(value), frame.left - 8, y + 5, "end"));
      });
      (budgets.length <= 8 ? budgets : decades(ends.x)).forEach(function (value) {
        var x = spread(value, ends.x, frame.left, frame.right);
        parts.push(draw("path", { d: "M" + x + " " + frame.top + "V" + frame.bottom, class: "fercore-grid" }));
        parts.push(label(shown(value), x, frame.bottom + 22, "middle"));
      });
      parts.push(label("evaluations per region", (frame.left + frame.right) / 2, frame.bottom + 50, "middle"));
      parts.push(label("relative error", frame.right - 6, frame.top + 18, "end"));
      return parts;
    }

    function sentence(row) {
      return (
        row.method + ": " + shown(row.evaluations_per_region) + " evaluations per region, error " + shown(row.error) +
        (row.correlation === null ? "." : ", correlation " + shown(row.correlation) + ".")
      );
    }

    function dot(method, row, ends) {
      var x = spread(row.evaluations_per_region, ends.x, frame.left, frame.right);
      var y = spread(row.error, ends.y, frame.bottom, frame.top);
      var point = draw("g", { class: "fercore-point", tabindex: -1, role: "img", "aria-label": sentence(row) });
      point.append(draw("circle", { cx: x, cy: y, r: 13, class: "fercore-near" }), marker(method, x, y));
      var entry = { row: row, element: point, x: x, y: y };
      point.addEventListener("pointerenter", function () {
        tell(entry);
      });
      point.addEventListener("focus", function () {
        rove(entry);
        tell(entry);
      });
      point.addEventListener("keydown", moved);
      return entry;
    }

    function tell(entry) {
      spoken.textContent = sentence(entry.row);
    }

    function rove(entry) {
      if (current) {
        current.element.setAttribute("tabindex", -1);
      }
      current = entry;
      entry.element.setAttribute("tabindex", 0);
    }

    /* Left and right along the line; up and down to the line whose point is next to this one in that direction. */
    function moved(event) {
      if (event.altKey || event.ctrlKey || event.metaKey || !/^(Arrow|Home|End)/.test(event.key)) {
        return;
      }
      event.preventDefault();
      var line = lines.find(function (points) {
        return points.indexOf(current) >= 0;
      });
      var place = line.indexOf(current);
      var step = { ArrowLeft: line[place - 1], ArrowRight: line[place + 1], Home: line[0], End: line[line.length - 1] };
      var target = event.key in step ? step[event.key] : beside(line, event.key === "ArrowUp" ? -1 : 1);
      if (target) {
        target.element.focus();
      }
    }

    function beside(line, way) {
      var found = lines
        .filter(function (other) {
          return other !== line;
        })
        .map(function (points) {
          return points.reduce(function (best, point) {
            return Math.abs(point.x - current.x) < Math.abs(best.x - current.x) ? point : best;
          });
        })
        .filter(function (point) {
          return way * (point.y - current.y) > 0;
        });
      return found.sort(function (first, second) {
        return way * (first.y - second.y);
      })[0];
    }

    function show() {
      var rows = rowsOf(["dataset", "regions", "output"]);
      var visible = rows.filter(function (row) {
        return methods[placeOf(row)].box.checked;
      });
      var drawable = rows.filter(function (row) {
        return row.error > data.least;
      });
      methods.forEach(function (entry, place) {
        entry.box.disabled = !rows.some(function (row) {
          return placeOf(row) === place;
        });
      });
      /* All methods set the scales, also those that are switched off, so that lines stay where they are. */
      var ends = {
        x: axis(drawable.map(function (row) { return row.evaluations_per_region; })),
        y: axis(drawable.map(function (row) { return row.error; })),
      };
      var budgets = different(drawable, "evaluations_per_region").map(Number);
      var parts = drawable.length ? axes(ends, budgets) : [];
      lines = [];
      current = null;
      data.methods.forEach(function (method, place) {
        var points = visible
          .filter(function (row) {
            return placeOf(row) === place && row.error > data.least;
          })
          .sort(function (first, second) {
            return first.evaluations_per_region - second.evaluations_per_region;
          })
          .map(function (row) {
            return dot(method, row, ends);
          });
        if (points.length) {
          lines.push(points);
          parts.push(draw("path", { d: path(points), class: "fercore-line", stroke: method.color }));
        }
      });
      lines.forEach(function (points) {
        parts = parts.concat(points.map(function (entry) { return entry.element; }));
      });
      figure.replaceChildren.apply(figure, parts);
      if (lines.length) {
        rove(lines[0][0]);
      }
      var zero = visible.filter(function (row) {
        return row.error <= data.least;
      }).length;
      var about = rows[0].dataset + ", " + rows[0].regions + " regions, " + rows[0].output;
      figure.setAttribute("aria-label", "Relative error against evaluations per region: " + about);
      spoken.textContent =
        count(visible.length - zero, "point") + (zero ? ", and " + zero + " with error 0, which are not drawn" : "") +
        ". Point at one, or go along the lines with the arrow keys.";
      body.replaceChildren.apply(
        body,
        visible.map(function (row_) {
          var cells = [row_.evaluations_per_region, row_.error, row_.correlation].map(function (value) {
            return make("td", { class: "fercore-number" }, value === null ? "\u2013" : shown(value));
          });
          return row([make("th", { scope: "row" }, row_.method)].concat(cells));
        })
      );
    }

    function path(points) {
      return (
        "M" +
        points
          .map(function (point) {
            return point.x.toFixed(1) + " " + point.y.toFixed(1);
          })
          .join("L")
      );
    }

    function placeOf(row) {
      return data.methods.findIndex(function (method) {
        return method.name === row.method;
      });
    }

    refill();
    var choices = ["dataset", "regions", "output"].map(function (key) {
      return kinds[key].line;
    });
    var boxes = methods.map(function (entry) {
      return entry.label;
    });
    return [block("fercore-controls", choices), group("Methods", boxes), figure, spoken, numbers];
  }

  /* Lists that hide rows or columns of the table in the element; it is whole without this script, and in print. */
  function filter(root, data) {
    var element = root.querySelector("table");
    var head = Array.prototype.slice.call(element.tHead.rows[0].cells);
    var rows = Array.prototype.slice.call(element.tBodies[0].rows);
    var headings = head.map(words);
    var across = data.across || { label: "", names: [] };
    var output = make("output", { class: "fercore-count", "aria-live": "polite" });
    if (rows.some(function (row) { return row.cells.length !== headings.length; })) {
      throw new Error("cells of this table span several columns or rows");
    }
    var choices = data.columns.map(function (name) {
      var column = headings.indexOf(name);
      if (column < 0) {
        throw new Error("the table has no column " + name);
      }
      var values = rows.map(function (row) {
        return words(row.cells[column]);
      });
      return { column: column, list: chooser(name, ["All"].concat(unique(values)), show) };
    });
    var groups = chooser(across.label, ["All"].concat(across.names), show);

    function words(cell) {
      return cell.textContent.replace(/\s+/g, " ").trim();
    }

    function chosen(list) {
      return list.place() === 0 ? null : list.names[list.place()];
    }

    /* The columns of the chosen group; those of no group are always shown. */
    function belongs(column, names) {
      return names.some(function (name) {
        return headings[column].indexOf(name) >= 0;
      });
    }

    function show() {
      var group = chosen(groups);
      var kept = headings.map(function (_, column) {
        return group === null || belongs(column, [group]) || !belongs(column, across.names);
      });
      var left = rows.filter(function (row) {
        var cells = Array.prototype.slice.call(row.cells);
        cells.forEach(function (cell, column) {
          cell.hidden = !kept[column];
        });
        var filled = cells.some(function (cell, column) {
          return belongs(column, [group]) && words(cell) !== "\u2013";
        });
        row.hidden = !choices.every(function (choice) {
          var value = chosen(choice.list);
          return value === null || value === words(row.cells[choice.column]);
        });
        row.hidden = row.hidden || (group !== null && !filled);
        return !row.hidden;
      });
      head.forEach(function (cell, column) {
        cell.hidden = !kept[column];
      });
      output.textContent = left.length + " of " + count(rows.length, "row");
    }

    show();
    var lists = choices.map(function (choice) {
      return choice.list.line;
    });
    root.insertBefore(
      block("fercore-interactive fercore-controls", lists.concat([groups.line, output])),
      root.firstChild
    );
    return [];
  }

  var makers = {
    errors: errors,
    filter: filter,
    players: players,
    ranking: ranking,
    stepper: stepper,
    switches: switches,
  };

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
      return; /* what is static stays */
    }
    if (parts.length) {
      root.append(block("fercore-interactive", parts));
    }
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
