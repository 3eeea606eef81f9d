"""Parameter groups: other options of the optimizer for parameters whose names match a pattern."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from striate.errors import OptionError
from striate.optim.optimizer import Optimizer

_SHOWN = 6
"""The most names that an error lists."""


@dataclass(frozen=True)
class Assignment:
    """The result of matching an optimizer's parameter groups with the parameters of a model.

    ``rules`` are optimizers without groups, one for each set of options that occurs. ``place`` maps the dotted name of
    each parameter to the index of its optimizer in ``rules``.
    """

    rules: tuple[Optimizer, ...]
    place: Mapping[str, int]

    def kept(self) -> tuple[str, ...]:
        """Return the names of the state vectors, such as momenta, that any of ``rules`` needs.

        They are ordered as in ``Optimizer.slots``.
        """
        needed = {slot for rule in self.rules for slot in rule.kept()}
        return tuple(slot for slot in self.rules[0].slots if slot in needed)

    @property
    def bounded(self) -> bool:
        """Whether a step from finite numbers always gives finite numbers, for every optimizer in ``rules``."""
        return all(rule.bounded for rule in self.rules)

    def rule_of(self, parameter: str) -> Optimizer:
        """Return the optimizer that updates the parameter with this dotted name."""
        return self.rules[self.place[parameter]]


def assign(optimizer: Optimizer, ranks: Mapping[str, int], others: Iterable[str] = ()) -> Assignment:
    """Match the groups of an optimizer with the parameters of a model; return which options each parameter has.

    ``ranks`` maps the dotted name of each trained parameter to its number of axes. ``others`` are the names of
    parameters that are not trained. A pattern may match these names, but the result does not contain them. Raises
    ``OptionError`` for a pattern that matches nothing, and for options of several groups that are invalid in
    combination.
    """
    known = list(dict.fromkeys([*ranks, *others]))
    for pattern in optimizer.groups:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise _matches_nothing(optimizer, pattern, known)
    rules: list[Optimizer] = []
    options_of: list[Mapping[str, Any]] = []
    place: dict[str, int] = {}
    for name, rank in ranks.items():
        options: dict[str, Any] = {}
        for pattern, given in optimizer.groups.items():
            if fnmatchcase(name, pattern):
                options |= given
        if not optimizer.decay_norm_and_bias and rank < 2:
            options["weight_decay"] = 0.0
        if options not in options_of:
            try:
                rules.append(optimizer.changed(options))
            except OptionError as error:
                raise OptionError(f"groups, at {name!r}: {error}") from error
            options_of.append(options)
        place[name] = options_of.index(options)
    return Assignment(tuple(rules) or (optimizer.changed({}),), place)


def _matches_nothing(optimizer: Optimizer, pattern: str, names: list[str]) -> OptionError:
    """Return the error for a pattern that matches no parameter, with similar names."""
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
    shown = near or names[:_SHOWN]
    more = len(names) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more and not near else "")
    return OptionError(
        f"{type(optimizer).__name__}: groups[{pattern!r}] matches no parameter\n"
        f"  {'near names' if near else 'names'}: {listed or 'none, since the model has no parameters'}\n"
        '  help: patterns are those of fnmatch, over dotted names: "*.bias", "head.*"'
    )
