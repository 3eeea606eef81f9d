"""Event files for TensorBoard. They need the extra ``tensorboard`` (tensorboardX, a writer without TensorFlow)."""

from striate.tensorboard.events import TensorBoard

__all__ = ["TensorBoard"]
