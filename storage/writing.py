# SPDX-License-Identifier: Apache-2.0
"""How records become rows: for each kind of record, one statement that writes a whole batch of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import attrs

from storage.engine.statement import Batch

R = TypeVar("R")
Indexed = tuple[int, R]
"""A record with the offset in the batch from which its own `index` counts."""


@attrs.frozen
class Writing(Generic[R]):
    """Writes records of the class `record`, and of those in `also`, with `statement`.

    `rows` turns all these records of a batch, in the order of their units, into parameter rows. A
    `positioned` statement takes positions from the table `base`, and its rows carry `offset + record.index`.
    """

    record: type[R]
    statement: Batch
    rows: Callable[[Sequence[Indexed[R]]], list[tuple[Any, ...]]]
    positioned: bool = False
    also: tuple[type[Any], ...] = ()


def each(row: Callable[[R], tuple[Any, ...]]) -> Callable[[Sequence[Indexed[R]]], list[tuple[Any, ...]]]:
    """Rows made of each record alone, for records without a position."""
    return lambda records: [row(record) for _, record in records]


def each_positioned(
    row: Callable[[int, R], tuple[Any, ...]],
) -> Callable[[Sequence[Indexed[R]]], list[tuple[Any, ...]]]:
    """Rows made of each record and its index in the batch."""
    return lambda records: [row(offset + record.index, record) for offset, record in records]  # type: ignore[attr-defined]


def last_of_each(
    key: Callable[[R], Hashable], row: Callable[[int, R], tuple[Any, ...]]
) -> Callable[[Sequence[Indexed[R]]], list[tuple[Any, ...]]]:
    """Rows of the last record with each key, since one statement may touch a row only once."""

    def rows(records: Sequence[Indexed[R]]) -> list[tuple[Any, ...]]:
        last = {key(record): (offset, record) for offset, record in records}
        return [row(offset + getattr(record, "index", 0), record) for offset, record in last.values()]

    return rows


class Grouped:
    """The records of a batch by their class, order kept."""

    def __init__(self, records: Sequence[Indexed[Any]]) -> None:
        self._records = records
        self._groups: dict[type[Any], list[Indexed[Any]]] = {}
        for indexed in records:
            self._groups.setdefault(type(indexed[1]), []).append(indexed)

    @property
    def kinds(self) -> Iterable[type[Any]]:
        """The classes that there are records of."""
        return self._groups.keys()

    def rows(self, writing: Writing[Any]) -> list[tuple[Any, ...]]:
        """The rows that `writing` makes of the records that it is for, of which there are some."""
        if not writing.also:
            return writing.rows(self._groups[writing.record])
        kinds = [kind for kind in (writing.record, *writing.also) if kind in self._groups]
        if len(kinds) == 1:
            return writing.rows(self._groups[kinds[0]])
        return writing.rows([indexed for indexed in self._records if type(indexed[1]) in kinds])
