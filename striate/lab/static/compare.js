// The third view: runs over each other, what came out, and in what they differ.

import { runColour } from "./colours.js";
import { Curves } from "./curves.js";
import { el, replace, setText } from "./dom.js";
import { duration, percent, short } from "./numbers.js";
import { SETTINGS, STATES, shown } from "./words.js";

export class Compare {
  constructor(panel) {
    this.accuracy = new Curves({ title: "Held-out accuracy", range: [0, 1], format: (value) => percent(value, 1).replace(".0 %", " %") });
    this.loss = new Curves({ title: "Training loss", logarithmic: true });
    this.sentence = el("p", { className: "lead" });
    this.table = el("table", { className: "runs-table" });
    this.empty = el("p", { className: "empty" }, "Tick two or more runs in the list: their curves are laid over each other, and the settings in which they differ stand side by side.");
    this.content = el(
      "div",
      {},
      el("h2", {}, "Side by side"),
      this.sentence,
      el("section", { className: "card wide" }, el("h3", {}, "Results, and the settings that differ"), el("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": "Results of the runs" }, this.table), el("p", { className: "explains" }, "Change one setting at a time: only then does the difference show its effect. Small differences may be chance; try another seed.")),
      el("div", { className: "pair" }, el("section", { className: "card" }, this.accuracy.element, el("p", { className: "explains" }, "Higher is better, and a steeper start is faster learning.")), el("section", { className: "card" }, this.loss.element, el("p", { className: "explains" }, "A line that stays flat learns nothing; one that jumps has too large a learning rate."))),
    );
    replace(panel, this.empty, this.content);
  }

  // runs: [{run, record, index}]
  show(runs) {
    this.empty.hidden = runs.length > 0;
    this.content.hidden = !runs.length;
    if (!runs.length) return;
    const differing = differences(runs.map((one) => one.run.settings));
    setText(this.sentence, sentence(runs, differing));
    const few = differing.length <= 2 ? differing : []; // what tells them apart belongs into the legend
    const label = (run) => [run.name, ...few.map((name) => (run.settings[name] === undefined ? "–" : shown(run.settings[name])))].join(" · ");
    const line = (name, dots) => runs.map(({ run, record, index }) => ({ name: label(run), colour: runColour(index), points: record?.epochPoints(name) ?? [], dots }));
    this.accuracy.show(line("validation_accuracy", true));
    this.loss.show(line("loss", true));
    const best = Math.max(...runs.map((one) => one.run.accuracy ?? -1));
    const columns = differing.filter((name) => name !== "epochs"); // stands there already
    const heads = ["run", "accuracy", "loss", "epochs", "time", ...columns.map((name) => SETTINGS[name] ?? name)];
    replace(
      this.table,
      el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, runs.map(({ run, record, index }) => row(run, record, index, columns, best, runs.length))),
    );
  }
}

function row(run, record, index, columns, best, count) {
  const first = count > 1 && run.accuracy !== null && run.accuracy === best;
  const cells = [
    el("td", { className: first ? "best" : "" }, percent(run.accuracy), first && el("span", { className: "heard" }, " (best)")),
    el("td", {}, short(run.loss)),
    el("td", {}, `${run.epoch}${run.epochs && run.epochs !== run.epoch ? ` of ${run.epochs}` : ""}`),
    el("td", {}, record?.seconds ? duration(record.seconds) : "–"),
    ...columns.map((name) => el("td", { className: "differs" }, run.settings[name] === undefined ? "–" : shown(run.settings[name]))),
  ];
  return el("tr", {}, el("th", { scope: "row" }, el("i", { className: "dot", style: { background: `var(--${runColour(index)})` } }), run.name, run.state !== "finished" && el("span", { className: "soft" }, ` ${STATES[run.state]}`)), cells);
}

// The settings that are not the same in all; one that a run does not tell (it is still running) is no difference.
export function differences(settings) {
  const names = [...new Set(settings.flatMap((one) => Object.keys(one)))].filter((name) => name !== "threads");
  const order = Object.keys(SETTINGS);
  return names
    .filter((name) => new Set(settings.filter((one) => one[name] !== undefined).map((one) => JSON.stringify(one[name]))).size > 1)
    .sort((a, b) => order.indexOf(a) - order.indexOf(b));
}

function sentence(runs, differing) {
  if (runs.length === 1) return "One run. Tick another one to compare.";
  const names = differing.map((name) => SETTINGS[name] ?? name);
  if (!names.length) return `${runs.length} runs with the same settings and seed: the same bits come out, run after run.`;
  const listed = names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `${runs.length} runs. They differ in ${listed}${names.length === 1 ? " alone" : ""}.`;
}
