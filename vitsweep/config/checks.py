"""Checks of the configuration's values. Each returns one message for each value that fails: `key=value  rule`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from vitsweep.errors import did_you_mean


def check(group: str, config: Any, names: Sequence[str], is_valid: Callable[[Any], bool], rule: str) -> list[str]:
    """Apply one rule to several fields of a group.

    Args:
        group: the group's name in front of each key; empty for keys at the top.
        config: dataclass that has the fields.
        names: fields to check, in the order of the messages.
        is_valid: takes one value.
        rule: the rest of the message, from `must ...` on.
    """
    prefix = f"{group}." if group else ""
    return [f"{prefix}{n}={getattr(config, n)}  {rule}" for n in names if not is_valid(getattr(config, n))]


def within(low: int, high: int, group: str, config: Any, names: Sequence[str]) -> list[str]:
    """Require integers from `low` to `high`."""
    too_small = at_least(low, group, config, names)
    return too_small + check(group, config, names, lambda value: value <= high, f"must be at most {high}")


def at_least(bound: int, group: str, config: Any, names: Sequence[str]) -> list[str]:
    """Require integers of at least `bound`."""
    return check(group, config, names, lambda value: value >= bound, f"must be at least {bound}")


def one_of(allowed: Sequence[str], group: str, config: Any, name: str) -> list[str]:
    """Require one of the allowed words; the message lists them, and names the nearest."""
    if getattr(config, name) in allowed:  # the nearest word is searched for a wrong one only: a plan checks thousands
        return []
    rule = unknown_option(str(getattr(config, name)), allowed)
    return check(group, config, [name], lambda v: v in allowed, rule)


def unknown_option(word: str, allowed: Sequence[str]) -> str:
    """Return the rule that an unknown word breaks: the allowed ones in order, and the nearest if one is similar."""
    return f"is unknown; allowed: {', '.join(sorted(allowed))}{did_you_mean(word, allowed, most=1, cutoff=0.6)}"


def in_unit_interval(value: float | None) -> bool:
    """Return True for a number in [0, 1) and for None."""
    return value is None or 0 <= value < 1


def is_finite_and_not_negative(value: float) -> bool:
    """Return True for a number in [0, inf); False for nan."""
    return 0 <= value < math.inf


def is_word_or_count(word: str, *words: str) -> bool:
    """Return True if `word` is one of `words` or the text of an integer of at least 1."""
    return word in words or (word.isdigit() and int(word) > 0)


def divisors(number: int) -> str:
    """Return the divisors of `number`, ascending, separated by commas."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return ", ".join(map(str, sorted({*small, *(number // d for d in small)})))
