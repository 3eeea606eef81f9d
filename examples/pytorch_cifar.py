"""Train a small ResNet on CIFAR-10 in plain PyTorch; one line hands the network to striate.

    python examples/pytorch_cifar.py            # the time of each epoch with striate
    python examples/pytorch_cifar.py --eager    # the same training without the line

The pictures come from ``striate.data.load_cifar10``, which reads the folder that STRIATE_DATA names. A copy with
``torchvision.datasets.CIFAR10`` trains in the same way.
"""

import argparse
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from striate.data import load_cifar10


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch normalization, and a shortcut around them."""

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """A residual network for pictures of 32×32 pixels, with ``blocks`` blocks at each of three sizes."""

    def __init__(self, blocks=3, width=16, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        layers, planes = [], width
        for stage in range(3):
            for block in range(blocks):
                layers.append(BasicBlock(planes, width << stage, 2 if stage and not block else 1))
                planes = width << stage
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(planes, classes)

    def forward(self, x):
        out = self.layers(F.relu(self.bn1(self.conv1(x))))
        out = F.avg_pool2d(out, out.size(3))
        return self.linear(out.view(out.size(0), -1))


def loader(split, most, batch_size):
    """Return the pictures of one part of CIFAR-10, normalized, in batches."""
    dataset = load_cifar10(split, most=most)
    images = torch.from_numpy(dataset.images).float().div_(255)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    images = (images - mean[:, None, None]) / std[:, None, None]
    return DataLoader(
        TensorDataset(images, torch.from_numpy(dataset.labels).long()), batch_size, shuffle=split == "train"
    )


def train(net, batches, optimizer):
    """Train for one epoch; return the mean loss."""
    net.train()
    total = 0.0
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(targets)
    return total / len(batches.dataset)


@torch.no_grad()
def test(net, batches):
    """Return the share of pictures that are classified correctly."""
    net.eval()
    correct = sum((net(inputs).argmax(1) == targets).sum().item() for inputs, targets in batches)
    return correct / len(batches.dataset)


def main(arguments=None):
    """Train and test the network; return the mean losses of the epochs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--blocks", type=int, default=3, help="blocks at each of the three sizes (3: ResNet-20)")
    parser.add_argument("--width", type=int, default=16, help="channels of the first block")
    parser.add_argument("--most", type=int, help="pictures of each class (all)")
    parser.add_argument("--eager", action="store_true", help="without striate")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    train_batches = loader("train", options.most, options.batch_size)
    test_batches = loader("test", options.most, options.batch_size)
    net = ResNet(options.blocks, options.width)
    if not options.eager:
        net = torch.compile(net, backend="striate")  # the one line
    optimizer = torch.optim.SGD(net.parameters(), lr=options.lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    losses = []
    for epoch in range(options.epochs):
        start = time.perf_counter()
        losses.append(train(net, train_batches, optimizer))
        seconds = time.perf_counter() - start
        accuracy = test(net, test_batches)
        schedule.step()
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}, test accuracy {accuracy:.1%}, {seconds:.2f} s")
    return losses


if __name__ == "__main__":
    main()
