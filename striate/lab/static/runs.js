// The list of runs.

import { runColour } from "./colours.js";
import { el, replace, setText } from "./dom.js";
import { percent } from "./numbers.js";
import { settingsLine } from "./follow.js";
import { STATES } from "./words.js";

export class RunList {
  #rows = new Map();

  constructor({ choose, tick }) {
    this.list = document.getElementById("runs");
    this.none = document.getElementById("no-runs");
    this.chosen = document.getElementById("chosen-run");
    this.details = document.getElementById("run-list");
    this.choose = choose;
    this.tick = tick;
    const narrow = matchMedia("(max-width: 900px)");
    const fold = () => {
      this.details.open = !narrow.matches;
    };
    narrow.addEventListener("change", fold);
    fold();
    this.narrow = narrow;
  }

  // The newest on top; rows stay the same elements, so that focus stays.
  show(runs, selected, ticked) {
    this.none.hidden = runs.length > 0;
    const wanted = [...runs].reverse();
    for (const [i, run] of runs.entries()) if (!this.#rows.has(run.key)) this.#rows.set(run.key, this.#row(run, i));
    const rows = wanted.map((run) => this.#rows.get(run.key).element);
    if (rows.length !== this.list.children.length || rows.some((row, i) => this.list.children[i] !== row)) replace(this.list, rows);
    for (const run of runs) {
      const row = this.#rows.get(run.key);
      const current = run.key === selected;
      row.element.classList.toggle("current", current);
      row.button.setAttribute("aria-current", String(current));
      row.box.checked = ticked.has(run.key);
      setText(row.name, run.name);
      setText(row.settings, settingsLine(run.settings, ["activation", "norm", "lr"]) || settingsLine(run.settings));
      setText(row.state, label(run));
      row.state.className = `chip ${run.state}`;
      if (current) setText(this.chosen, `${run.name} · ${label(run)}`);
    }
  }

  #row(run, index) {
    const name = el("b");
    const settings = el("span", { className: "soft" });
    const state = el("span", { className: "chip" });
    const button = el("button", { className: "run", onclick: () => this.#choose(run.key) }, el("i", { className: "dot", style: { background: `var(--${runColour(index)})` } }), name, state, settings);
    const box = el("input", { type: "checkbox", "aria-label": `Compare ${run.name}`, onchange: () => this.tick(run.key, box.checked) });
    return { element: el("li", {}, button, el("label", { className: "tick" }, box)), button, name, settings, state, box };
  }

  #choose(key) {
    if (this.narrow.matches) this.details.open = false;
    this.choose(key);
  }
}

function label(run) {
  if (run.state === "running" && run.epochs) return `${run.epoch} of ${run.epochs}`;
  return run.state === "finished" || (run.state === "stopped" && run.accuracy !== null) ? percent(run.accuracy, 1) : STATES[run.state];
}
