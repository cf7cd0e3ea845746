# SPDX-License-Identifier: Apache-2.0
"""Where integers are found in a typed value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest

from federation.http.integers import LARGEST, integer_check

HUGE = LARGEST + 1


@attrs.frozen
class Leaf:
    """Has an integer."""

    n: int | str | None = None


class Struct(msgspec.Struct, frozen=True):
    """Has an integer under another name."""

    n: int = msgspec.field(name="the.n", default=0)


@attrs.frozen
class Tree:
    """Holds itself."""

    leaf: Leaf
    inner: Tree | None = None


@attrs.frozen
class NoIntegers:
    """Has none."""

    name: str
    flag: bool
    kind: Literal["a", "b"]
    rest: Any = None


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (Leaf, Leaf(), ""),
        (Leaf, Leaf("9" * 30), ""),
        (Leaf, Leaf(LARGEST), ""),
        (Leaf, Leaf(-LARGEST), ""),
        (Leaf, Leaf(HUGE), "n"),
        (Leaf, Leaf(-HUGE), "n"),
        (Struct, Struct(HUGE), "the.n"),
        (Tree, Tree(Leaf(1)), ""),
        (Tree, Tree(Leaf(HUGE)), "leaf.n"),
        (dict[str, Leaf], {"a": Leaf(1), "b": Leaf(HUGE)}, "b.n"),
        (dict[str, list[int]], {"a": [1, HUGE]}, "a[1]"),
        (list[Leaf | Struct], [Leaf(1), Struct(HUGE)], "[1].the.n"),
        (tuple[int, ...], (1, HUGE), "[1]"),
        (Annotated[int, msgspec.Meta(ge=0)] | None, HUGE, "."),
    ],
)
def test_path_of_the_integer(kind: Any, value: object, path: str) -> None:
    check = integer_check(kind)
    assert check is not None
    assert check(value) == path


@pytest.mark.parametrize("kind", [NoIntegers, str, Any, dict[str, Any], list[str], Literal[1, 2], bool])
def test_no_integers(kind: Any) -> None:
    assert integer_check(kind) is None
