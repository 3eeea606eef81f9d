"""``--groups``: other options of the optimizer for some parameters, as text."""

from __future__ import annotations

from collections.abc import Mapping

from striate.errors import OptionError, unknown_option

_OPTIONS = ("lr", "weight-decay")
_HELP = '  help: PATTERN:OPTION=VALUE, such as "*.bias:lr=10x"; options: lr, weight-decay'


def parsed_groups(text: str, usual: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the parameter groups that a text lists, as optimizers take them.

    A group is a pattern of parameter names, followed by options of these parameters, as in "*.bias:lr=64x" or
    "head*:lr=0.1:weight-decay=0". Groups are separated by spaces. A value that ends in x, such as 64x, is a multiple of
    the value in ``usual``. ``usual`` holds the options "lr" and "weight_decay" that apply to the parameters outside all
    groups.

    Raises ``OptionError`` for text of another form, an unknown option, and a value that is not a number.
    """
    groups: dict[str, dict[str, float]] = {}
    for word in text.split():
        pattern, *settings = word.split(":")
        if not pattern or not settings:
            raise OptionError(f"--groups {word!r}: a pattern without options\n{_HELP}")
        for setting in settings:
            option, _, value = setting.partition("=")
            if option not in _OPTIONS:
                raise unknown_option(f"option of --groups {word!r}", option, _OPTIONS)
            name = option.replace("-", "_")
            try:
                number = float(value.removesuffix("x"))
            except ValueError as error:
                raise OptionError(f"--groups {word!r}: {value!r} is not a number\n{_HELP}") from error
            groups.setdefault(pattern, {})[name] = number * usual[name] if value.endswith("x") else number
    return groups
