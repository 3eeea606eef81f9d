"""Names from PyTorch and Keras that striate does not have, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

LAYERS: Mapping[str, str] = {
    "Dense": "nn.Linear(in_features, out_features), followed by its activation as a layer",
    "Conv1D": "nn.Conv1d(in_channels, out_channels, kernel_size)",
    "Conv2D": "nn.Conv2d(in_channels, out_channels, kernel_size)",
    "Conv3D": "nn.Conv3d(in_channels, out_channels, kernel_size)",
    "Conv1DTranspose": "nn.ConvTranspose1d(in_channels, out_channels, kernel_size)",
    "Conv2DTranspose": "nn.ConvTranspose2d(in_channels, out_channels, kernel_size)",
    "Conv3DTranspose": "nn.ConvTranspose3d(in_channels, out_channels, kernel_size)",
    "DepthwiseConv1D": "nn.Conv1d(channels, channels, kernel_size, groups=channels)",
    "DepthwiseConv2D": "nn.Conv2d(channels, channels, kernel_size, groups=channels)",
    "SeparableConv2D": "nn.Conv2d(channels, channels, kernel_size, groups=channels), nn.Conv2d(channels, filters, 1)",
    "LazyConv2d": "nn.Conv2d(None, out_channels, kernel_size), which infers its input channels",
    "LayerNormalization": "nn.LayerNorm(normalized_shape)",
    "MaxPooling1D": "nn.MaxPool1d(kernel_size)",
    "MaxPooling2D": "nn.MaxPool2d(kernel_size)",
    "MaxPool2D": "nn.MaxPool2d(kernel_size)",
    "MaxPooling3D": "nn.MaxPool3d(kernel_size)",
    "AveragePooling1D": "nn.AvgPool1d(kernel_size)",
    "AveragePooling2D": "nn.AvgPool2d(kernel_size)",
    "AveragePooling3D": "nn.AvgPool3d(kernel_size)",
    "GlobalAveragePooling1D": "nn.GlobalAveragePool()",
    "GlobalAveragePooling2D": "nn.GlobalAveragePool()",
    "GlobalMaxPooling1D": "nn.GlobalMaxPool()",
    "GlobalMaxPooling2D": "nn.GlobalMaxPool()",
    "UpSampling1D": "nn.Upsample(scale_factor=2)",
    "UpSampling2D": 'nn.Upsample(scale_factor=2), or mode="bilinear"',
    "ZeroPadding1D": "nn.ZeroPad1d(padding)",
    "ZeroPadding2D": "nn.ZeroPad2d(padding), where padding lists the last axis first",
    "GlobalAvgPool2d": "nn.GlobalAveragePool()",
    "BatchNormalization": "nn.BatchNorm2d(num_features)",
    "Activation": "a layer for each activation, such as nn.ReLU()",
    "Input": "leave it out: shapes are inferred from the data, or by model.infer((3, 32, 32))",
    "Lambda": "a subclass of nn.Module with a forward method",
    "Model": "nn.Module or nn.Sequential",
    "functional": "st.ops",
    "Tensor": "NumPy arrays",
    "DataLoader": "st.data.batches(data, batch_size), or st.Trainer(…, batch_size=64), which does it itself",
    "LSTM": "no recurrent layers: nn.Conv1d over time, as in st.models.build('resnet1d')",
    "GRU": "no recurrent layers: nn.Conv1d over time, as in st.models.build('resnet1d')",
    "RNN": "no recurrent layers: nn.Conv1d over time, as in st.models.build('resnet1d')",
    "Embedding": "no embeddings: striate is made for pictures, signals, volumes and tables of numbers",
    "MultiheadAttention": "no attention layers: striate is made for convolutional networks",
    "Transformer": "no attention layers: striate is made for convolutional networks",
    "TransformerEncoder": "no attention layers: striate is made for convolutional networks",
}
MODULE: Mapping[str, str] = {
    "fit": "st.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05)).fit(train_set, epochs=10)",
    "compile": "st.Trainer(model, loss, optimizer), or st.TrainingStep(model, loss, optimizer)",
    "evaluate": "st.train.evaluate(model, dataset)",
    "predict": "model(x)",
    "predict_proba": "st.ops.softmax(model(x))",
    "eval": "leave it out: model(x) predicts, and nothing has to be switched",
    "train": "st.Trainer(…).fit(…) or st.TrainingStep(…) trains; model(x, training=True) shows what training sees",
    "training": "model(x) predicts; model(x, training=True) shows what training sees",
    "backward": "step = st.TrainingStep(model, loss, optimizer); step(x, y), or step.gradients(x, y)",
    "zero_grad": "leave it out: gradients do not accumulate",
    "cuda": "leave it out: striate runs on the CPU",
    "cpu": "leave it out: striate runs on the CPU",
    "half": "st.TrainingStep(…, precision='bfloat16')",
    "save": "st.save(model, 'model.safetensors')",
    "load": "st.load('model.safetensors')",
    "load_weights": "st.load('model.safetensors'), or model.load_state_dict(state)",
    "save_weights": "st.save(model, 'model.safetensors')",
    "get_weights": "model.state_dict()",
    "set_weights": "model.load_state_dict(state)",
    "add": "nn.Sequential(first, second, …)",
    "requires_grad_": "model.parameter('weight').requires_grad = False",
}
OPTIMIZERS: Mapping[str, str] = {
    "lr_scheduler": "optim.SGD(lr=0.1, schedule=optim.CosineSchedule(total_steps))",
    "schedules": "optim.SGD(lr=0.1, schedule=optim.CosineSchedule(total_steps))",
    "CosineAnnealingLR": "optim.CosineSchedule(total_steps)",
    "CosineAnnealingWarmRestarts": "optim.CosineRestartsSchedule(first_steps, factor)",
    "ExponentialLR": "optim.ExponentialSchedule(gamma)",
    "LinearLR": "optim.WarmupSchedule(schedule, steps, start_factor)",
    "MultiStepLR": "optim.MultiStepSchedule(milestones, gamma)",
    "OneCycleLR": "optim.OneCycleSchedule(total_steps), whose max_lr is the lr of the optimizer",
    "PolynomialLR": "optim.PolynomialSchedule(total_steps, power)",
    "SequentialLR": "optim.SequentialSchedule(schedules, milestones)",
    "StepLR": "optim.StepSchedule(step_size, gamma)",
}
STEP: Mapping[str, str] = {
    "backward": "loss = step(x, y) computes gradients and updates; step.gradients(x, y) only computes them",
    "zero_grad": "leave it out: gradients do not accumulate",
    "step": "step(x, y)",
    "fit": "st.Trainer(model, loss, optimizer).fit(train_set, epochs=10)",
    "train": "step(x, y)",
    "train_on_batch": "step(x, y)",
    "predict": "step.model(x)",
}
OPTIMIZER: Mapping[str, str] = {
    "step": "step = st.TrainingStep(model, loss, optimizer); step(x, y)",
    "zero_grad": "leave it out: gradients do not accumulate",
    "param_groups": 'optim.SGD(lr=0.1, groups={"*.bias": dict(weight_decay=0)})',
    "add_param_group": 'optim.SGD(lr=0.1, groups={"*.bias": dict(weight_decay=0)})',
    "state_dict": "st.TrainingStep(model, loss, optimizer).state_dict()",
    "load_state_dict": "st.TrainingStep(model, loss, optimizer).load_state_dict(state)",
}
DATASET: Mapping[str, str] = {
    "data": "data.images",
    "inputs": "data.images",
    "features": "data.images",
    "targets": "data.labels",
    "target": "data.labels",
    "shape": "data.images.shape",
    "batch": "st.data.batches(data, 64)",
    "shuffle": "st.Trainer(…, shuffle=True) does it in every epoch",
    "map": "st.data.Dataset(function(data.images), data.labels)",
    "transform": "st.Trainer(…, augment='crop:4 flip'), or st.data.Dataset(function(data.images), data.labels)",
    "split": "data.subset(index), with whole numbers or a mask",
}
DATA: Mapping[str, str] = {
    "DataLoader": "st.data.batches(data, batch_size), or st.Trainer(…, batch_size=64), which does it itself",
    "TensorDataset": "st.data.Dataset(images, labels)",
    "ImageFolder": "st.data.open_data(path)",
    "Subset": "data.subset(index)",
    "random_split": "data.subset(index), with whole numbers or a mask",
    "load_dataset": "st.data.open_data(name)",
    "transforms": "st.data.augment, for st.Trainer(…, augment='crop:4 flip')",
    "v2": "st.data.augment, for st.Trainer(…, augment='crop:4 flip')",
    "MNIST": "st.data.load_mnist()",
    "CIFAR10": "st.data.load_cifar10()",
}
OPERATIONS: dict[str, str] = {
    "cat": "st.ops.concat(values, 1)",
    "amax": "st.ops.max(x, axis)",
    "amin": "st.ops.min(x, axis)",
    "nll_loss": "nn.NLLLoss()",
    "binary_cross_entropy_with_logits": "nn.BCEWithLogitsLoss()",
    "view": "st.ops.reshape(x, shape)",
    "float": "x.astype(np.float32)",
}
TRAINER: Mapping[str, str] = {
    "predict": "trainer.model(x)",
    "save": "st.save(trainer.model, 'model.safetensors')",
    "save_model": "st.save(trainer.model, 'model.safetensors')",
    "load": "st.load('model.safetensors'), and a st.Trainer of that model",
    "train": "trainer.fit(train_set, validation, epochs=10)",
    "train_on_batch": "trainer.step(x, y)",
    "validate": "trainer.evaluate(dataset)",
    "test": "trainer.evaluate(dataset)",
    "score": "trainer.evaluate(dataset).accuracy",
    "callback_metrics": "trainer.history",
    "optimizer": "trainer.step.optimizer",
    "loss": "trainer.step.loss",
}
HISTORY: Mapping[str, str] = {
    "history": "history.losses, history.validation_losses and history.accuracies; or its epochs one by one",
    "loss": "history.losses",
    "train_loss": "history.losses",
    "val_loss": "history.validation_losses",
    "validation_loss": "history.validation_losses",
    "accuracy": "history.accuracies, which are those of the validation data",
    "val_accuracy": "history.accuracies",
    "validation_accuracy": "history.accuracies",
    "acc": "history.accuracies",
    "val_acc": "history.accuracies",
    "epoch": "[epoch.number for epoch in history]",
}
PACKAGE: Mapping[str, str] = {
    "sklearn": "from striate.sklearn import ConvNetClassifier, ConvNetRegressor",
    "tensor": "NumPy arrays: np.asarray(values, np.float32)",
    "Tensor": "NumPy arrays",
    "from_numpy": "NumPy arrays as they are",
    "no_grad": "leave it out: model(x) computes no gradients",
    "grad": "st.value_and_grad(function)",
    "Sequential": "st.nn.Sequential",
    "Module": "st.nn.Module",
    "functional": "st.ops",
    "manual_seed": "the seed= of models.build, nn.Sequential and st.Trainer",
    "set_num_threads": "the environment variable STRIATE_THREADS",
    "device": "leave it out: striate runs on the CPU",
    "cuda": "leave it out: striate runs on the CPU",
    "jit": "st.compile(function)",
    "keras": "st.nn, st.optim and st.Trainer",
    "evaluate": "st.train.evaluate(model, dataset)",
}
ALIASES: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("lr",),
    "eta": ("lr",),
    "beta_1": ("betas",), "beta_2": ("betas",), "beta1": ("betas",), "beta2": ("betas",),
    "epsilon": ("eps",),
    "rho": ("alpha",),
    "decay": ("weight_decay", "momentum"),
    "l2": ("weight_decay",),
    "filters": ("out_channels",),
    "kernel": ("kernel_size",),
    "pool_size": ("kernel_size",),
    "strides": ("stride",),
    "pad": ("padding",),
    "dilation_rate": ("dilation",),
    "use_bias": ("bias",),
    "kernel_initializer": ("init",),
    "units": ("out_features",), "out_dim": ("out_features",),
    "in_dim": ("in_features",), "input_dim": ("in_features",),
    "rate": ("p", "lr"),
    "clipnorm": ("max_norm",), "grad_clip": ("max_norm",), "gradient_clip_val": ("max_norm",),
    "clipvalue": ("clip_value",),
    "validation_data": ("validation",), "val": ("validation",), "val_set": ("validation",), "valid": ("validation",),
    "max_epochs": ("epochs",), "num_epochs": ("epochs",), "n_epochs": ("epochs",), "nb_epoch": ("epochs",),
    "bs": ("batch_size",), "batch": ("batch_size",),
    "verbose": ("progress",), "progress_bar": ("progress",),
    "criterion": ("loss",), "loss_fn": ("loss",), "loss_function": ("loss",),
    "random_state": ("seed",),
    "x": ("images",), "X": ("images",), "data": ("images", "train_set"), "inputs": ("images",),
    "y": ("labels",), "targets": ("labels",), "target": ("labels",),
    "class_names": ("classes",), "num_classes": ("classes",), "labels_names": ("classes",),
    "in_channels": ("channels",),
    "path": ("name",), "folder": ("name",), "root": ("name",),
    "test_size": ("held_out",), "validation_split": ("held_out",),
    "image_size": ("size",), "target_size": ("size",),
    "T_max": ("total_steps",), "eta_min": ("minimum",), "T_0": ("first_steps",), "T_mult": ("factor",),
    "last_epoch": (), "max_lr": ("lr",),
    "weights": ("weight",), "class_weight": ("weight",), "pos_weights": ("pos_weight",),
    "num_filters": ("out_channels",),
    "color_mode": ("channels",), "colour": ("channels",),
}  # fmt: skip
"""Names of arguments elsewhere, and what they are called here, where the function has such an argument."""
ARGUMENTS: Mapping[str, str] = {
    "activation": "the activation is a layer of its own: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())",
    "input_shape": "sizes given as None are inferred; model.infer((3, 32, 32)) does it at once",
    "transform": "st.Trainer(…, augment='crop:4 flip') for random changes, or transform the arrays before",
    "input_dim": "sizes given as None are inferred: nn.Linear(None, 10)",
    "params": "an optimizer is given no parameters; st.Trainer and st.TrainingStep take model, loss and optimizer",
    "device": "leave it out: striate runs on the CPU",
    "dtype": "model.double() converts to float64; precision='bfloat16' belongs to st.Trainer and st.TrainingStep",
    "pretrained": "st.load_torch_state(model, 'weights.safetensors') loads weights",
    "weights": "st.load_torch_state(model, 'weights.safetensors') loads weights",
    "metrics": "leave it out: accuracy, or the mean error, is always measured",
    "epochs": "epochs belong to trainer.fit(train_set, epochs=10)",
    "max_epochs": "epochs belong to trainer.fit(train_set, epochs=10)",
    "batch_size": "the batch size belongs to st.Trainer(…, batch_size=64)",
    "callbacks": "callbacks belong to st.Trainer(…, callbacks=[…])",
    "shuffle": "st.Trainer(…, shuffle=False) keeps the order of the data",
    "lr": "the learning rate belongs to the optimizer: optim.SGD(lr=0.05)",
    "learning_rate": "the learning rate belongs to the optimizer: optim.SGD(lr=0.05)",
    "scheduler": "the schedule belongs to the optimizer: optim.SGD(lr=0.1, schedule=optim.CosineSchedule(100))",
    "num_workers": "leave it out: the data are in memory",
    "validation_split": "split the data before: data.subset(index) chooses samples",
    "class_weight": "weights of classes belong to the loss: nn.CrossEntropyLoss(weight)",
    "verbose": "st.Trainer(…, progress=False) prints nothing",
}
"""Arguments that are given in another place here."""
FIRST_ARGUMENTS: Mapping[str, str] = {
    "lr": "optim.SGD(lr=0.1): an optimizer is given no parameters; st.Trainer and st.TrainingStep take model, loss "
    "and optimizer",
}
"""What to write where a first argument is given that only other libraries take."""
CONSTRUCTORS: Mapping[str, str] = {
    "Standardizer": "data.Standardizer.fit(images) computes them",
}
"""What to write where a class is usually made otherwise."""


def missing(place: str, name: str, known: Iterable[str], habits: Mapping[str, str]) -> AttributeError:
    """Return the ``AttributeError`` for the missing attribute ``name`` of ``place``, such as "nn".

    ``habits`` maps names from other libraries to what to write instead. If there is an entry for the name, the message
    ends with this entry; otherwise the message suggests the most similar name in ``known``.
    """
    text = f"{place} has no attribute {name!r}"
    if name in habits:
        return AttributeError(f"{text}\n  help: {habits[name]}")
    names = [one for one in known if not one.startswith("_")]
    by_letters = {one.lower().replace("_", ""): one for one in names}
    near = by_letters.get(name.lower().replace("_", "")) or next(
        iter(difflib.get_close_matches(name, names, n=1)), None
    )
    return AttributeError(f"{text}; did you mean {near!r}?" if near else text)
