"""The configurations that are compared: striate, and PyTorch in each way that a careful user may run it.

PyTorch uses in-place activations and its fused SGD, except in ``nchw``, which is what most users run. Its fresh batches
already have the configuration's memory format; striate converts inside the measured time.

These are left out: ``torch.compile(mode="max-autotune")``, which compiles for minutes and on a CPU only tunes matrix
products, of which these networks have almost none; quantized and frozen graphs, which cannot be trained; and IPEX,
which is no longer maintained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Configuration:
    """One way to run a training step; ``environment`` are the environment variables of its process."""

    name: str
    framework: str = "torch"
    channels_last: bool = False
    compiled: bool = False
    bf16: bool = False
    fused: bool = True
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def peer(self) -> bool:
        """Whether this configuration is of another framework than striate."""
        return self.framework != "striate"

    def arguments(self) -> dict[str, object]:
        """Return the configuration as JSON-compatible data, for the worker process."""
        return asdict(self)


STRIATE = Configuration("striate", "striate")
NCHW = Configuration("nchw", fused=False)
CHANNELS_LAST = Configuration("channels_last", channels_last=True)
COMPILED = Configuration("compiled", compiled=True)
COMPILED_CHANNELS_LAST = Configuration("compiled channels_last", channels_last=True, compiled=True)


def with_huge_pages(configuration: Configuration) -> Configuration:
    """Return the configuration with huge pages requested by PyTorch's allocator."""
    return Configuration(
        f"{configuration.name} thp",
        channels_last=configuration.channels_last,
        compiled=configuration.compiled,
        bf16=configuration.bf16,
        fused=configuration.fused,
        environment={"THP_MEM_ALLOC_ENABLE": "1"},
    )


FP32 = tuple(
    variant
    for base in (NCHW, CHANNELS_LAST, COMPILED, COMPILED_CHANNELS_LAST)
    for variant in (base, with_huge_pages(base))
)
BF16 = tuple(
    variant
    for base in (
        Configuration("bf16", bf16=True),
        Configuration("bf16 channels_last", bf16=True, channels_last=True),
        Configuration("bf16 compiled", bf16=True, compiled=True),
        Configuration("bf16 compiled channels_last", bf16=True, compiled=True, channels_last=True),
    )
    for variant in (base, with_huge_pages(base))
)
STRIATE_DIRECT = Configuration("striate direct", "striate", environment={"STRIATE_WINOGRAD": "off"})

STRIATE_BF16 = Configuration("striate bf16", "striate", bf16=True)

KNOWN: dict[str, Configuration] = {each.name: each for each in (STRIATE, STRIATE_DIRECT, STRIATE_BF16, *FP32, *BF16)}
QUICK = ("striate", "nchw", "channels_last")


def chosen(names: Iterable[str], bf16: bool) -> list[Configuration]:
    """Return configurations by name, where "quick" and "all" are groups; ``bf16`` adds those in bfloat16."""
    found: dict[str, Configuration] = {}
    for name in names:
        group: Iterable[Configuration]
        if name == "quick":
            group = (*(KNOWN[each] for each in QUICK), *((STRIATE_BF16, KNOWN["bf16 channels_last"]) if bf16 else ()))
        elif name == "all":
            group = (STRIATE, *FP32, *((STRIATE_BF16, *BF16) if bf16 else ()))
        else:
            group = (KNOWN[name],)
        found.update((each.name, each) for each in group)
    return list(found.values())
