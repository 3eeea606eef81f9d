"""A custom network with skip connections, y = leaky_relu(x + body(x)), and the norms of its gradients.

python examples/skip_connection.py
"""

import sys

import striate as st
from striate import data, nn, optim
from striate.graph.value import Value


class Block(nn.Module):
    """leaky_relu(x + BN(conv(leaky_relu(BN(conv(x))))))"""

    def __init__(self, channels: int) -> None:
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Value) -> Value:
        h = st.ops.leaky_relu(self.bn1(self.conv1(x)), 0.1)
        return st.ops.leaky_relu(x + self.bn2(self.conv2(h)), 0.1)


class Net(nn.Module):
    """8×8 digits → 10 classes."""

    def __init__(self) -> None:
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.block1 = Block(16)
        self.pool = nn.MaxPool2d(2)
        self.block2 = Block(16)
        self.head = nn.Linear(None, 10)  # None: 16 · 4 · 4 is inferred

    def forward(self, x: Value) -> Value:
        x = self.pool(self.block1(self.stem(x)))
        return self.head(st.ops.flatten(self.block2(x)))


def main(epochs: int = 5) -> float:
    """Trains, and returns the accuracy on held-out digits."""
    train_set, held_out = data.load_digits("train"), data.load_digits("test")
    model = Net().initialize(seed=0)
    model.standardizer = data.Standardizer.fit(train_set.images)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    watch = step.watch("*.weight")
    for epoch in range(epochs):
        for x, y, _ in data.batches(train_set, 32, seed=0, epoch=epoch):
            loss = step(x, y)
        print(f"epoch {epoch + 1}: loss of its last batch {loss:.4f}")
    for name, norm in watch.gradient_norms().items():
        print(f"  |∂L/∂{name}| = {norm:.2e}")
    accuracy = float((model(held_out.images).argmax(axis=1) == held_out.labels).mean())
    print(f"test accuracy {100 * accuracy:.2f} %")
    return accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
