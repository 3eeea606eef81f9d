// Dead units: one square for each unit, hollow where it never fired.

import { el, replace, setText } from "./dom.js";
import { known, percent, short } from "./numbers.js";
import { unitSentence } from "./words.js";

const MOST_SQUARES = 128;
// Kinds of layers that hand on the zeros of others, or have none that last.
const OTHERS = ["linear", "normalization", "standardization", "pooling", "dropout", "reshape"];
const REMEMBERED = 64; // indices that the record holds of the silent units

export class Units {
  constructor() {
    this.sentence = el("p", { className: "finding-line" });
    this.list = el("div", { className: "unit-layers" });
    this.table = el("tbody");
    const heads = ["layer", "mean", "std", "zeros", "saturated", "update / weight"];
    this.element = el(
      "section",
      { className: "card wide" },
      el("h3", {}, "Units that fire"),
      el("p", { className: "explains" }, "A square is a unit, or a whole map of a convolution. Filled: it fired for some picture of this pass over the data. Hollow: it never did."),
      this.sentence,
      this.list,
      el(
        "details",
        { className: "numbers" },
        el("summary", {}, "All layers in numbers"),
        el("p", { className: "explains" }, "A healthy layer keeps its spread near that of its neighbours. Each update should move the weights by about a thousandth (10⁻³): much more is unstable, much less hardly learns. Saturated: on the flat ends of a sigmoid or tanh, where no gradient passes."),
        el("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": "All layers in numbers" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))), this.table)),
      ),
    );
  }

  show(record) {
    const layers = Object.entries(record.lastWatch?.layers ?? {});
    const counted = Object.entries(record.lastPass?.layers ?? {})
      .filter(([path, one]) => one.units && one.zeros > 0.005 && !OTHERS.includes(record.kind(path)))
      .map(([path, one]) => [record.layerName(path), one]);
    const silent = counted.reduce((sum, [, one]) => sum + (one.silent_count ?? 0), 0);
    const total = counted.reduce((sum, [, one]) => sum + one.units, 0);
    const [tone, text] = layers.length && !total ? ["good", "No layer of this network can fall silent: none of its outputs is zero."] : unitSentence(silent, total);
    this.sentence.className = `finding-line ${tone}`;
    setText(this.sentence, text);
    const key = JSON.stringify(counted.map(([name, one]) => [name, one.units, one.silent, one.silent_count]));
    if (key !== this.key) {
      this.key = key;
      replace(this.list, counted.map(([name, one]) => row(name, one)));
    }
    replace(
      this.table,
      layers.map(([path, one]) => el("tr", {}, el("th", { scope: "row" }, record.layerName(path)), cell(short(one.mean)), cell(short(one.std)), cell(percent(one.zeros, 0)), cell(known(one.saturated) ? percent(one.saturated, 0) : "–"), cell(known(one.update_ratio) ? short(one.update_ratio, 2) : "–"))),
    );
  }
}

const cell = (text) => el("td", {}, text);

function row(name, one) {
  const silent = one.silent_count ?? 0;
  const label = `${name}: ${silent} of ${one.units} silent`;
  const listed = new Set(one.silent ?? []);
  const exact = one.units <= MOST_SQUARES && silent <= REMEMBERED;
  const squares = exact
    ? Array.from({ length: one.units }, (_, unit) => el("i", { className: listed.has(unit) ? "silent" : "", title: `unit ${unit}${listed.has(unit) ? ": never fired" : ""}` }))
    : shares(one.units, silent);
  return el("div", { className: "unit-layer" }, el("span", { className: "layer", title: name }, name), el("div", { className: "squares", role: "img", "aria-label": label }, squares), el("b", { className: silent ? "warn" : "soft" }, silent ? `${silent} silent` : "all fire"));
}

// Too many for a square each: every square stands for the same share.
function shares(units, silent) {
  const hollow = silent ? Math.max(1, Math.round((silent / units) * MOST_SQUARES)) : 0;
  return Array.from({ length: MOST_SQUARES }, (_, i) => el("i", { className: i >= MOST_SQUARES - hollow ? "silent" : "" }));
}
