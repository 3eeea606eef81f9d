"""Layers that compare two batches of vectors, as siamese networks do."""

from __future__ import annotations

from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.module import Module
from striate.ops.similarity import cosine_similarity, pairwise_distance
from striate.options import flag, number, whole_number


class CosineSimilarity(Module):
    """Cosine of the angle between vectors along the axis ``dim``: x₁ · x₂ / (max(‖x₁‖, ε) · max(‖x₂‖, ε))

    The layer is called with x₁ and x₂, whose shapes broadcast; the result has the common shape without the axis
    ``dim``. ε is ``eps``.
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = whole_number("CosineSimilarity: dim", dim, -64)
        self.eps = number("CosineSimilarity: eps", eps)

    def forward(self, x1: Value, x2: Value) -> Value:
        return cosine_similarity(x1, x2, self.dim, self.eps)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("CosineSimilarity", {"dim": self.dim, "eps": self.eps})

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps:g}"


class PairwiseDistance(Module):
    """Distance of pairs of vectors: ‖x₁ − x₂ + ε‖_p over the last axis

    The layer is called with x₁ and x₂ of shape (N, D) or (D,). The result is (N,) or (); with ``keepdim``, it is (N, 1)
    or (1,). ``p`` is the order of the norm, and ε is ``eps``.
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.norm = number("PairwiseDistance: p", p)
        self.eps = number("PairwiseDistance: eps", eps)
        self.keepdim = flag("PairwiseDistance: keepdim", keepdim)

    def forward(self, x1: Value, x2: Value) -> Value:
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("PairwiseDistance", {"p": self.norm, "eps": self.eps, "keepdim": self.keepdim})

    def extra_repr(self) -> str:
        return f"p={self.norm:g}, eps={self.eps:g}, keepdim={self.keepdim}"
