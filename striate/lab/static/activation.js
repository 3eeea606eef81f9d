// An activation and its derivative, drawn: where the derivative is small, no gradient passes.

import { svg } from "./dom.js";

const WIDE = 300;
const HIGH = 130;
const REACH = 4.2;

const FUNCTIONS = {
  sigmoid: [(x) => 1 / (1 + Math.exp(-x)), (x) => Math.exp(-x) / (1 + Math.exp(-x)) ** 2],
  tanh: [Math.tanh, (x) => 1 - Math.tanh(x) ** 2],
  relu: [(x) => Math.max(0, x), (x) => (x > 0 ? 1 : 0)],
  leaky_relu: [(x, slope) => (x > 0 ? x : slope * x), (x, slope) => (x > 0 ? 1 : slope)],
};

export function activationPicture(name, slope) {
  const [f, derivative] = FUNCTIONS[name];
  const x = (value) => ((value + REACH) / (2 * REACH)) * WIDE;
  const y = (value) => HIGH * 0.68 - value * (HIGH * 0.38);
  const path = (g) => {
    const points = Array.from({ length: 169 }, (_, i) => -REACH + (i * 2 * REACH) / 168);
    return points.map((value, i) => `${i ? "L" : "M"}${x(value).toFixed(1)} ${y(g(value, slope)).toFixed(1)}`).join("");
  };
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "activation", role: "img", "aria-label": `${name} and its derivative` },
    svg("line", { x1: 0, x2: WIDE, y1: y(0), y2: y(0), class: "axis" }),
    svg("line", { x1: x(0), x2: x(0), y1: 0, y2: HIGH, class: "axis" }),
    svg("line", { x1: 0, x2: WIDE, y1: y(1), y2: y(1), class: "axis one" }),
    svg("text", { x: 4, y: y(1) - 4 }, "1"),
    svg("path", { d: path(derivative), class: "derivative" }),
    svg("path", { d: path(f), class: "function" }),
  );
}
