// The first view: one run while it trains, or as it was.

import { send } from "./connection.js";
import { Curves } from "./curves.js";
import { el, replace, say, setText } from "./dom.js";
import { Flow } from "./flow.js";
import { count, duration, known, percent, short } from "./numbers.js";
import { Record } from "./record.js";
import { settingsOf } from "./remedy.js";
import { Units } from "./units.js";
import { SETTINGS, STATES, shown, takes } from "./words.js";

const SEVERE = { error: "bad", warning: "warn" };

export class Follow {
  // tryIt(settings): a training with the settings of the run, changed as the remedy says
  constructor(panel, openTraining, tryIt) {
    this.tryIt = tryIt;
    this.title = el("h2");
    this.state = el("span", { className: "chip" });
    this.settings = el("p", { className: "soft settings" });
    this.stop = el("button", { className: "danger", hidden: true, onclick: () => this.#stop() }, "Stop and keep");
    this.bar = el("progress", { max: "1", value: 0, "aria-label": "Progress of the training" });
    this.message = el("pre", { className: "message", hidden: true });
    this.figures = Object.fromEntries(
      [["accuracy", "held-out accuracy"], ["loss", "loss"], ["epoch", "epoch"], ["speed", "images a second"], ["time", "training time"]].map(([key, name]) => [key, { name, value: el("b", {}, "–") }]),
    );
    this.loss = new Curves({ title: "Loss", logarithmic: true });
    this.accuracy = new Curves({ title: "Accuracy", range: [0, 1], format: (value) => percent(value, 1).replace(".0 %", " %") });
    this.flow = new Flow();
    this.units = new Units();
    this.findings = el("div", { className: "findings" });
    this.findingsCard = el("section", { className: "card wide" }, el("h3", {}, "Findings"), this.findings);
    this.untold = el("p", { className: "soft note", hidden: true }, "This run was trained without a live record: only its epochs are known.");
    this.welcome = el(
      "div",
      { className: "welcome" },
      el("h2", {}, "Train a network, and watch it learn"),
      el("p", {}, "The lab trains on this computer alone. A training of the digits takes a few seconds; you see its loss fall, the gradient reach every layer, and units that fall silent. Then draw a digit and see what every layer makes of it."),
      el("button", { className: "primary large", onclick: openTraining }, "Start your first training"),
    );
    this.content = el(
      "div",
      { hidden: true },
      el("header", { className: "run-head" }, el("div", {}, el("div", { className: "title-line" }, this.title, this.state), this.settings), this.stop),
      this.bar,
      this.message,
      el("dl", { className: "figures" }, Object.values(this.figures).map((one) => el("div", {}, el("dt", {}, one.name), el("dd", {}, one.value)))),
      this.findingsCard,
      el(
        "div",
        { className: "pair" },
        el("section", { className: "card" }, this.loss.element, el("p", { className: "explains" }, "How wrong the network is; guessing among ten classes gives ln 10 ≈ 2.3. When the training loss falls while the held-out loss rises, it overfits.")),
        el("section", { className: "card" }, this.accuracy.element, el("p", { className: "explains" }, "The share of pictures classified correctly. The held-out line counts: it is measured on pictures that the network does not learn from.")),
      ),
      this.untold,
      this.flow.element,
      this.units.element,
    );
    replace(panel, this.welcome, this.content);
  }

  show(run, record) {
    this.welcome.hidden = run !== null;
    this.content.hidden = run === null;
    if (run === null) return;
    this.run = run;
    setText(this.title, run.name);
    setText(this.state, STATES[run.state]);
    this.state.className = `chip ${run.state}`;
    setText(this.settings, settingsLine(run.settings));
    this.stop.hidden = !run.ours || !["waiting", "running", "stopping"].includes(run.state);
    this.stop.disabled = run.state === "stopping";
    this.message.hidden = !run.message;
    setText(this.message, run.message);
    if (!record || record.empty) {
      if (this.told === run.key) return;
      record = new Record(); // nothing of the run that was shown before stays
    }
    this.told = run.key;
    const over = ["finished", "stopped", "failed"].includes(run.state);
    this.bar.hidden = over;
    this.bar.value = record.progress;
    this.#figures(run, record);
    this.loss.show([
      { name: "while training", colour: "s1", points: record.batchPoints("loss"), thin: true },
      { name: "training", colour: "s1", points: record.epochPoints("loss"), dots: true },
      { name: "held-out", colour: "s2", points: record.epochPoints("validation_loss"), dots: true },
    ]);
    this.accuracy.show([
      { name: "while training", colour: "s1", points: record.batchPoints("accuracy"), thin: true },
      { name: "held-out", colour: "s2", points: record.epochPoints("validation_accuracy"), dots: true },
    ]);
    this.flow.show(record);
    this.units.show(record);
    for (const part of [this.flow.element, this.units.element]) part.hidden = over && !record.watches.length;
    this.untold.hidden = !over || record.plan !== null;
    this.findingsCard.hidden = over && record.plan === null && !record.findings.length;
    this.#findings(record, over);
  }

  #figures(run, record) {
    const last = record.lastEpoch;
    const batch = record.lastBatch;
    const accuracy = run.accuracy ?? last?.validation_accuracy;
    const set = (key, text) => setText(this.figures[key].value, text);
    set("accuracy", percent(accuracy));
    set("loss", short(run.state === "running" ? (batch?.loss ?? last?.loss) : (last?.loss ?? batch?.loss)));
    const epochs = record.plan?.epochs ?? run.epochs;
    set("epoch", `${run.state === "running" ? (batch?.epoch ?? 0) : (last?.number ?? 0)}${epochs ? ` of ${epochs}` : ""}`);
    const speed = run.state === "running" ? (batch?.images_per_second ?? last?.images_per_second) : last?.images_per_second;
    set("speed", known(speed) ? Math.round(speed).toLocaleString("en") : "–");
    set("time", duration(record.seconds));
  }

  #findings(record, over) {
    const found = record.findings;
    const watched = this.run.settings.doctor !== false;
    const key = JSON.stringify([found, over, watched]);
    if (key === this.foundKey) return;
    this.foundKey = key;
    if (!found.length) {
      replace(this.findings, el("p", { className: "soft" }, !watched ? "The doctor was not asked: this run was trained with --no-doctor." : over ? "The doctor found nothing wrong with this training." : "Nothing wrong so far. The doctor looks at every layer while it trains."));
      return;
    }
    const causes = found.filter((other) => !other.because || !found.some((cause) => cause.rule === other.because));
    const follows = (cause) => found.filter((other) => !causes.includes(other) && other.because === cause.rule);
    replace(
      this.findings,
      causes.map((cause) => {
        const card = finding(cause, this.tryIt);
        const explained = follows(cause).map((other) => el("li", {}, sentence(other.message)));
        if (explained.length) card.append(el("div", { className: "soft" }, "This explains as well:", el("ul", {}, explained)));
        return card;
      }),
    );
  }

