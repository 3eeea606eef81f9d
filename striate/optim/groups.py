"""Which rule updates which parameter: an optimizer's groups, matched with the names of a model's parameters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from striate.errors import OptionError
from striate.optim.optimizer import Optimizer

_SHOWN = 6


@dataclass(frozen=True)
class Assignment:
    """``rules`` are optimizers without groups; ``place`` maps the name of a parameter to the index of its rule."""

    rules: tuple[Optimizer, ...]
    place: Mapping[str, int]

    def kept(self) -> tuple[str, ...]:
        """The slots that any of the rules needs, in the order in which the optimizer declares them."""
        needed = {slot for rule in self.rules for slot in rule.kept()}
        return tuple(slot for slot in self.rules[0].slots if slot in needed)

    @property
    def bounded(self) -> bool:
        """Whether every rule is."""
        return all(rule.bounded for rule in self.rules)

    def rule_of(self, parameter: str) -> Optimizer:
        """The rule that updates a parameter."""
        return self.rules[self.place[parameter]]


def assign(optimizer: Optimizer, ranks: Mapping[str, int], others: Iterable[str] = ()) -> Assignment:
    """Matches the groups with parameters, given as dotted names and their numbers of axes.

    ``others`` are names of parameters that are not trained: a pattern may match them, but they get no rule. Raises
    ``OptionError`` for a pattern that matches nothing, and for options of several groups that contradict each other.
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
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
    shown = near or names[:_SHOWN]
    more = len(names) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more and not near else "")
    return OptionError(
        f"{type(optimizer).__name__}: groups[{pattern!r}] matches no parameter\n"
        f"  {'near names' if near else 'names'}: {listed or 'none, since the model has no parameters'}\n"
        '  help: patterns are those of fnmatch, over dotted names: "*.bias", "head.*"'
    )
