// The second view: draw, and see the prediction and every layer at once.

import { ask, send, sendPicture } from "./connection.js";
import { el, replace, say, setText } from "./dom.js";
import { drawPixels, LayerCard } from "./maps.js";
import { percent } from "./numbers.js";
import { Sketch } from "./sketch.js";

const LARGEST = 8_000_000;
const MANY = 24; // layers that are still comfortable to scroll through

export class Look {
  #asking = false;
  #again = null;
  #sample = null;
  #picture = null;
  #run = null;
  #about = null;

  constructor(panel) {
    this.sketch = new Sketch((done) => this.#ask({ done }));
    this.sketch.element.addEventListener("stroke", () => this.#own());
    this.sketch.element.addEventListener("wipe", () => this.#clear());
    this.centred = el("input", { type: "checkbox", id: "centred", checked: true, onchange: () => this.#ask({ done: true }) });
    this.file = el("input", { type: "file", id: "file", accept: "image/png,image/jpeg", className: "heard", onchange: () => this.#open(this.file.files[0]) });
    this.seen = el("canvas", { className: "seen", role: "img", "aria-label": "What the network sees" });
    this.where = el("canvas", { className: "seen", role: "img", "aria-label": "Pixels that its answer depends on" });
    this.answer = el("div", { className: "answer" });
    this.bars = el("ol", { className: "classes" });
    this.note = el("p", { className: "soft note" });
    this.layers = el("ol", { className: "layers" });
    this.brief = el("input", { type: "checkbox", id: "brief", onchange: () => this.#shorten() });
    this.briefly = el("label", { className: "check", for: "brief", hidden: true }, this.brief, el("span", {}, "Only what is passed on: activations, pools, and the scores"));
    this.problem = el("p", { className: "banner", role: "alert", hidden: true });
    this.empty = el("p", { className: "empty" }, "Draw a digit, or take an example: every layer appears here.");
    this.held = el("button", { title: "A picture that the network did not learn from", onclick: () => this.#hold() }, "Example");
    this.content = el(
      "div",
      { className: "look" },
      el(
        "div",
        { className: "look-left" },
        el(
          "section",
          { className: "card" },
          el("h3", {}, "Draw here"),
          el("p", { className: "explains" }, "Or drop a picture. The network answers while you draw."),
          this.sketch.element,
          el("div", { className: "buttons" }, el("button", { onclick: () => this.#clear() }, "Clear"), this.held, el("label", { className: "button", for: "file" }, "Open …"), this.file),
          el("label", { className: "check", for: "centred" }, this.centred, el("span", {}, "Crop and centre as in the data")),
        ),
        el(
          "section",
          { className: "card" },
          el("h3", {}, "Prediction"),
          this.answer,
          this.bars,
          el("div", { className: "seen-pair" }, el("figure", {}, this.seen, el("figcaption", {}, "What it sees")), el("figure", {}, this.where, el("figcaption", {}, "What the answer depends on"))),
          el("p", { className: "explains" }, "Bright on the right: a small change of that pixel changes the score of the answer most (its saliency)."),
          el("p", { className: "explains" }, "Try it: do not crop, and draw in a corner. A network recognizes only what it has seen."),
          this.note,
        ),
      ),
      el("section", { className: "look-right" }, el("h2", {}, "Layer by layer"), el("p", { className: "explains" }, "From the picture (top) to the scores (bottom). Orange is positive, blue negative, the background zero; each layer has its own scale."), this.briefly, this.empty, this.layers),
    );
    this.missing = el("p", { className: "empty" }, "There is no trained model yet. Start a training: when it ends or is stopped, its model looks at what you draw.");
    this.instead = el("p", { className: "finding-line instead", hidden: true });
    replace(panel, this.problem, this.instead, this.missing, this.content);
    for (const name of ["dragover", "drop"]) {
      panel.addEventListener(name, (event) => {
        event.preventDefault();
        if (name === "drop") this.#open(event.dataTransfer.files[0]);
      });
    }
  }

  // While the chosen run trains, the newest model that there is looks instead.
  async show(chosen, runs) {
    const run = chosen?.has_model ? chosen : (runs.findLast((one) => one.has_model) ?? null);
    const usable = run !== null;
    this.instead.hidden = !usable || run === chosen;
    if (usable && chosen) setText(this.instead, `${chosen.name} has no model yet: it is saved when its training ends or is stopped. Until then ${run.name} looks.`);
    this.missing.hidden = usable;
    this.content.hidden = !usable;
    if (!usable) this.#run = null;
    if (!usable || this.#run?.key === run.key) return;
    this.#run = run;
    this.#about = null; // nothing is asked until it is known what this model takes
    this.cards = [];
    replace(this.layers);
    try {
      const about = await ask(`/api/runs/${run.key}/model`);
      if (run !== this.#run) return;
      this.#about = about;
    } catch (error) {
      if (run === this.#run) this.#tell(error.message);
      return;
    }
    this.#tell("");
    this.held.hidden = !this.#about.held_out;
    this.centred.disabled = !this.#about.centring;
    if (this.sketch.empty) this.sketch.setPaper(this.#about.background);
    if (this.sketch.empty && this.#about.held_out) this.#hold();
    else this.#ask({ done: true });
  }

  #own() {
    if (this.#sample !== null || this.#picture) this.#clear();
  }

  #clear() {
    this.#sample = null;
    this.#picture = null;
    this.sketch.clear();
    this.file.value = "";
    replace(this.layers);
    replace(this.bars);
    replace(this.answer);
    setText(this.note, "");
    for (const canvas of [this.seen, this.where]) canvas.width = canvas.height = 1;
    this.cards = [];
    this.empty.hidden = false;
  }

  #hold() {
    const many = this.#about?.held_out;
    if (!many) return;
    this.#picture = null;
    this.#sample = Math.floor(Math.random() * many);
    this.#ask({ done: true });
  }

  async #open(file) {
    if (!file || !this.#run) return;
    if (!["image/png", "image/jpeg"].includes(file.type)) return this.#tell("Only PNG and JPEG pictures can be opened.");
    if (file.size > LARGEST) return this.#tell("This picture is larger than 8 MB.");
    this.#sample = null;
    this.#picture = file;
    try {
      this.sketch.show(await createImageBitmap(file));
    } catch {
      return this.#tell("This picture cannot be read.");
    }
    this.#ask({ done: true });
  }

  // One question at a time; what changed meanwhile is asked next, older states are skipped.
  async #ask({ done }) {
    if (!this.#run || !this.#about) return;
    if (this.#asking) {
      this.#again = { done };
      return;
    }
    if (this.#sample === null && this.sketch.empty) return;
    this.#asking = true;
    const run = this.#run;
    const start = performance.now();
    try {
      const query = `?centred=${this.centred.checked ? 1 : 0}&saliency=${done ? 1 : 0}`; // at the end of a stroke
      const path = `/api/runs/${run.key}/look${query}`;
      const found = this.#sample !== null ? await send(path, { sample: this.#sample }) : await sendPicture(path, this.#picture ?? (await this.sketch.blob()));
      if (run === this.#run && !(this.#sample === null && this.sketch.empty)) this.#put(found, performance.now() - start, done);
      this.#tell("");
    } catch (error) {
      this.#tell(error.message);
    }
    this.#asking = false;
    const again = this.#again;
    this.#again = null;
    if (again) this.#ask(again);
  }

  #put(found, took, done) {
    this.empty.hidden = true;
    const best = found.classes.reduce((a, b) => (b.probability > a.probability ? b : a));
    replace(this.answer, el("b", {}, best.name), el("span", {}, el("strong", {}, percent(best.probability, 1)), el("span", { className: "soft" }, found.label === undefined ? "sure" : found.label === best.name ? `sure; it is a ${found.label}` : `sure, but it is a ${found.label}`)));
    this.#bars(found.classes, best);
    const rgb = drawPixels(this.seen, found.seen);
    if (found.saliency) drawPixels(this.where, found.seen, found.saliency);
    if (this.#sample !== null) this.sketch.pixels(rgb, found.seen.width, found.seen.height);
    const swapped = found.swapped ? " Light and dark were exchanged, as in the data." : "";
    setText(this.note, `Answered in ${Math.round(took)} ms.${swapped}`);
    const names = found.layers.map((layer) => `${layer.name}${layer.shape}`).join();
    if (names !== this.names || !this.cards.length) {
      this.names = names;
      this.cards = found.layers.map((layer, i) => new LayerCard(layer, i === found.layers.length - 1));
      replace(this.layers, this.cards.map((card) => card.element));
      this.brief.checked = found.layers.length > MANY;
      this.briefly.hidden = found.layers.length <= MANY;
      this.#shorten();
    } else found.layers.forEach((layer, i) => this.cards[i].show(layer));
    if (done) say(`Prediction: ${best.name}, ${percent(best.probability, 0)}`);
  }

  #shorten() {
    for (const [i, card] of this.cards.entries()) {
      const passedOn = ["activation", "window"].includes(card.layer.kind) || i === 0 || i === this.cards.length - 1;
      card.element.hidden = this.brief.checked && !passedOn;
    }
  }

  #bars(classes, best) {
    if (this.bars.children.length !== classes.length) {
      replace(this.bars, classes.map((one) => el("li", {}, el("span", {}, one.name), el("div", { className: "track" }, el("i", { className: "bar" })), el("b"))));
    }
    classes.forEach((one, i) => {
      const row = this.bars.children[i];
      row.classList.toggle("best", one === best);
      row.querySelector(".bar").style.width = `${Math.max(0.5, 100 * one.probability)}%`;
      setText(row.querySelector("b"), percent(one.probability, 1));
    });
  }

  #tell(text) {
    this.problem.hidden = !text;
    setText(this.problem, text);
  }
}
