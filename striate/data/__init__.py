"""Data sets in memory, batches, standardization, and readers of pictures, tables, signals, volumes and MNIST."""

from striate import habits
from striate.data import augment
from striate.data.catalog import open_data, open_dataset
from striate.data.cifar import load_cifar10
from striate.data.cifar_binary import load_cifar100
from striate.data.dataset import Dataset, Split, check_labels
from striate.data.digits import load_digits
from striate.data.loader import Batch, batch_count, batches
from striate.data.mnist import load_fashion_mnist, load_idx_folder, load_mnist
from striate.data.number_options import NumberOptions
from striate.data.opened import Opened
from striate.data.picture_options import PictureOptions
from striate.data.scan import Problem, Scan, scan_data
from striate.data.standardizer import Outlier, Standardizer
from striate.data.usual import download

__all__ = [
    "augment",
    "Batch",
    "Dataset",
    "Split",
    "Standardizer",
    "Outlier",
    "batch_count",
    "batches",
    "check_labels",
    "download",
    "load_cifar10",
    "load_cifar100",
    "load_fashion_mnist",
    "load_digits",
    "load_idx_folder",
    "load_mnist",
    "open_data",
    "open_dataset",
    "Problem",
    "Scan",
    "scan_data",
    "Opened",
    "PictureOptions",
    "NumberOptions",
]


def __getattr__(name: str) -> object:
    raise habits.missing("data", name, __all__, habits.DATA)
