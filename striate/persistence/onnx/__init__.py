"""The door to ONNX: a file becomes a module, without the package onnx and without executing anything of it."""

from striate.persistence.onnx.model import OnnxModel, load_onnx

__all__ = ["OnnxModel", "load_onnx"]
