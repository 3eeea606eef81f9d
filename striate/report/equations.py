"""Equations beside layers: what a block computes, written from its graph, and each operation's own equation.

    y = (x − μ) · (1 / √(σ² + 1e-05) · γ) + β        from the nodes of the block
    y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p · 2 + k − 1]      from the operation, with its options

typeset as HTML: single letters slanted, [n, o, p] and _c below the line, ^x above it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from striate.graph.arithmetic import Reshape
from striate.graph.graph import Constant, Input, Parameter, State
from striate.graph.op import Kind, Node, Op, registry
from striate.graph.value import Value
from striate.report.anatomy import Block
from striate.report.html import Markup, element, escaped, joined
from striate.show.names import ATOM, INFIX, PREFIX, SIGN, Expression, options, words

FORMS: dict[str, tuple[str, float]] = {
    "Convolution": ("{0} ⊗ {1}", 2.0),
    "Linear": ("{0} {1}ᵀ", 2.0),
    "Tanh": ("tanh({0})", ATOM),
    "Sigmoid": ("σ({0})", ATOM),
    "Relu": ("max(0, {0})", ATOM),
    "Abs": ("|{0}|", ATOM),
    "Exp": ("exp({0})", ATOM),
    "Log": ("ln({0})", ATOM),
    "Reshape": ("flatten({0})", ATOM),
    "Sum": ("Σ_p {0}", 2.0),
    "Concat": ("[{all}]", ATOM),
    "Where": ("({1} where {0}, else {2})", ATOM),
    "Maximum": ("max({all})", ATOM),
    "Minimum": ("min({all})", ATOM),
    "MultiplyAdd": ("({0} · {1} + {2})", ATOM),
}
"""How operations are written that have a sign or a short name in mathematics; others as ``name(operands)``."""

SYMBOLS = {"weight": "w", "bias": "b", "running_mean": "μ", "running_var": "σ²", "mean": "μ", "sigma": "σ"}
AFFINE = {"weight": "γ", "bias": "β"}
"""What a normalization calls them."""

OPTIONS = {"α": "negative_slope", "ε": "epsilon", "stride": "stride", "dilation": "dilation", "before": "padding"}
"""Words of the operations' equations, and the option that says their number."""

_WORD = re.compile(r"[A-Za-zͰ-Ͽ_′]+")
_LONGEST = 90
_LONGEST_WHOLE = 130
Names = Mapping[str, str]


@dataclass(frozen=True)
class Equation:
    """The lines of one block, and what its letters are."""

    lines: tuple[Markup, ...]
    letters: tuple[tuple[str, str], ...]


def equation_of(block: Block) -> Equation:
    """What a block computes."""
    writer = _Writer(block)
    text = writer.text.replace(" · 1 / ", " / ")
    bare = len(block.nodes) == 1 and type(block.nodes[0].op).__name__ not in {
        *FORMS,
        *INFIX,
        *PREFIX,
    }  # its own equation says more
    first = "" if len(text) > _LONGEST or bare else f"y = {text}"
    lines = [first, *(own_equation(node.op) for node in writer.named if node.op.kind is not Kind.REDUCTION)]
    if block.normalizes:
        lines.append(f"while it trains: {registry()['BatchNormalization'].equation()}")
    shown = [typeset(line) for line in dict.fromkeys(lines) if line]
    return Equation(tuple(shown), tuple(writer.letters.items()))


def whole_equation(blocks: Sequence[Block]) -> Markup | None:
    """The network as one equation, y = f(x), its letters marked by their layers; None where it is too long to read."""
    known: dict[Value, Expression] = {}
    text = ""
    for block in blocks:
        if any(value in known and len(known[value][0]) > _LONGEST_WHOLE for value in block.inputs):
            return None
        text, strength = _Writer(block, known).written_out()
        known[block.output] = text.replace(" · 1 / ", " / "), strength
    short = 0 < len(text) <= _LONGEST_WHOLE and len(blocks) > 1
    return typeset(f"y = {text}") if short else None


def own_equation(op: Op) -> str:
    """The first line of an operation's docstring with the numbers of this one in place of its options."""
    text = op.equation()
    for word, option in OPTIONS.items():
        if any(field.name == option for field in fields(op)):
            number = _number(op, option)
            text = re.sub(rf"(?<!\w){word}(?=\w\b)", f"{number}·", text)  # αx
            text = re.sub(rf"(?<!\w){word}\b", number, text)
    text = re.sub(r" · 1(?![\d.])", "", text)
    return re.sub(r" [−+] 0(?![\d.])", "", text)


