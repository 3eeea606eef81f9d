"""Export models to ONNX; this needs the extra ``onnx``."""

from striate.export.onnx_file import Exported, export_onnx, onnx_bytes

__all__ = ["Exported", "export_onnx", "onnx_bytes"]
