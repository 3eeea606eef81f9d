// Gradient flow: a bar for each layer now, and a band for each layer over time.

import { colour, onTheme } from "./colours.js";
import { el, replace, setText, sharp, soon } from "./dom.js";
import { known, power, short } from "./numbers.js";
import { EXPLODED, flowSentence, VANISHED } from "./words.js";

const LEAST = -8; // powers of ten that the picture covers
const MOST = 2;
const ROW = 22;

export class Flow {
  constructor() {
    this.sentence = el("p", { className: "finding-line" });
    this.rows = el("div", { className: "flow-rows", role: "list" });
    this.canvas = el("canvas", { role: "img", "aria-label": "Gradient of each layer over time" });
    this.over = el("div", { className: "flow-time" }, this.canvas);
    this.element = el(
      "section",
      { className: "card wide" },
      el("h3", {}, "Gradient flow"),
      el(
        "p",
        { className: "explains" },
        "How much gradient each layer receives, compared with the last one. The gradient flows from the last layer back to the first, and every layer multiplies it. Bars of similar length are healthy. Bars that get shorter and shorter towards the top show a vanishing gradient.",
      ),
      this.sentence,
      el("div", { className: "flow" }, el("div", {}, el("p", { className: "axis-name" }, "now, from the input (top) to the output"), this.rows, this.#scale()), el("div", { className: "flow-right" }, el("p", { className: "axis-name" }, "over time →"), this.over, this.#legend())),
    );
    this.draw = soon(() => this.#draw());
    new ResizeObserver(this.draw).observe(this.over);
    onTheme(this.draw);
  }

  #scale() {
    const marks = [-8, -6, -4, -2, 0, 2].map((exponent) => el("span", { style: { left: `${position(exponent)}%` } }, exponent === 0 ? "1" : power(exponent)));
    return el("div", { className: "flow-scale", "aria-hidden": "true" }, el("span"), el("div", {}, marks), el("span"));
  }

  #legend() {
    return el("p", { className: "ramp-legend", "aria-hidden": "true" }, power(LEAST), el("i", { className: "ramp" }), power(MOST));
  }

  show(record) {
    this.watches = record.watches;
    const layers = layersOf(record);
    this.layers = layers;
    const [tone, text] = flowSentence(layers);
    this.sentence.className = `finding-line ${tone}`;
    setText(this.sentence, text);
    if (this.rows.children.length !== layers.length || this.names !== layers.map((one) => one.name).join()) {
      this.names = layers.map((one) => one.name).join();
      this.bars = layers.map((one) => {
        const bar = el("i", { className: "bar" });
        const value = el("b");
        const title = `${one.path} ${record.layer(one.path)}`;
        return { bar, value, row: el("div", { className: "flow-row", role: "listitem" }, el("span", { className: "layer", title }, one.name), el("div", { className: "track" }, bar), value) };
      });
      replace(this.rows, this.bars.map((one) => one.row));
    }
    layers.forEach((one, i) => {
      const { bar, value } = this.bars[i];
      bar.style.width = `${known(one.ratio) && one.ratio > 0 ? Math.max(0.6, position(Math.log10(one.ratio))) : 0}%`;
      bar.className = `bar ${tone_of(one.ratio)}`;
      setText(value, one.ratio === null ? "–" : short(one.ratio, 2));
    });
    this.draw();
  }

  #draw() {
    const layers = this.layers ?? [];
    const width = this.over.clientWidth;
    const height = layers.length * ROW;
    if (!width || !height) return;
    this.over.style.height = `${height}px`;
    const context = sharp(this.canvas, width, height);
    const watches = this.watches;
    const wide = width / watches.length;
    const ramp = [colour("ramp-low"), colour("ramp-middle"), colour("ramp-high")].map((text) => text.match(/[\d.]+/g).map(Number));
    watches.forEach((watch, column) => {
      const found = watch.layers ?? {};
      layers.forEach((one, row) => {
        const ratio = found[one.path]?.gradient_ratio;
        if (!known(ratio)) return;
        context.fillStyle = shade(ramp, ratio > 0 ? (Math.log10(ratio) - LEAST) / (MOST - LEAST) : 0);
        context.fillRect(column * wide, row * ROW + 2, Math.ceil(wide) + 0.5, ROW - 4);
      });
    });
  }
}

function shade(ramp, t) {
  const at = Math.max(0, Math.min(1, t)) * 2;
  const [a, b] = at < 1 ? [ramp[0], ramp[1]] : [ramp[1], ramp[2]];
  const part = at < 1 ? at : at - 1;
  return `rgb(${a.slice(0, 3).map((value, i) => Math.round(value + (b[i] - value) * part)).join(" ")})`;
}

function position(exponent) {
  return (100 * (Math.max(LEAST, Math.min(MOST, exponent)) - LEAST)) / (MOST - LEAST);
}

function tone_of(ratio) {
  if (!known(ratio)) return "";
  if (ratio < VANISHED || ratio > EXPLODED) return "bad";
  return ratio < 1e-2 ? "warn" : "good";
}

// Layers with weights, in the order in which signals pass them; γ and β of normalizations are not on the way.
export function layersOf(record) {
  return Object.entries(record.lastWatch?.layers ?? {})
    .filter(([path, one]) => known(one.gradient_norm) && record.kind(path) !== "normalization")
    .map(([path, one]) => ({ path, name: record.layerName(path), ratio: known(one.gradient_ratio) ? one.gradient_ratio : null }));
}
