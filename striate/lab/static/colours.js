// Colours come from the style sheet, so that dark and light need no second list.

const probe = document.createElement("span");
probe.hidden = true;
document.documentElement.append(probe);
let found = new Map();

export function colour(name) {
  if (!found.has(name)) {
    probe.style.color = `var(--${name})`;
    found.set(name, getComputedStyle(probe).color);
  }
  return found.get(name);
}

export function runColour(index) {
  return `s${(index % 8) + 1}`;
}

const listeners = new Set();
export function onTheme(listener) {
  listeners.add(listener);
}

function changed() {
  found = new Map();
  scale = null;
  for (const listener of listeners) listener();
}

const ORDER = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };
const darkly = matchMedia("(prefers-color-scheme: dark)");
darkly.addEventListener("change", changed);

export function startTheme(button) {
  let kept = null;
  try {
    kept = localStorage.getItem("striate-theme");
  } catch {
    kept = null; // a browser that keeps nothing
  }
  let theme = ORDER.includes(kept) ? kept : "auto";
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    button.textContent = SIGNS[theme];
    button.title = `Colours: ${theme}`;
    button.setAttribute("aria-label", `Colours: ${theme}. Change`);
    changed();
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    try {
      localStorage.setItem("striate-theme", theme);
    } catch {
      // stays for this visit
    }
    apply();
  });
  apply();
}

const parts = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
const mixed = (a, b, t) => a.map((value, i) => Math.round(value + (b[i] - value) * t));
let scale = null;

// Byte → RGB: below 128 negative (blue), 128 zero (the sheet's own colour), above positive (orange).
export function signedScale() {
  if (scale === null) {
    const zero = parts(colour("map-zero"));
    const ends = [
      [parts(colour("map-low")), parts(colour("map-lowest"))],
      [parts(colour("map-high")), parts(colour("map-highest"))],
    ];
    scale = new Uint8ClampedArray(256 * 3);
    for (let byte = 0; byte < 256; byte += 1) {
      const value = Math.max(-1, Math.min(1, (byte - 128) / 127));
      const [middle, end] = ends[value < 0 ? 0 : 1];
      const t = Math.abs(value) ** 0.8;
      scale.set(t < 0.5 ? mixed(zero, middle, 2 * t) : mixed(middle, end, 2 * t - 1), 3 * byte);
    }
  }
  return scale;
}
