# SPDX-License-Identifier: Apache-2.0
"""What of an auth graph is not indexed yet: put into the order for indexing, and what must be walked.

An event can be indexed when all of its auth chain can: when it is stored, is not in a cycle (room versions 1
and 2 let one be made), and leads to nothing that is missing or waits in the write queue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

from federation.graph.auth_chains.slices import STEPS, Sliced
from storage.auth_chains import Citations

Edges: TypeAlias = dict[int, tuple[int, ...]]
"""Number → numbers of the auth events."""


def missing_from(numbers: Iterable[int], is_indexed: Callable[[int], bool]) -> Sliced[list[int]]:
    """Those of `numbers` that are not indexed."""
    missing = []
    for step, number in enumerate(numbers, 1):
        if not is_indexed(number):
            missing.append(number)
        if step % STEPS == 0:
            yield
    return missing


def indexable(
    starts: Iterable[int], read: Mapping[int, Citations], is_indexed: Callable[[int], bool]
) -> Sliced[list[int]]:
    """Those events of `read` that `starts` lead to and that can be indexed, each after its auth events."""
    order: list[int] = []
    settled: dict[int, bool] = {}
    path: dict[int, Iterator[int]] = {}
    steps = 0

    def enter(number: int) -> None:
        citations = read.get(number)
        if citations is None:
            settled[number] = is_indexed(number)
        else:
            path[number] = iter(citations.cited)

    for start in starts:
        if start not in settled:
            enter(start)
        while path:
            steps += 1
            if steps % STEPS == 0:
                yield
            number = next(reversed(path))
            cited = next(path[number], None)
            if cited is None:
                del path[number]
                # What is still on the path leads here: a cycle.
                settled[number] = read[number].complete and all(
                    settled.get(auth_event, False) for auth_event in read[number].cited
                )
                if settled[number]:
                    order.append(number)
            elif cited not in settled and cited not in path:
                enter(cited)
    return order


def walked(starts: Iterable[int], edges: Mapping[int, Collection[int]]) -> Sliced[Edges]:
    """Those of `edges` that `starts` lead to."""
    found: Edges = {}
    waiting = [start for start in starts if start in edges]
    steps = 0
    while waiting:
        number = waiting.pop()
        if number not in found:
            found[number] = tuple(edges[number])
            waiting.extend(cited for cited in edges[number] if cited in edges and cited not in found)
        steps += 1
        if steps % STEPS == 0:
            yield
    return found
