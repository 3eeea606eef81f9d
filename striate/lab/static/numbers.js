// Numbers as people read them.

const HIGH = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

export const known = (value) => typeof value === "number" && Number.isFinite(value);

export function percent(value, digits = 2) {
  return known(value) ? `${(100 * value).toFixed(digits)} %` : "–";
}

export function power(exponent) {
  return `10${[...String(exponent)].map((sign) => HIGH[sign]).join("")}`;
}

// 0.0312, 1.7, 42; very small and very large ones as 3·10⁻⁵.
export function short(value, digits = 3) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    const exponent = Math.floor(Math.log10(size));
    const mantissa = value / 10 ** exponent;
    const shown = mantissa.toFixed(1).replace(/\.0$/, "");
    return shown === "1" ? power(exponent) : `${shown}·${power(exponent)}`;
  }
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

export function count(number, one, several = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
}

export function duration(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

// About `wanted` round numbers that cover least … most.
export function ticks(least, most, wanted = 5) {
  const span = most - least || 1;
  const raw = span / wanted;
  const base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * base >= raw) * base;
  const found = [];
  for (let value = Math.ceil(least / step - 1e-9) * step; value <= most + step * 1e-9; value += step) {
    found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  }
  return found;
}
