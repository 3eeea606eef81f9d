"""The translations of PyTorch's functions and methods, one family per file; importing the package registers them."""

from striate.torch.operations import arithmetic, loss, network, random, reduction, shaping

__all__ = ["arithmetic", "loss", "network", "random", "reduction", "shaping"]
