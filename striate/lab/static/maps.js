// What a layer makes of the picture: its maps, or its numbers, in blue (negative) and orange (positive).

import { colour, onTheme, signedScale } from "./colours.js";
import { el, setText } from "./dom.js";
import { short } from "./numbers.js";
import { layerSentence } from "./words.js";

const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));

export class LayerCard {
  constructor(layer, last) {
    this.label = el("b");
    this.name = el("span", { className: "path" });
    this.shape = el("span", { className: "soft" });
    this.range = el("span", { className: "soft range" });
    this.canvas = el("canvas");
    this.tip = el("span", { className: "soft pointed" });
    this.stage = el("div", { className: "maps", role: "img" }, this.canvas);
    this.element = el(
      "li",
      { className: `layer-card ${layer.kind}` },
      el("div", { className: "layer-head" }, this.label, this.name, this.shape),
      el("p", { className: "explains" }, layerSentence(layer, last)),
      layer.equation && el("p", { className: "equation" }, layer.equation),
      this.stage,
      el("div", { className: "layer-foot" }, this.range, this.tip),
    );
    new ResizeObserver(() => this.draw()).observe(this.stage);
    this.stage.addEventListener("pointermove", (event) => this.#point(event));
    this.stage.addEventListener("pointerleave", () => setText(this.tip, ""));
    onTheme(() => this.draw());
    this.show(layer);
  }

  show(layer) {
    this.layer = layer;
    this.data = bytes(layer.data);
    setText(this.label, layer.label || layer.name);
    setText(this.name, layer.name);
    const units = layer.sent[0] < layer.shape[0] ? `, first ${layer.sent[0]} shown` : "";
    setText(this.shape, layer.shape.length === 3 ? `${layer.shape[0]} ${layer.shape[0] === 1 ? "map" : "maps"} of ${layer.shape[1]}×${layer.shape[2]}${units}` : `${layer.shape[0]} numbers${units}`);
    const zeros = layer.zeros > 0.005 ? ` · ${Math.round(100 * layer.zeros)} % are zero` : "";
    setText(this.range, `from ${short(layer.least)} to ${short(layer.most)}${zeros}`);
    this.stage.setAttribute("aria-label", `${layer.label || layer.name}: ${this.shape.textContent}, ${this.range.textContent}`);
    this.draw();
  }

  draw() {
    const width = this.stage.clientWidth;
    if (!width || !this.layer) return;
    const [count, high = 1, wide = 1] = this.layer.sent;
    const flat = this.layer.sent.length === 1;
    const target = flat ? 18 : Math.max(40, Math.min(72, wide * 4));
    const gap = flat ? 2 : 4;
    const fitting = Math.max(1, Math.min(count, Math.floor((width + gap) / (target + gap))));
    const rows = Math.ceil(count / fitting);
    const columns = Math.ceil(count / rows); // rows of one length
    const side = flat ? target : Math.max(target, Math.min(count === 1 ? 120 : 72, Math.floor((width + gap) / columns) - gap));
    const tall = flat ? target : Math.round((side * high) / wide);
    this.grid = { columns, side, tall, gap, count };
    const ratio = window.devicePixelRatio || 1;
    const totalWide = columns * (side + gap) - gap;
    const totalHigh = rows * (tall + gap) - gap;
    this.canvas.width = Math.round(totalWide * ratio);
    this.canvas.height = Math.round(totalHigh * ratio);
    this.canvas.style.width = `${totalWide}px`;
    this.canvas.style.height = `${totalHigh}px`;
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = false;
    const scale = signedScale();
    const one = new OffscreenCanvas(wide, high);
    const inner = one.getContext("2d");
    const image = inner.createImageData(wide, high);
    context.strokeStyle = colour("line");
    for (let unit = 0; unit < count; unit += 1) {
      for (let i = 0; i < wide * high; i += 1) {
        const at = 3 * this.data[unit * wide * high + i];
        image.data[4 * i] = scale[at];
        image.data[4 * i + 1] = scale[at + 1];
        image.data[4 * i + 2] = scale[at + 2];
        image.data[4 * i + 3] = 255;
      }
      inner.putImageData(image, 0, 0);
      const x = (unit % columns) * (side + gap);
      const y = Math.floor(unit / columns) * (tall + gap);
      context.drawImage(one, x, y, side, tall);
      context.strokeRect(x + 0.5, y + 0.5, side - 1, tall - 1);
    }
  }

  #point(event) {
    const { columns, side, tall, gap, count } = this.grid;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / (side + gap));
    const unit = Math.floor((event.clientY - box.top) / (tall + gap)) * columns + column;
    if (column < 0 || column >= columns || unit < 0 || unit >= count) return setText(this.tip, "");
    const [, high = 1, wide = 1] = this.layer.sent;
    const part = this.data.subarray(unit * wide * high, (unit + 1) * wide * high);
    const value = (byte) => ((byte - 128) / 127) * this.layer.scale;
    const least = value(Math.min(...part));
    const most = value(Math.max(...part));
    setText(this.tip, part.length === 1 ? `unit ${unit}: ${short(least)}` : `map ${unit}: ${short(least)} … ${short(most)}`);
  }
}

// A picture of the network's own size, enlarged without smoothing; `over`: brightness of a heat map on it.
export function drawPixels(canvas, picture, over = null) {
  const rgb = bytes(picture.data);
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(picture.width, picture.height);
  const heat = over ? bytes(over.data) : null;
  const hot = colour("map-high").match(/[\d.]+/g).map(Number);
  for (let i = 0; i < picture.width * picture.height; i += 1) {
    const share = heat ? Math.max(0, (heat[i] - 128) / 127) ** 0.7 : 0;
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = heat ? rgb[3 * i + c] * 0.35 * (1 - share) + hot[c] * share : rgb[3 * i + c];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return rgb;
}
