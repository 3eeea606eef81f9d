"""The backend for PyTorch: ``torch.compile(model, backend="striate")`` trains and runs a model of ``torch.nn``.

Parameters, buffers, optimizer and training loop stay PyTorch's. See docs/pytorch.md.
"""

from striate.torch.dynamo import StriateNotice, backend

__all__ = ["StriateNotice", "backend"]
