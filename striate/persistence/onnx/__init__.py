"""Load ONNX files as modules, without the package ``onnx`` and without executing code from the file."""

from striate.persistence.onnx.model import OnnxModel, load_onnx

__all__ = ["OnnxModel", "load_onnx"]
