"""Models in the formats of others: ONNX, which needs the extra of that name."""

from striate.export.onnx_file import Exported, export_onnx, onnx_bytes

__all__ = ["Exported", "export_onnx", "onnx_bytes"]
