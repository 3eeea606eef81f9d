"""Train LeNet on the 1,797 handwritten digits that come with the package, save it, load it and predict.

python examples/digits.py
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import striate as st
from striate import data, nn, optim


def main(epochs: int = 10) -> float:
    """Trains, saves and loads the model, and returns its accuracy on held-out digits."""
    train_set = data.load_digits("train")
    held_out = data.load_digits("test")
    model = st.models.build("lenet5", channels=1, classes=10, seed=0)
    model.standardizer = data.Standardizer.fit(train_set.images)  # on training data only; part of the model from now on
    print(model.summary(train_set.images.shape[1:]))

    rule = optim.SGD(lr=0.05, momentum=0.9)
    trainer = st.Trainer(model, nn.CrossEntropyLoss(), rule, seed=0, batch_size=32)
    trainer.fit(train_set, validation=held_out, epochs=epochs)

    with TemporaryDirectory() as folder:
        path = Path(folder) / "digits.safetensors"
        st.save(model, path, input_shape=train_set.images.shape[1:], classes=train_set.classes)
        loaded = st.load(path)  # needs no source code of the model
    prediction = loaded(held_out.images).argmax(axis=1)
    accuracy = float((prediction == held_out.labels).mean())
    print(f"first ten: predicted {prediction[:10]}, true {held_out.labels[:10]}")
    print(f"test accuracy {100 * accuracy:.2f} %")
    return accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
