// A remedy of the doctor as settings of a training: only one that can be made wholly here is offered.

const CHANGES = {
  LearningRate: ({ lr }) => ({ lr: Number(lr.toPrecision(2)) }),
  Epochs: ({ epochs }) => ({ epochs }),
  Activation: ({ kind, slope }) => ({ activation: kind, negative_slope: slope }),
  Normalize: () => ({ norm: "before_activation" }),
  Initialization: ({ init }) => ({ init }),
  Standardize: () => ({ standardize: true }),
};

// {name: value} that the remedy changes; null where something is to be done by hand.
export function settingsOf(remedy) {
  const changes = remedy?.changes ?? [];
  const made = changes.map((one) => CHANGES[one.change]?.(one) ?? null);
  return made.length && !made.includes(null) ? Object.assign({}, ...made) : null;
}
