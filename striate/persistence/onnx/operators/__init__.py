"""The ONNX operators, implemented with ``striate.ops``; importing this package fills ``call.OPERATORS``."""

from striate.persistence.onnx.call import OPERATORS
from striate.persistence.onnx.operators import arithmetic, folding, normalization, resize, selection, shaping, window

FAMILIES = (arithmetic, folding, normalization, resize, selection, shaping, window)
TABLE = OPERATORS
"""``call.OPERATORS`` after the modules above have registered their operators."""
