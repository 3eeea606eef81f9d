// What one run told so far: the same events as in its progress.jsonl.

import { known } from "./numbers.js";

const MOST = 2400;

export class Record {
  constructor() {
    this.load({ plan: null, end: null, epochs: [], batches: [], watches: [], findings: [] });
    this.empty = true;
  }

  load(history) {
    Object.assign(this, history);
    this.empty = false;
  }

  apply(events) {
    this.empty = false;
    for (const event of events) {
      if (event.kind === "plan") this.plan = event;
      else if (event.kind === "end") this.end = event;
      else if (event.kind === "batch") this.batches.push(event);
      else if (event.kind === "epoch") this.epochs.push(event);
      else if (event.kind === "watch") this.watches.push(event);
      else if (event.kind === "finding") this.findings.push(event);
    }
    if (this.batches.length > MOST) this.batches = this.batches.filter((_, i) => i % 2 === 0 || i === this.batches.length - 1);
    if (this.watches.length > 320) this.watches = this.watches.filter((_, i) => i % 2 === 0 || i === this.watches.length - 1);
  }

  get lastBatch() {
    return this.batches.at(-1) ?? null;
  }

  get lastEpoch() {
    return this.epochs.at(-1) ?? null;
  }

  get lastWatch() {
    return this.watches.at(-1) ?? null;
  }

  // Firings count from the start of each pass over the data: the last one that saw (nearly) all of it, if there is one.
  get lastPass() {
    const whole = 0.98 * (this.plan?.samples ?? 0);
    return this.watches.findLast((watch) => watch.samples >= whole) ?? this.lastWatch;
  }

  // What the layer at a path is: "Conv2d(1, 16, kernel_size=5)", where the record says it.
  layer(path) {
    return this.plan?.layers?.[path.split("#")[0]] ?? "";
  }

  // What kind of layer that is: "linear", "normalization" …
  kind(path) {
    return this.plan?.kinds?.[path.split("#")[0]] ?? "";
  }

  // "3 Linear"; the path alone where it says enough.
  layerName(path) {
    const kind = this.layer(path).match(/^\w+/)?.[0];
    return kind && /^[\d.]*$/.test(path) ? `${path} ${kind}` : path;
  }

  // Where a batch stands, in epochs: 2.5 is the middle of the third.
  #place(batch) {
    return batch.epoch - 1 + batch.batch / Math.max(this.plan?.batches ?? 1, batch.batch);
  }

  batchPoints(name) {
    return this.batches.filter((batch) => known(batch[name])).map((batch) => [this.#place(batch), batch[name]]);
  }

  epochPoints(name) {
    return this.epochs.filter((epoch) => known(epoch[name])).map((epoch) => [epoch.number, epoch[name]]);
  }

  // Share of the training that is done, 0 … 1.
  get progress() {
    if (!this.plan) return 0;
    const place = this.lastBatch ? this.#place(this.lastBatch) : 0;
    return Math.min(1, Math.max(place, this.lastEpoch?.number ?? 0) / this.plan.epochs);
  }

  get seconds() {
    return this.epochs.reduce((sum, epoch) => sum + (known(epoch.seconds) ? epoch.seconds : 0), 0);
  }
}
