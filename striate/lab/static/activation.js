// An activation and its derivative, drawn: where the derivative is small, no gradient passes.

import { svg } from "./dom.js";

const WIDE = 300;
const HIGH = 130;

// `curve` holds points x, y and derivative, as the server computes them from the operation itself.
export function activationPicture(name, curve) {
  const reach = curve.x.at(-1);
  const x = (value) => ((value + reach) / (2 * reach)) * WIDE;
  const y = (value) => HIGH * 0.68 - value * (HIGH * 0.38);
  const path = (values) => values.map((value, i) => `${i ? "L" : "M"}${x(curve.x[i]).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "activation", role: "img", "aria-label": `${name} and its derivative` },
    svg("line", { x1: 0, x2: WIDE, y1: y(0), y2: y(0), class: "axis" }),
    svg("line", { x1: x(0), x2: x(0), y1: 0, y2: HIGH, class: "axis" }),
    svg("line", { x1: 0, x2: WIDE, y1: y(1), y2: y(1), class: "axis one" }),
    svg("text", { x: 4, y: y(1) - 4 }, "1"),
    svg("path", { d: path(curve.derivative), class: "derivative" }),
    svg("path", { d: path(curve.y), class: "function" }),
  );
}
