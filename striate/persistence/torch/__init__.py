"""Read and write PyTorch's ``.pth`` files of weights, without PyTorch."""

from striate.persistence.torch.file import read_state
from striate.persistence.torch.pickle_writer import encode_state

__all__ = ["encode_state", "read_state"]
