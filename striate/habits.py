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
    "Input": "no layer: shapes are inferred from the data, or by model.infer((3, 32, 32))",
    "Lambda": "a nn.Module with a forward method",
    "Model": "nn.Module or nn.Sequential",
    "ModuleList": "a list or tuple of modules as an attribute",
    "ModuleDict": "a dict of modules as an attribute",
    "functional": "st.ops",
    "Tensor": "NumPy arrays",
}
MODULE: Mapping[str, str] = {
    "fit": "st.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05)).fit(train_set, epochs=10)",
    "compile": "st.Trainer(model, loss, optimizer), or st.TrainingStep(model, loss, optimizer)",
    "evaluate": "st.train.evaluate(model, dataset)",
    "predict": "model(x)",
    "predict_proba": "st.ops.softmax(model(x))",
    "eval": "model(x) predicts; nothing has to be switched",
    "train": "st.Trainer(…).fit(…) or st.TrainingStep(…) trains; model(x, training=True) shows what training sees",
    "training": "model(x) predicts; model(x, training=True) shows what training sees",
    "backward": "step = st.TrainingStep(model, loss, optimizer); step(x, y), or step.gradients(x, y)",
    "zero_grad": "nothing: gradients do not accumulate",
    "cuda": "nothing: striate runs on the CPU",
    "cpu": "nothing: striate runs on the CPU",
    "half": "st.TrainingStep(…, precision='bfloat16')",
    "save": "st.save(model, 'model.safetensors')",
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
PACKAGE: Mapping[str, str] = {
    "tensor": "NumPy arrays: np.asarray(values, np.float32)",
    "Tensor": "NumPy arrays",
    "from_numpy": "NumPy arrays as they are",
    "no_grad": "nothing: model(x) computes no gradients",
    "grad": "st.value_and_grad(function)",
    "Sequential": "st.nn.Sequential",
    "Module": "st.nn.Module",
    "functional": "st.ops",
    "manual_seed": "the seed= of models.build, nn.Sequential and st.Trainer",
    "set_num_threads": "the environment variable STRIATE_THREADS",
    "device": "nothing: striate runs on the CPU",
    "cuda": "nothing: striate runs on the CPU",
    "jit": "st.compile(function)",
    "keras": "st.nn, st.optim and st.Trainer",
    "evaluate": "st.train.evaluate(model, dataset)",
}


def missing(place: str, name: str, known: Iterable[str], habits: Mapping[str, str]) -> AttributeError:
    """Return the ``AttributeError`` for a name that ``place`` does not have.

    Its message says what to write instead if ``habits`` has an entry for the name, or else suggests the most similar
    name in ``known``.
    """
    text = f"{place} has no attribute {name!r}"
    if name in habits:
        return AttributeError(f"{text}\n  help: here it is {habits[name]}")
    names = [one for one in known if not one.startswith("_")]
    by_letters = {one.lower().replace("_", ""): one for one in names}
    near = by_letters.get(name.lower().replace("_", "")) or next(
        iter(difflib.get_close_matches(name, names, n=1)), None
    )
    return AttributeError(f"{text}; did you mean {near!r}?" if near else text)
