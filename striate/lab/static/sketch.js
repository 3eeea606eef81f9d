// The pad to draw on: mouse, pen, finger, or the keyboard (arrows move, space puts the pen down and lifts it).

import { el } from "./dom.js";

const SIZE = 280; // pixels of the drawing itself, whatever its size on the screen

export class Sketch {
  #pen = null;
  #spot = [SIZE / 2, SIZE / 2];
  #down = false;

  // changed(done): after every stroke's piece; done at its end
  constructor(changed) {
    this.changed = changed;
    this.canvas = el("canvas", { width: SIZE, height: SIZE });
    this.cursor = el("i", { className: "spot", "aria-hidden": "true", hidden: true });
    this.element = el("div", { className: "pad", tabindex: "0", role: "application", "aria-label": "Drawing pad. Arrow keys move the pen, space puts it down or lifts it, Delete clears." }, this.canvas, this.cursor);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.brush = 22;
    this.colours = { paper: "#000", ink: "#fff" };
    this.clear();
    this.element.addEventListener("pointerdown", (event) => this.#begin(event));
    this.element.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) this.element.addEventListener(name, () => this.#end());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("blur", () => {
      this.cursor.hidden = true;
      this.#down = false;
    });
  }

  clear() {
    this.context.fillStyle = this.colours.paper;
    this.context.fillRect(0, 0, SIZE, SIZE);
    this.empty = true;
  }

  // Light ink on dark paper, as in the data, or the reverse.
  setPaper(background) {
    const dark = background < 128;
    this.colours = dark ? { paper: "#000", ink: "#fff" } : { paper: "#fff", ink: "#000" };
    this.clear();
  }

  // A picture on the pad: shown, with its proportions kept.
  show(image) {
    this.clear();
    const scale = Math.min(SIZE / image.width, SIZE / image.height);
    const [wide, high] = [image.width * scale, image.height * scale];
    this.context.drawImage(image, (SIZE - wide) / 2, (SIZE - high) / 2, wide, high);
    this.empty = false;
  }

  pixels(rgb, width, height) {
    const small = document.createElement("canvas");
    small.width = width;
    small.height = height;
    const context = small.getContext("2d");
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i += 1) image.data.set([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2], 255], 4 * i);
    context.putImageData(image, 0, 0);
    this.context.imageSmoothingEnabled = false;
    this.show(small);
    this.context.imageSmoothingEnabled = true;
  }

  blob() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  #place(event) {
    const box = this.element.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  }

  #begin(event) {
    if (event.button) return;
    this.element.setPointerCapture(event.pointerId);
    this.element.dispatchEvent(new Event("stroke"));
    this.#pen = this.#place(event);
    this.#line(this.#pen, this.#pen);
  }

  #move(event) {
    if (!this.#pen) return;
    const pieces = event.getCoalescedEvents?.() ?? [];
    for (const piece of pieces.length ? pieces : [event]) {
      const next = this.#place(piece);
      this.#line(this.#pen, next);
      this.#pen = next;
    }
  }

  #end() {
    if (!this.#pen) return;
    this.#pen = null;
    this.changed(true);
  }

  #line(from, to) {
    const { context } = this;
    context.strokeStyle = this.colours.ink;
    context.lineWidth = this.brush;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(to[0] + 0.01, to[1]);
    context.stroke();
    this.empty = false;
    this.changed(false);
  }

  #key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Delete" || event.key === "Backspace") {
      this.element.dispatchEvent(new Event("wipe"));
    } else if (event.key === " ") {
      this.#down = !this.#down;
      if (this.#down) {
        this.element.dispatchEvent(new Event("stroke"));
        this.#line(this.#spot, this.#spot);
      } else this.changed(true);
    } else if (event.key in steps) {
      const next = this.#spot.map((value, i) => Math.max(8, Math.min(SIZE - 8, value + 10 * steps[event.key][i])));
      if (this.#down) this.#line(this.#spot, next);
      this.#spot = next;
    } else return;
    event.preventDefault();
    this.cursor.hidden = false;
    this.cursor.classList.toggle("down", this.#down);
    this.cursor.style.left = `${(100 * this.#spot[0]) / SIZE}%`;
    this.cursor.style.top = `${(100 * this.#spot[1]) / SIZE}%`;
  }
}
