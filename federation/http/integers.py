# SPDX-License-Identifier: Apache-2.0
"""Which integers a request may hold: those that every JSON implementation keeps exact.

spec: appendices, "Canonical JSON" """

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import msgspec

LARGEST = 2**53 - 1

Check: TypeAlias = Callable[[Any], str]
"""The path of the first integer that is out of range, with its dot or brackets; empty if there is none."""


def integer_check(kind: Any) -> Callable[[Any], str] | None:
    """A function from values of `kind` to the path of an integer beyond ±(2^53 - 1), "" if there is none.

    None if `kind` declares no integers. What `kind` leaves open (`Any`) is not looked at.
    """
    check = _check_of(kind, ())
    if check is None:
        return None
    return lambda value: _shown(check(value))


def _check_of(kind: Any, outer: tuple[Any, ...]) -> Check | None:
    if kind is int:
        return _check_integer
    if kind in outer:
        return None  # a type that holds itself: its inner values are not looked at
    origin = typing.get_origin(kind)
    if origin is None:
        return _check_of_members(kind, (*outer, kind))
    parts = [_check_of(part, outer) for part in typing.get_args(kind) if part is not ...]
    if origin is typing.Annotated:
        return parts[0]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _check_of_values(parts[-1])
    if origin in (list, tuple, set, frozenset):
        return _check_of_items(parts[0])
    if origin is typing.Literal:
        return None
    return _check_of_union([part for part in parts if part is not None])


def _check_integer(value: Any) -> str:
    # Every check of a union sees every value; the path of a plain integer is the member that holds it.
    return "." if isinstance(value, int) and not -LARGEST <= value <= LARGEST else ""


def _join(name: str, inner: str) -> str:
    return name if inner == "." else name + inner


def _check_of_members(kind: Any, outer: tuple[Any, ...]) -> Check | None:
    if not isinstance(kind, type):
        return None
    if attrs.has(kind):
        names = [(field.name, field.name) for field in attrs.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = list(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    else:
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    found = [(name, shown, _check_of(hints[name], outer)) for name, shown in names]
    checks = [(name, shown, check) for name, shown, check in found if check is not None]
    if not checks:
        return None

    def check_members(value: Any) -> str:
        if isinstance(value, kind):
            for name, shown, check in checks:
                if wrong := check(getattr(value, name)):
                    return _join(f".{shown}", wrong)
        return ""

    return check_members


def _check_of_values(check: Check | None) -> Check | None:
    if check is None:
        return None

    def check_values(value: Any) -> str:
        if isinstance(value, Mapping):
            for key, item in value.items():
                if wrong := check(item):
                    return _join(f".{key}", wrong)
        return ""

    return check_values


def _check_of_items(check: Check | None) -> Check | None:
    if check is None:
        return None

    def check_items(value: Any) -> str:
        if isinstance(value, (list, tuple, set, frozenset)):
            for index, item in enumerate(value):
                if wrong := check(item):
                    return _join(f"[{index}]", wrong)
        return ""

    return check_items


def _check_of_union(checks: list[Check]) -> Check | None:
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    return lambda value: next((wrong for check in checks if (wrong := check(value))), "")


def _shown(path: str) -> str:
    return path if path == "." else path.removeprefix(".")
