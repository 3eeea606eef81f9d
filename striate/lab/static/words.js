import { short } from "./numbers.js";

// Short sentences for readers who see a training for the first time.

export const STATES = {
  waiting: "waits",
  running: "trains",
  stopping: "stops",
  finished: "finished",
  stopped: "stopped early",
  failed: "broke down",
};

export const SETTINGS = {
  data: "data",
  model: "network",
  activation: "activation",
  norm: "normalization",
  negative_slope: "slope α",
  init: "initialization",
  depth: "hidden layers",
  width: "units in each",
  optimizer: "optimizer",
  lr: "learning rate",
  momentum: "momentum",
  weight_decay: "weight decay",
  schedule: "schedule",
  epochs: "epochs",
  batch_size: "batch size",
  seed: "seed",
  standardize: "standardized data",
  threads: "threads",
};

const VALUES = {
  before_activation: "before the activation",
  block_start: "at the start of a block",
  none: "none",
  fitted: "fitted to the activation",
  torch: "PyTorch's default",
  he: "He",
  xavier: "Xavier",
  orthogonal: "orthogonal",
  first_cnn: "first CNN",
  lenet5: "LeNet-5",
  vgg_small: "VGG, small",
  resnet20: "ResNet-20",
  resnet18: "ResNet-18",
  mlp: "deep MLP",
};

// What the server says of activations and optimizers: {name: {title, about, options}}.
const named = { activation: {}, optimizer: {} };

export function learnNames(choices) {
  named.activation = choices.activations;
  named.optimizer = choices.optimizers;
  for (const group of Object.values(named)) for (const [name, one] of Object.entries(group)) VALUES[name] = one.title;
}

// Whether an activation or optimizer has an option, such as a slope or a momentum.
export function takes(setting, value, option) {
  return named[setting][value]?.options.includes(option) ?? false;
}

export function about(setting, value) {
  return named[setting]?.[value]?.about ?? ABOUT[setting]?.[value] ?? "";
}

export function shown(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : (VALUES[value] ?? String(value));
}

const ABOUT = {
  model: {
    first_cnn: "One layer of 16 filters, tanh, and a linear map: the smallest convolutional network.",
    lenet5: "Two convolutions, each pooled, then 128 hidden units. Quick, and right for digits.",
    vgg_small: "Six convolutions of 3×3. Deep enough to see gradients shrink.",
    resnet20: "Twenty layers with skip connections, which carry the gradient past the layers.",
    resnet18: "Eleven million weights. Slow on a small computer.",
    mlp: "No convolution: many narrow linear layers. The classic place where gradients vanish.",
  },
  norm: {
    before_activation: "Batch normalization between the linear map and the activation: every unit gets mean 0 and standard deviation 1, then learns γ and β.",
    block_start: "Batch normalization of what enters each block.",
    none: "No normalization: the scale of the activations depends on the initialization and the learning rate.",
  },
  init: {
    fitted: "Scaled so that signals keep their size through this activation.",
    torch: "Small uniform weights, a third of the variance of Xavier's: in deep networks signals fade.",
    he: "Variance 2/fan-in: right for ReLU.",
    xavier: "Variance 2/(fan-in + fan-out): right for tanh.",
    orthogonal: "Orthogonal rows: lengths are preserved.",
  },
};

// Gradient flow: what the share of the first layer means; the doctor, who knows more, judges at the same 10⁻³.
export const VANISHED = 1e-3;
export const EXPLODED = 1e3;

export function flowSentence(layers) {
  if (layers.length < 2) return ["", "Gradients appear with the first batches."];
  const first = layers[0];
  const share = first.ratio;
  if (share === null) return ["", "The last layer received no gradient to compare with."];
  const worst = layers.reduce((a, b) => ((b.ratio ?? 1) > (a.ratio ?? 1) ? b : a));
  if ((worst.ratio ?? 1) > EXPLODED) {
    return ["bad", `The gradient explodes: “${worst.name}” receives ${times(worst.ratio)} that of the last. A smaller initialization, normalization or a smaller learning rate helps.`];
  }
  if (share < VANISHED) {
    return ["bad", `The gradient vanishes: the first layer receives ${part(share)} of the last. Layers near the input hardly learn. Try batch normalization, or ReLU or leaky ReLU with a fitted initialization.`];
  }
  if (share < 1e-2) {
    return ["warn", `The gradient shrinks: the first layer receives ${part(share)} of the last. It still learns, but slowly.`];
  }
  return ["good", `The gradient reaches the first layer well: it receives ${share >= 1 ? `${times(share)} that` : part(share)} of the last.`];
}

function part(share) {
  return share >= 0.001 ? `${Number((100 * share).toPrecision(2))} %` : `${short(share, 2)} times that`;
}

function times(share) {
  return `${share >= 100 ? Math.round(share).toLocaleString("en") : share.toPrecision(2)} times`;
}

export function unitSentence(silent, total) {
  if (!total) return ["", "Which units fire is counted once training runs."];
  if (!silent) return ["good", "Every unit fired for some picture."];
  const share = silent / total;
  const tone = share > 0.25 ? "bad" : share > 0.05 ? "warn" : "";
  return [tone, `${silent.toLocaleString("en")} of ${total.toLocaleString("en")} units (${Math.round(100 * share)} %) never fired. A ReLU that never fires gets no gradient and cannot come back: it is dead. A smaller learning rate, or leaky ReLU, prevents it.`];
}

const LAYERS = {
  contraction: "Each map comes from one filter that slides over all maps before it. Orange: its pattern is there. Blue: its opposite.",
  linear: "Every number is a weighted sum of all numbers before it.",
  normalization: "The same maps, shifted and scaled to mean 0 and standard deviation 1, then by the learned γ and β.",
  activation: "What is passed on to the next layer.",
  window: "Smaller: one number remains of each window. The exact position of a pattern matters less now.",
  view: "The same numbers in one row, as the linear layer expects them.",
  join: "Two paths are added: the skip connection lets signals and gradients pass by.",
  last: "One score for each class. The largest wins; softmax turns the scores into probabilities.",
};

export function layerSentence(layer, last) {
  if (last) return LAYERS.last;
  if (layer.name === "standardizer") return "The picture, less the mean of the training pictures, divided by their spread.";
  if (layer.kind === "contraction" && layer.shape.length === 1) return LAYERS.linear;
  return layer.effect || (LAYERS[layer.kind] ?? "");
}
