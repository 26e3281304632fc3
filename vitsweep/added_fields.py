"""Fields that were added after the first version of a file's layout, so that older plans and records keep their bytes.

An added field has a neutral value, which does what versions without it did. At that value it is left out of hashes and
of what is written; where a file lacks it, that value is filled in. A file of a newer version may have further fields:
they are kept in a field `newer` and written again.
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

NEWER = "newer"


def added_field(neutral: Any) -> Any:
    """Return a dataclass field with its neutral value, which is also its default.

    Args:
        neutral: a plain value, or an empty list or dictionary.
    """
    metadata = {"neutral": neutral}
    if isinstance(neutral, list | dict):
        return dataclasses.field(default_factory=type(neutral), metadata=metadata)
    return dataclasses.field(default=neutral, metadata=metadata)


@cache
def neutral_values(kind: type) -> Mapping[str, Any]:
    """Return added field -> neutral value of a dataclass."""
    return {f.name: f.metadata["neutral"] for f in dataclasses.fields(kind) if "neutral" in f.metadata}


def without_neutral(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass without those of added fields that are neutral."""
    neutral = neutral_values(kind)
    if not neutral:
        return values
    return {key: value for key, value in values.items() if key not in neutral or value != neutral[key]}


def to_values(record: Any) -> dict[str, Any]:
    """Return what a file holds of an object of a dataclass: no neutral values, those of newer versions as they were."""
    values = without_neutral(type(record), dataclasses.asdict(record))
    return values | values.pop(NEWER, {})


def from_values(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a dataclass from what a file holds; unknown fields are gathered in `newer`."""
    fields = {f.name for f in dataclasses.fields(kind)}
    known = {key: value for key, value in values.items() if key in fields and key != NEWER}
    newer = {key: value for key, value in values.items() if key not in known}
    return known | ({NEWER: newer} if newer else {})


def missing_fields(kind: type, values: dict[str, Any]) -> list[str]:
    """Return the fields of the first version that a file lacks."""
    return [f.name for f in dataclasses.fields(kind) if f.name not in {*values, *neutral_values(kind)}]
