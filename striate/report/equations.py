"""Writes the equation of a block from its graph, and each operation's own equation, as HTML.

    y = (x − μ) / √(σ² + 1e-05) · γ + β              from the nodes of the block
    y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p · 2 + k − 1]      from the operation, with its options

Single letters are italic, [n, o, p] and _c become subscripts, ^x a superscript.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from striate.graph.equation import EquationWriter
from striate.graph.graph import Constant, Input, Parameter, State
from striate.graph.notation import Expression
from striate.graph.op import Kind, Node
from striate.graph.reshape import Reshape
from striate.graph.value import Value
from striate.report.anatomy import Block, has_a_name
from striate.report.html import Markup, element, escaped, joined

SYMBOLS = {"weight": "w", "bias": "b", "running_mean": "μ", "running_var": "σ²", "mean": "μ", "sigma": "σ"}
AFFINE = {"weight": "γ", "bias": "β"}
"""The letters for the weight and bias of a normalization: γ and β."""

_LONGEST = 90
_LONGEST_WHOLE = 130
X = Expression("x")


@dataclass(frozen=True)
class Equation:
    """The equations of one block (``lines``), and the meaning of their letters (``letters``)."""

    lines: tuple[Markup, ...]
    letters: tuple[tuple[str, str], ...]


def equation_of(block: Block) -> Equation:
    """Return the equations of a block and the meaning of their letters."""
    writer = _Writer(block)
    text = writer.text
    # A single operation that is written as a call: its own equation says more.
    bare = len(block.nodes) == 1 and block.nodes[0].op.notation(*(X for _ in block.nodes[0].inputs)) is None
    first = "" if len(text) > _LONGEST or bare else f"y = {text}"
    lines = [first, *(node.op.own_equation() for node in writer.met if node.op.kind is not Kind.REDUCTION)]
    if block.normalizes:
        lines.append("while it trains, μ and σ² are the mean and the variance of each channel of the batch")
    shown = [typeset(line) for line in dict.fromkeys(lines) if line]
    return Equation(tuple(shown), tuple(writer.letters.items()))


def whole_equation(blocks: Sequence[Block]) -> Markup | None:
    """Return the network as one equation, y = f(x), where parameters are marked with the path of their layer.

    The result is None if the equation is too long to read.
    """
    known: dict[Value, Expression] = {}
    text = ""
    for block in blocks:
        if any(value in known and len(known[value].text) > _LONGEST_WHOLE for value in block.inputs):
            return None
        known[block.output] = _Writer(block, known).whole
        text = known[block.output].text
    short = 0 < len(text) <= _LONGEST_WHOLE and len(blocks) > 1
    return typeset(f"y = {text}") if short else None


class _Writer(EquationWriter):
    """Writes a block's output as an expression of its inputs (x, or x₁, x₂ …) and its parameters.

    Given the ``known`` expressions of earlier blocks, it continues them and marks letters by the block's path.
    """

    def __init__(self, block: Block, known: Mapping[Value, Expression] | None = None) -> None:
        self.met: list[Node] = []
        """The nodes of operations with a name, such as convolution, in the order in which they are written."""
        self.letters: dict[str, str] = {}
        self._block = block
        self._inside = set(block.nodes)
        several = [f"x{number}" for number in "₁₂₃₄₅₆₇₈₉"] if len(block.inputs) > 1 else ["x"]
        self._inputs = {value: several[min(i, len(several) - 1)] for i, value in enumerate(block.inputs)}
        self._known = known
        self.whole = self.expression(block.output)

    @property
    def text(self) -> str:
        """The expression of the output."""
        return self.whole.text

    def named(self, value: Value) -> Expression | None:
        op, node = value.node.op, value.node
        if self._known is not None and value in self._known:
            return self._known[value]
        if value in self._inputs:
            return X if self._known is not None else Expression(self._inputs[value])
        if isinstance(op, Constant):
            return None
        if isinstance(op, Input):
            return Expression(self._letter(op))
        if node not in self._inside:
            return X
        if isinstance(op, Reshape) and not value.type.batched:
            return self.expression(node.inputs[0])  # reshaping a vector of channels does not show in an equation
        if has_a_name(node) and op.kind is not Kind.VIEW:
            self.met.append(node)
        return None

    def _letter(self, op: Input) -> str:
        """Return the letter of a parameter, buffer or input, and note its meaning."""
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
    r"|(?P<low>(?:Σ|max|min|mean)_(?P<index>\w+))"
    r"|(?P<word>[A-Za-zͰ-Ͽ]+)"
    r"|(?P<high>\^)"
    r"|(?P<mantissa>\d[\d.]*)e(?P<sign>[-+])0*(?P<exponent>\d+)"
)


def typeset(text: str) -> Markup:
    """Return the text of an equation as HTML, with italics, subscripts and superscripts."""
    return _Typesetter(text).run()


class _Typesetter:
    """Translates the text of an equation to HTML, from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def run(self, stop: str = "") -> Markup:
        """Translate up to the character ``stop``, or to the end."""
        parts: list[Markup] = []
        while self.at < len(self.text) and self.text[self.at] != stop:
            parts.append(self._next())
        return joined(*parts)

    def _next(self) -> Markup:
        """Translate one token."""
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
    """Return a word of an equation as HTML: quantities in italics, names such as max upright."""
    greek = bool(re.match(r"[Ͱ-Ͽ]", word)) and word[0] != "Σ"
    if len(word) == 1 and word != "Σ":
        return element("var", word)
    if greek and len(word) == 2:
        return joined(element("var", word[0]), "²" if word[1] == "²" else element("var", word[1]))
    return element("var", word) if re.fullmatch(r"d[a-z]", word) else escaped(word)
