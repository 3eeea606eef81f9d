"""The operators of ONNX in terms of ``striate.ops``; importing this package fills the table ``call.OPERATORS``."""

from striate.persistence.onnx.call import OPERATORS
from striate.persistence.onnx.operators import arithmetic, folding, normalization, resize, shaping, window

FAMILIES = (arithmetic, folding, normalization, resize, shaping, window)
TABLE = OPERATORS
"""The table, filled by the families."""