def _number(op: Op, option: str) -> str:
    value = getattr(op, option)
    if option == "padding":  # pairs for each axis; what stands before is what shifts the window
        value = tuple(before for before, _ in cast("tuple[tuple[int, int], ...]", value))
    if isinstance(value, tuple):
        several = cast("tuple[object, ...]", value)
        value = several[0] if len(set(several)) == 1 else "(" + ", ".join(map(str, several)) + ")" if several else 0
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Writer:
    """The expression of a block's output in its inputs (x, or x₁, x₂ …) and its parameters."""

    def __init__(self, block: Block, known: Mapping[Value, Expression] | None = None) -> None:
        self.named: list[Node] = []
        self.letters: dict[str, str] = {}
        self._block = block
        self._inside = set(block.nodes)
        several = [f"x{number}" for number in "₁₂₃₄₅₆₇₈₉"] if len(block.inputs) > 1 else ["x"]
        self._inputs = {value: several[min(i, len(several) - 1)] for i, value in enumerate(block.inputs)}
        self._known = known
        self.text, self._strength = self._expression(block.output)

    def written_out(self) -> Expression:
        """The expression of the output, and how strongly it binds."""
        return self.text, self._strength

    def _expression(self, value: Value) -> Expression:
        op, node = value.node.op, value.node
        if self._known is not None and value in self._known:
            return self._known[value]
        if value in self._inputs:
            return ("x" if self._known is not None else self._inputs[value]), ATOM
        if isinstance(op, Constant):
            return str(op), ATOM
        if isinstance(op, Input):
            return self._letter(op), ATOM
        if node not in self._inside:
            return "x", ATOM
        if isinstance(op, Reshape) and not value.type.batched:
            return self._expression(node.inputs[0])  # a vector of channels stays what it is
        if op.kind in (Kind.CONTRACTION, Kind.COMPOSITE, Kind.WINDOW, Kind.GATHER, Kind.ROWWISE, Kind.REDUCTION) or (
            op.kind is Kind.ELEMENTWISE and type(op).__name__ not in INFIX and type(op).__name__ not in PREFIX
        ):
            self.named.append(node)
        return self._written(node, [self._expression(operand) for operand in node.inputs])

    def _written(self, node: Node, operands: list[Expression]) -> Expression:
        kind = type(node.op).__name__
        if kind in INFIX:
            sign, strength = INFIX[kind]
            (a, left), (b, right) = operands
            first = f"({a})" if left < int(strength) else a
            tight = right >= int(strength) + 1 or (right == strength and kind in ("Add", "Multiply"))
            return f"{first}{sign}{b if tight else f'({b})'}", strength
        if kind in PREFIX:
            ((text, strength),) = operands
            bare = strength == ATOM and len(text) <= 2
            return PREFIX[kind] + (text if bare else f"({text})"), ATOM if kind == "Sqrt" else SIGN
        if kind == "LeakyRelu" and 0 <= cast(Any, node.op).negative_slope <= 1:
            return f"max({cast(Any, node.op).negative_slope:g} · {operands[0][0]}, {operands[0][0]})", ATOM
        if kind in FORMS:
            form, strength = FORMS[kind]
            texts = [text if power >= strength else f"({text})" for text, power in operands]
            bare = [text for text, _ in operands]
            return form.format(*(texts if strength < ATOM else bare), all=", ".join(bare)), strength
        given = [text for text in options(node) if not text.startswith(("shape", "size"))]
        return f"{words(node).replace(' ', '_')}({', '.join([*(text for text, _ in operands), *given])})", ATOM

    def _letter(self, op: Input) -> str:
        last = op.name.rpartition(".")[2]
        table = {**SYMBOLS, **AFFINE} if self._block.normalizes else SYMBOLS
        letter = table.get(last, last if len(last) <= 24 else f"{last[:23]}…")
        if self._known is not None:
            letter = f"{letter}[{self._block.path}]"
        statistic = isinstance(op, State) and "running" in last
        kind = "learned" if isinstance(op, Parameter) else "a running statistic" if statistic else "fixed"
        self.letters.setdefault(letter, f"{op.name} {op.type}, {kind}")
        return letter


_TOKEN = re.compile(
    r"(?P<open>[A-Za-zͰ-Ͽ]\w*(?=\[))"  # x[…]
    r"|(?P<low>(?:Σ|max|min)_(?P<index>\w+))"
    r"|(?P<word>[A-Za-zͰ-Ͽ]+)"
    r"|(?P<high>\^)"
    r"|(?P<mantissa>\d[\d.]*)e(?P<sign>[-+])0*(?P<exponent>\d+)"
)


def typeset(text: str) -> Markup:
    """An equation as HTML."""
    return _Typesetter(text).run()


class _Typesetter:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def run(self, stop: str = "") -> Markup:
        parts: list[Markup] = []
        while self.at < len(self.text) and self.text[self.at] != stop:
            parts.append(self._next())
        return joined(*parts)

    def _next(self) -> Markup:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            self.at += 1
            return escaped(self.text[self.at - 1])
        self.at = found.end()
        if found["low"]:
            return joined(found["low"].partition("_")[0], element("sub", _letters(found["index"])))
        if found["mantissa"]:
            power = element("sup", ("−" if found["sign"] == "-" else "") + found["exponent"])
            return joined("" if found["mantissa"] == "1" else f"{found['mantissa']} · ", "10", power)
        if found["high"]:
            return element("sup", self._next()) if self.at < len(self.text) else Markup("")
        if found["open"]:
            self.at += 1
            inside = self.run("]")
            self.at += 1
            return joined(_letters(found["open"]), element("sub", inside))
        return _letters(found["word"])


def _letters(word: str) -> Markup:
    """Quantities slanted, words upright."""
    greek = bool(re.match(r"[Ͱ-Ͽ]", word)) and word[0] != "Σ"
    if len(word) == 1 and word != "Σ":
        return element("var", word)
    if greek and len(word) == 2:
        return joined(element("var", word[0]), "²" if word[1] == "²" else element("var", word[1]))
    return element("var", word) if re.fullmatch(r"d[a-z]", word) else escaped(word)
