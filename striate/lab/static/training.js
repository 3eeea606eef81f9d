// The dialog in which a training is put together.

import { activationPicture } from "./activation.js";
import { ask, send } from "./connection.js";
import { el, replace, say, setText } from "./dom.js";
import { about, learnNames, SETTINGS, shown, takes } from "./words.js";

const BASE = { model: "lenet5", activation: "leaky_relu", norm: "before_activation", negative_slope: 0.1, init: "fitted", depth: 12, width: 64, optimizer: "sgd", lr: 0.05, momentum: 0.9, schedule: "cosine", epochs: 20, batch_size: 32, seed: 0, standardize: true };

export const PRESETS = [
  { name: "A good start", about: "LeNet-5 with batch normalization: over 98 % in seconds.", change: {} },
  { name: "Vanishing gradients", about: "Twelve sigmoid layers without normalization: watch the bars shrink.", change: { model: "mlp", activation: "sigmoid", norm: "none", init: "xavier", epochs: 15 } },
  { name: "The cure", about: "The same twelve sigmoid layers, with batch normalization.", change: { model: "mlp", activation: "sigmoid", init: "xavier", epochs: 15 } },
  { name: "Dying ReLUs", about: "Too large a learning rate kills ReLUs for good. Then try leaky ReLU.", change: { model: "mlp", depth: 4, activation: "relu", norm: "none", init: "he", lr: 0.5, momentum: 0, schedule: "constant", epochs: 10 } },
  { name: "The smallest CNN", about: "tanh(x ⊗ W₁ + b₁) W_out + b_out: one hidden layer of filters.", change: { model: "first_cnn", activation: "tanh", init: "xavier", lr: 0.01 } },
];

const NUMBERS = {
  lr: { min: 0.00001, max: 100, step: "any" },
  negative_slope: { min: 0, max: 1, step: 0.01 },
  momentum: { min: 0, max: 0.999, step: "any" },
  epochs: { min: 1, max: 1000, step: 1 },
  batch_size: { min: 2, max: 4096, step: 1 },
  depth: { min: 1, max: 64, step: 1 },
  width: { min: 1, max: 1024, step: 1 },
  seed: { min: 0, max: 2147483647, step: 1 },
};

const HOW = {
  lr: "How far each step goes. Too small: nothing moves. Too large: the loss jumps, or units die.",
  negative_slope: "The slope for negative inputs, usually 0.01 to 0.3.",
  momentum: "The share of the previous step that is kept.",
  epochs: "Passes over all pictures.",
  batch_size: "Pictures in one step.",
  schedule: "Cosine: the learning rate falls to zero along a cosine.",
  seed: "Determines the initial weights and the order of the pictures. The same seed gives the same bits.",
  standardize: "Shifts and scales the pictures to mean 0 and standard deviation 1, measured on the training pictures.",
};

export class TrainingDialog {
  constructor(started) {
    this.started = started;
    this.values = { ...BASE };
    this.fields = {};
    this.curves = {};
    this.problem = el("p", { className: "banner", role: "alert", hidden: true });
    this.picture = el("div", { className: "activation-box" });
    this.submit = el("button", { className: "primary large", type: "submit" }, "Start training");
    this.each = el("button", { type: "button", onclick: () => this.#each() }, "Train one of each activation");
    this.form = el("form", { method: "dialog", className: "training" });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send([this.values]);
    });
    this.element = el("dialog", { "aria-labelledby": "training-title", className: "sheet" }, this.form);
    document.body.append(this.element);
  }

  // Opens with the settings of a run, if one is given, changed as a remedy says.
  async open(settings = null, changes = {}) {
    if (!this.choices) {
      this.choices = await ask("/api/choices");
      learnNames(this.choices);
      this.values.data = this.choices.data[0];
      this.#build();
    }
    if (settings) this.#use(settings);
    Object.assign(this.values, changes);
    this.#changed();
    this.element.showModal();
  }

