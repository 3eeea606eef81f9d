"""The autograd function through which PyTorch runs a compiled part of a model forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from striate.torch.compiled import Compiled, Run

_engine: Any = vars(torch._C)["_autograd"]


class _Part(torch.autograd.Function):
    """One run of a compiled part as a node of PyTorch's autograd graph.

    The context keeps the arena with the saved activations until the backward run, or until PyTorch drops it. Inputs and
    outputs that the backward run reads are saved with PyTorch's own means, which notice if somebody overwrites them.
    """

    @staticmethod
    def forward(ctx: Any, compiled: Compiled, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, run = compiled.forward(tensors)
        ctx.set_materialize_grads(False)
        ctx.compiled, ctx.run = compiled, run
        ctx.count = len(tensors)
        ctx.save_for_backward(
            *(tensors[index] for index in compiled.saved_inputs), *(outputs[index] for index in compiled.saved_outputs)
        )
        fixed = [one for one, moves in zip(outputs, compiled.differentiable, strict=True) if not moves]
        ctx.mark_non_differentiable(*fixed)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *seeds: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        compiled: Compiled = ctx.compiled
        run: Run | None = ctx.run
        saved = ctx.saved_tensors
        if run is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: the activations of the first backward pass have "
                "been freed\n  help: loss.backward(retain_graph=True)"
            )
        again = bool(_engine._get_current_graph_task_keep_graph())
        if not again:
            ctx.run = None
        inputs = len(compiled.saved_inputs)
        gradients = compiled.backward(run, saved[:inputs], saved[inputs:], seeds, again)
        return None, *(gradients.get(index) for index in range(ctx.count))


def run_part(compiled: Compiled, tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Run the forward program of ``compiled`` on the input tensors, and return its outputs.

    If gradients may be needed, the outputs are connected with PyTorch's autograd, which will run the backward program.
    """
    if compiled.has_backward:
        return _Part.apply(compiled, *tensors)
    return compiled.forward(tensors)[0]
