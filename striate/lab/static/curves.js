// Line charts on a canvas: hover, or focus and arrow keys, read out the values.

import { colour, onTheme } from "./colours.js";
import { el, replace, setText, sharp, soon } from "./dom.js";
import { power, short, ticks } from "./numbers.js";

const LEFT = 46;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 26;

export class Curves {
  #series = [];
  #cursor = null;
  #log = false;
  #zoom = false;

  // options: title, x (name of the axis), format(value), range [least, most] or null, logarithmic (offer it)
  constructor(options) {
    this.options = { format: (value) => short(value), x: "epoch", range: null, logarithmic: false, ...options };
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.tip = el("div", { className: "tip", hidden: true });
    this.stage = el("div", { className: "stage", tabindex: "0", role: "img" }, this.canvas, this.tip);
    this.legend = el("ul", { className: "legend" });
    const toggle = this.#toggle();
    this.element = el(
      "figure",
      { className: "curves" },
      el("div", { className: "head" }, el("h3", {}, options.title), this.legend, toggle),
      this.stage,
    );
    this.draw = soon(() => this.#draw());
    new ResizeObserver(this.draw).observe(this.stage);
    onTheme(this.draw);
    this.stage.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.stage.addEventListener("pointerleave", () => this.#point(null));
    this.stage.addEventListener("blur", () => this.#point(null));
    this.stage.addEventListener("keydown", (event) => this.#key(event));
  }

  // Powers of ten where the chart offers them; where its range is fixed, the part of it that the values take.
  #toggle() {
    const { logarithmic, range } = this.options;
    if (!logarithmic && !range) return null;
    const title = logarithmic ? "Powers of ten on the vertical axis" : "Only the range of the values on the vertical axis";
    const button = el("button", { className: "quiet small", "aria-pressed": "false", title }, logarithmic ? "log" : "zoom");
    button.addEventListener("click", () => {
      if (logarithmic) this.#log = !this.#log;
      else this.#zoom = !this.#zoom;
      button.setAttribute("aria-pressed", String(this.#log || this.#zoom));
      this.draw();
    });
    return button;
  }

  // series: {name, colour, points: [[x, y]], thin?, dots?}
  show(series) {
    this.#series = series.filter((one) => one.points.length);
    const key = this.#series.map((one) => one.name + one.colour).join();
    if (key !== this.key) {
      this.key = key;
      replace(this.legend, this.#series.map((one) => el("li", {}, el("i", { style: { background: `var(--${one.colour})` }, className: one.thin ? "thin" : "" }), one.name)));
    }
    const ends = this.#series.map((one) => `${one.name} ${this.options.format(one.points.at(-1)[1])}`);
    this.stage.setAttribute("aria-label", `${this.options.title}. ${ends.length ? `Last values: ${ends.join(", ")}` : "Nothing yet"}`);
    this.draw();
  }

  #frame() {
    const width = this.stage.clientWidth;
    const height = this.stage.clientHeight;
    const xs = this.#series.flatMap((one) => [one.points[0][0], one.points.at(-1)[0]]);
    const ys = this.#series.flatMap((one) => one.points.map((point) => point[1])).filter((y) => !this.#log || y > 0);
    const low = Math.min(0, ...xs);
    const high = Math.max(1, ...xs);
    const range = this.#zoom ? null : this.options.range;
    let [least, most] = range ?? [Math.min(...ys), Math.max(...ys)];
    if (this.#log) {
      least = Math.log10(Math.min(...ys));
      most = Math.log10(Math.max(...ys));
    } else if (!range && !this.#zoom) least = Math.min(least, 0);
    if (!(most > least)) most = least + (this.#zoom ? 0.01 : 1);
    const pad = (most - least) * 0.06;
    if (!range) most += pad;
    if (this.#log || this.#zoom) least -= pad;
    const x = (value) => LEFT + ((value - low) / (high - low)) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - (((this.#log ? Math.log10(Math.max(value, 1e-30)) : value) - least) / (most - least)) * (height - TOP - BOTTOM);
    return { width, height, low, high, least, most, x, y };
  }

  #draw() {
    const width = this.stage.clientWidth;
    const height = this.stage.clientHeight;
    if (!width || !height) return;
    const context = sharp(this.canvas, width, height);
    context.font = `12px ${getComputedStyle(this.stage).fontFamily}`;
    if (!this.#series.length) {
      context.fillStyle = colour("soft");
      context.textAlign = "center";
      context.fillText("Nothing to draw yet", width / 2, height / 2);
      return;
    }
    const frame = this.#frame();
    this.#axes(context, frame);
    for (const one of this.#series) this.#line(context, frame, one);
    this.#readOut(context, frame);
  }

  #axes(context, { width, height, low, high, least, most, x, y }) {
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const levels = this.#log ? ticks(Math.ceil(least), Math.floor(most), 4).filter(Number.isInteger) : ticks(least, most, 4);
    for (const level of levels) {
      const value = this.#log ? 10 ** level : level;
      const at = Math.round(y(value)) + 0.5;
      context.strokeStyle = colour(level === 0 && !this.#log ? "line" : "faint");
      context.beginPath();
      context.moveTo(LEFT, at);
      context.lineTo(width - RIGHT, at);
      context.stroke();
      context.fillStyle = colour("soft");
      context.fillText(this.#log ? power(level) : this.options.format(value), LEFT - 7, at);
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    const name = this.options.x;
    const end = width - RIGHT - context.measureText(name).width - 8;
    for (const value of ticks(low, high, Math.max(2, Math.min(8, width / 90)))) {
      if (high - low >= 4 && !Number.isInteger(value)) continue;
      const text = short(value);
      if (x(value) + context.measureText(text).width / 2 < end) context.fillText(text, x(value), height - 8);
    }
    context.textAlign = "right";
    context.fillText(name, width - RIGHT, height - 8);
  }

  #line(context, { x, y }, one) {
    const points = one.points.filter((point) => !this.#log || point[1] > 0);
    context.strokeStyle = colour(one.colour);
    context.lineWidth = one.thin ? 1.2 : 2.2;
    context.globalAlpha = one.thin ? 0.55 : 1;
    context.lineJoin = "round";
    context.beginPath();
    points.forEach((point, i) => (i ? context.lineTo(x(point[0]), y(point[1])) : context.moveTo(x(point[0]), y(point[1]))));
    context.stroke();
    context.globalAlpha = 1;
    const last = points.at(-1);
    const dotted = one.dots && points.length <= 60 ? points : last ? [last] : [];
    context.fillStyle = colour(one.colour);
    for (const point of dotted) {
      context.beginPath();
      context.arc(x(point[0]), y(point[1]), point === last ? 3.4 : 2.3, 0, 7);
      context.fill();
    }
  }

  #readOut(context, { width, height, x, y }) {
    if (this.#cursor === null) {
      this.tip.hidden = true;
      return;
    }
    const at = this.#cursor;
    const rows = this.#series.map((one) => [one, nearest(one.points, at)]);
    context.strokeStyle = colour("soft");
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(x(at), TOP);
    context.lineTo(x(at), height - BOTTOM);
    context.stroke();
    context.setLineDash([]);
    for (const [one, point] of rows) {
      context.fillStyle = colour(one.colour);
      context.beginPath();
      context.arc(x(point[0]), y(point[1]), 4, 0, 7);
      context.fill();
    }
    const rest = rows.map(([one, point]) => el("span", {}, el("i", { style: { background: `var(--${one.colour})` } }), `${one.name} `, el("b", {}, this.options.format(point[1]))));
    replace(this.tip, el("span", { className: "soft" }, `${this.options.x} ${short(at)}`), rest);
    this.tip.hidden = false;
    const left = x(at) > width / 2;
    this.tip.style.left = left ? "auto" : `${x(at) + 10}px`;
    this.tip.style.right = left ? `${width - x(at) + 10}px` : "auto";
  }

  #point(offset) {
    if (offset === null || !this.#series.length) this.#cursor = null;
    else {
      const { low, high, width } = this.#frame();
      const value = low + ((offset - LEFT) / (width - LEFT - RIGHT)) * (high - low);
      const fullest = this.#series.reduce((a, b) => (b.points.length > a.points.length ? b : a));
      this.#cursor = nearest(fullest.points, value)[0];
    }
    this.draw();
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.#series.length) return;
    event.preventDefault();
    const { points } = this.#series.reduce((a, b) => (b.points.length > a.points.length ? b : a));
    const now = this.#cursor === null ? points.length : points.indexOf(nearest(points, this.#cursor));
    const next = Math.max(0, Math.min(points.length - 1, now + steps[event.key]));
    this.#cursor = points[Number.isFinite(next) ? next : 0][0];
    const values = this.#series.map((one) => `${one.name} ${this.options.format(nearest(one.points, this.#cursor)[1])}`);
    setText(document.getElementById("said"), `${this.options.x} ${short(this.#cursor)}: ${values.join(", ")}`);
    this.draw();
  }
}

function nearest(points, x) {
  let low = 0;
  let high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
}
