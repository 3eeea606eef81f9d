"""Reads ONNX files as modules. This needs no package ``onnx`` and executes no code from the file."""

from striate.persistence.onnx.model import OnnxModel, load_onnx

__all__ = ["OnnxModel", "load_onnx"]