  // The settings of a run, to be changed in one place and trained again.
  #use(settings) {
    this.preset = null;
    for (const name of Object.keys(BASE)) if (settings[name] !== undefined) this.values[name] = settings[name];
    if (this.choices.data.includes(settings.data)) this.values.data = settings.data;
  }

  #build() {
    const { choices } = this;
    this.presets = el("div", { className: "presets", role: "group", "aria-label": "Experiments" }, PRESETS.map((preset) => el("button", { type: "button", className: "preset", onclick: () => this.#preset(preset) }, el("b", {}, preset.name), el("span", {}, preset.about))));
    replace(
      this.form,
      el("header", {}, el("h2", { id: "training-title" }, "New training"), el("button", { type: "button", className: "quiet", "aria-label": "Close", onclick: () => this.element.close() }, "✕")),
      el("p", { className: "explains" }, "Start from an experiment, or choose for yourself. Change one thing at a time and compare."),
      this.presets,
      el("fieldset", {}, el("legend", {}, "Network"), this.#choice("data", choices.data), this.#choice("model", Object.keys(choices.models)), this.#choice("activation", Object.keys(choices.activations)), this.picture, this.#slope(), this.#choice("norm", choices.norms), this.#choice("init", choices.starts), el("div", { className: "two" }, this.#number("depth"), this.#number("width"))),
      el("fieldset", {}, el("legend", {}, "Learning"), this.#rate(), this.#choice("optimizer", Object.keys(choices.optimizers)), this.#number("momentum"), el("div", { className: "two" }, this.#number("epochs"), this.#number("batch_size")), this.#choice("schedule", choices.schedules), this.#number("seed"), this.#tick("standardize")),
      this.problem,
      el("footer", {}, this.each, this.submit),
    );
  }

  #field(name, input, after = null) {
    const about = el("p", { className: "explains", id: `about-${name}` });
    input.id = `field-${name}`;
    input.setAttribute("aria-describedby", about.id);
    const element = el("div", { className: "field" }, el("label", { for: input.id }, SETTINGS[name]), el("div", { className: "input" }, input, after), about);
    this.fields[name] = { element, input, about };
    return element;
  }

  #choice(name, options) {
    const input = el("select", { onchange: () => this.#set(name, input.value) }, options.map((option) => el("option", { value: option }, shown(option))));
    return this.#field(name, input);
  }

  #number(name) {
    const input = el("input", { type: "number", required: true, ...NUMBERS[name], oninput: () => this.#set(name, input.valueAsNumber) });
    return this.#field(name, input);
  }

  #slope() {
    const range = el("input", { type: "range", min: 0, max: 0.5, step: 0.01, "aria-label": "slope α" });
    range.addEventListener("input", () => this.#set("negative_slope", range.valueAsNumber));
    this.slope = range;
    return this.#field("negative_slope", this.#bare("negative_slope"), range);
  }

  #rate() {
    const range = el("input", { type: "range", min: -4, max: 1, step: 0.1, "aria-label": "learning rate, by powers of ten" });
    range.addEventListener("input", () => this.#set("lr", Number((10 ** range.valueAsNumber).toPrecision(2))));
    this.rate = range;
    return this.#field("lr", this.#bare("lr"), range);
  }

  #bare(name) {
    const input = el("input", { type: "number", required: true, ...NUMBERS[name], oninput: () => this.#set(name, input.valueAsNumber) });
    return input;
  }

  #tick(name) {
    const input = el("input", { type: "checkbox", onchange: () => this.#set(name, input.checked) });
    return this.#field(name, input);
  }

  #set(name, value) {
    this.preset = null;
    this.values[name] = value;
    this.#changed(name);
  }

  #preset(preset) {
    this.preset = preset;
    this.values = { ...BASE, data: this.values.data, ...preset.change };
    this.#changed();
  }

  #changed(from = null) {
    const { values, choices } = this;
    const own = choices.models[values.model];
    for (const [name, { element, input, about: text }] of Object.entries(this.fields)) {
      if (input.type === "checkbox") input.checked = values[name];
      else if (name !== from || input.tagName === "SELECT") input.value = values[name];
      setText(text, about(name, values[name]) || (HOW[name] ?? ""));
      const ofModel = ["activation", "norm", "negative_slope", "init", "depth", "width"].includes(name);
      element.hidden = (ofModel && !(name in own)) || (name === "negative_slope" && !takes("activation", values.activation, name)) || (name === "momentum" && !takes("optimizer", values.optimizer, name)) || (name === "data" && choices.data.length < 2);
      input.disabled = element.hidden;
    }
    if (from !== "rate") this.rate.value = Math.log10(Math.max(values.lr, 1e-9));
    this.slope.value = values.negative_slope;
    this.#draw(values.activation, values.negative_slope);
    for (const [i, button] of [...this.presets.children].entries()) button.setAttribute("aria-pressed", String(PRESETS[i] === this.preset));
  }

  // The curves of the activation; an answer that comes after the next question is left out.
  async #draw(name, slope) {
    const asked = `/api/activations/${name}?slope=${slope || 0}`;
    if (asked === this.drawn) return;
    this.drawn = asked;
    this.curves[asked] ??= await ask(asked).catch(() => null);
    const curve = this.curves[asked];
    if (asked !== this.drawn || !curve) return;
    replace(this.picture, activationPicture(shown(name), curve), el("p", { className: "explains" }, el("i", { className: "key function" }), "the function ", el("i", { className: "key derivative" }), "its derivative: what the gradient is multiplied by"));
  }

  #request(values) {
    const own = this.choices.models[values.model];
    const skipped = new Set(["activation", "norm", "negative_slope", "init", "depth", "width"].filter((name) => !(name in own)));
    if (!takes("activation", values.activation, "negative_slope")) skipped.add("negative_slope");
    if (!takes("optimizer", values.optimizer, "momentum")) skipped.add("momentum");
    return Object.fromEntries(Object.entries(values).filter(([name]) => !skipped.has(name)));
  }

  #each() {
    if (!this.form.reportValidity()) return;
    this.#send(Object.keys(this.choices.activations).map((activation) => ({ ...this.values, activation })));
  }

  async #send(all) {
    this.problem.hidden = true;
    this.submit.disabled = this.each.disabled = true;
    try {
      const runs = [];
      for (const values of all) runs.push(await send("/api/trainings", this.#request(values)));
      this.element.close();
      say(`${runs.length === 1 ? "The training is" : `${runs.length} trainings are`} queued.`);
      this.started(runs);
    } catch (error) {
      setText(this.problem, error.message);
      this.problem.hidden = false;
      this.problem.scrollIntoView({ block: "nearest" });
    }
    this.submit.disabled = this.each.disabled = false;
  }
}