  async #stop() {
    this.stop.disabled = true;
    try {
      await send(`/api/runs/${this.run.key}/stop`);
      say("The training is stopping; its model is kept.");
    } catch (error) {
      say(error.message);
      this.stop.disabled = false;
    }
  }
}

// `one` as Finding.to_json writes it; what follows from another finding stands below that one.
function finding(one, tryIt) {
  const remedy = typeof one.remedy === "string" ? { text: one.remedy } : (one.remedy ?? {});
  const settings = settingsOf(remedy);
  const numbers = Object.entries(one.evidence ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "number" ? short(value) : value}`);
  const where = one.where ? ` · ${one.where}` : "";
  const units = Array.isArray(one.units) && one.units.length ? ` · ${count(one.units.length, "unit")}` : "";
  return el(
    "article",
    { className: `finding ${SEVERE[String(one.severity).toLowerCase()] ?? "warn"}` },
    el("h4", {}, sentence(one.message ?? one.rule)),
    el("p", { className: "soft" }, `${String(one.rule ?? "").replaceAll("_", " ")}${where}${units}${known(one.sureness) ? ` · ${Math.round(100 * one.sureness)} % sure` : ""}`),
    one.why && el("p", {}, sentence(one.why)),
    remedy.text && el("p", { className: "remedy" }, el("b", {}, "Remedy: "), remedy.text),
    remedy.code && el("pre", { className: "code", tabindex: "0" }, el("code", {}, remedy.code)),
    remedy.command && el("p", { className: "remedy" }, "On the command line: ", el("code", {}, remedy.command)),
    settings && el("p", {}, el("button", { onclick: () => tryIt(settings) }, "Train with this remedy …")),
    numbers.length > 0 && el("p", { className: "evidence soft" }, numbers.join(" · ")),
  );
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const SHOWN = ["data", "model", "activation", "norm", "lr", "optimizer", "batch_size", "seed"];

export function settingsLine(settings, names = SHOWN) {
  const parts = [];
  for (const name of names) {
    const value = settings[name];
    if (value === undefined) continue;
    if (name === "activation") parts.push(takes("activation", value, "negative_slope") && settings.negative_slope !== undefined ? `${shown(value)}, α ${settings.negative_slope}` : shown(value));
    else if (name === "norm") parts.push(value === "none" ? "no normalization" : `batch norm ${shown(value)}`);
    else if (name === "data" || name === "model" || name === "optimizer") parts.push(shown(value));
    else parts.push(`${SETTINGS[name]} ${shown(value)}`);
  }
  return parts.join(" · ");
}
