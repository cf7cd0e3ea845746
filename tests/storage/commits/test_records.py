# SPDX-License-Identifier: Apache-2.0
"""The packed form of commits: what goes in comes out, whatever version of the program wrote it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import homeserver
import storage.persist
from storage.account_data import AccountData
from storage.accounts import ChangedAccount
from storage.aliases import Alias
from storage.client_transactions import ClientTransaction
from storage.commits.records import (
    NOTED,
    is_noted,
    pack_events,
    pack_units,
    stored_numbers,
    unpack_units,
)
from storage.event import StateAt, StoredEvent
from storage.event_records import NewEvent, NewOutlier, StateLearnt
from storage.memberships import Membership
from storage.persist import RoomEpoch, Unit
from storage.read_points import ReadHere, ReadUpTo
from storage.receipts import Receipt
from storage.threads import CountsAt
from tests.support.event_records import event_named

_numbers = st.integers(0, 2**63 - 1)
_signed = st.integers(-(2**63), 2**63 - 1)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_states = st.none() | st.builds(StateAt, _numbers, _signed)
_events = st.builds(
    event_named,
    _texts,
    st.sampled_from(["!a:a.example", "!b"]),
    event_id=st.sampled_from(["$1:a.example", "$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"]),
    state_key=st.none() | st.just("@bob:b.example"),
)
_stored = st.builds(
    StoredEvent,
    _events,
    _numbers,
    st.none() | _signed,
    st.none() | _signed,
    _states,
    _states,
    st.booleans(),
    st.booleans(),
    st.none() | st.just("$1:a.example"),
    _numbers,
    _numbers,
    st.none() | st.just("$2:a.example"),
)
_BY_TYPE = {
    "StoredEvent": _stored,
    "CountsAt": st.builds(CountsAt, _numbers, _numbers, _numbers),
    "int": _numbers,
    "int | None": st.none() | _numbers,
    "str": _texts,
    "str | None": st.none() | _texts,
    "bool": st.booleans(),
    "bool | None": st.none() | st.booleans(),
    "bytes": st.binary(max_size=20),
}


def records_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Records of a class with all fields at will, by what they are declared to be."""
    return st.builds(kind, **{field.name: _BY_TYPE[str(field.type)] for field in attrs.fields(kind)})


def as_values(record: Any) -> Any:
    """All that a record says: events are equal by their ids alone, and stored ones by identity."""
    return attrs.asdict(record)


def through(*units: tuple[int, Unit]) -> list[Any]:
    """The units packed and unpacked."""
    return unpack_units(pack_units(units), pack_events(unit for _, unit in units))


def packed(code: int, values: list[Any], *, positions: int = 0, room: int | None = None) -> bytes:
    """A unit as another version may have packed it."""
    return msgspec.msgpack.encode([[0, positions, room, [[code, values]]]])


NO_EVENTS = msgspec.msgpack.encode({})


@pytest.mark.parametrize("kind", sorted(NOTED, key=lambda kind: kind.__name__), ids=lambda k: k.__name__)
def test_a_record_comes_out_as_it_went_in(kind: type[Any]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(records_of(kind))
    def check(record: Any) -> None:
        [unpacked] = through((0, Unit([record])))
        [found] = unpacked.unit.records
        if kind is AccountData:  # what it says is left out, and it has no position before it is written
            record = attrs.evolve(record, content=b"", position=0)
        assert type(found) is kind
        assert as_values(found) == as_values(record)

    check()


def test_what_is_learnt_of_an_event_keeps_its_position() -> None:
    stored = StoredEvent(event_named("a", "!a:a.example"), 7, 1234, 3, StateAt(0, 5))
    [unpacked] = through((0, Unit([StateLearnt(stored)])))
    assert unpacked.unit.records[0].stored.position == 1234


def test_units_keep_their_offsets_positions_and_rooms() -> None:
    data = AccountData(1, 0, "a", b"{}", index=1)
    alias = Alias("#a:a.example", 1, 1)
    units = [
        (0, Unit([data, alias], positions=1)),
        (1, Unit([alias])),
        (1, Unit([alias], epoch=RoomEpoch(9, 4))),
        (1, Unit([ReadUpTo(1, 2, "main", CountsAt(1, 0, 0))], positions=3, epoch=RoomEpoch(7, 0))),
        (4, Unit([alias], positions=2)),
    ]
    found = [(u.offset, u.unit.positions, u.room, [type(r) for r in u.unit.records]) for u in through(*units)]
    assert found == [
        (0, 1, None, [AccountData]),
        (1, 0, 9, []),
        (1, 3, 7, [ReadUpTo]),
        (4, 2, None, []),
    ]


@pytest.mark.parametrize(
    ("unit", "noted"),
    [
        (Unit([Alias("#a:a.example", 1, 1)]), False),
        (Unit([Alias("#a:a.example", 1, 1)], epoch=RoomEpoch(1, 0)), True),
        (Unit([Alias("#a:a.example", 1, 1), ChangedAccount(1)]), True),
        (Unit([]), False),
    ],
)
def test_what_is_noted(unit: Unit, noted: bool) -> None:
    assert is_noted(unit) is noted


def test_a_kind_that_is_not_known_is_passed_over() -> None:
    records = msgspec.msgpack.encode(
        [[0, 1, None, [[9999, ["?", {"deep": [1]}]], [_code_of(ChangedAccount), [1, True]]], "later field"]]
    )
    [unpacked] = unpack_units(records, NO_EVENTS)
    assert unpacked.unit.records == [ChangedAccount(1, is_admin=True)]
    assert stored_numbers(records) == []


@pytest.mark.parametrize(
    ("kind", "values", "record"),
    [
        (ChangedAccount, [4], ChangedAccount(4)),
        (ChangedAccount, [4, None, True], ChangedAccount(4, is_locked=True)),
        (ChangedAccount, [4, True, None, None, False, "new", 7], ChangedAccount(4, True, None, None, False)),
        (Membership, [1, 2, "join", 3], Membership(1, 2, "join", 3)),
        (Receipt, [1, 2, True, None, "$a", 5], Receipt(1, 2, True, None, "$a", 5)),
        (ReadUpTo, [1, 2, "main", [3, 4, 5, 6], "new"], ReadUpTo(1, 2, "main", CountsAt(3, 4, 5))),
    ],
)
def test_values_that_are_missing_or_too_many(kind: type[Any], values: list[Any], record: Any) -> None:
    [unpacked] = unpack_units(packed(_code_of(kind), values), NO_EVENTS)
    assert unpacked.unit.records == [record]


@pytest.mark.parametrize(("more", "fewer"), [(["new", 3], 0), ([], 6)])
def test_a_stored_event_with_other_values(more: list[Any], fewer: int) -> None:
    event = event_named("a", "!a:a.example")
    values = [event.event_id, "!a:a.example", 7, 3, [0, 5], None, None, False, False, None, 0, 0, None]
    values = [*values[: len(values) - fewer], *more]
    events = msgspec.msgpack.encode({7: event.json})
    records = packed(_code_of(NewEvent), [values, 1, 2, None, 3, 1])
    [unpacked] = unpack_units(records, events)
    expected = NewEvent(StoredEvent(event, 7, None, 3, StateAt(0, 5)), 1, 2, None, 3, 1)
    assert as_values(unpacked.unit.records[0]) == as_values(expected)
    assert stored_numbers(records) == [7]


def test_an_event_that_is_gone_takes_its_record_along() -> None:
    stored = StoredEvent(event_named("a", "!a:a.example"), 7, None, 3, StateAt(0, 5))
    unit = Unit([NewEvent(stored, 1, 2, None, 3, 1), ReadHere(1, 1, "main", 1, 0, 0)], positions=1)
    [unpacked] = unpack_units(pack_units([(0, unit)]), NO_EVENTS)
    assert [type(record) for record in unpacked.unit.records] == [ReadHere]
    assert unpacked.unit.positions == 1


def test_only_the_events_of_noted_records_travel() -> None:
    stored = StoredEvent(event_named("a", "!a:a.example"), 7, None, None, None)
    unit = Unit([NewOutlier(stored, 1, 2, None, 3)])
    assert pack_events([unit]) == NO_EVENTS


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"\x81\x01\x02", b"\x91\x93\x00\x00\xc0", NO_EVENTS])
def test_what_is_no_packed_commit_is_an_error(garbage: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, TypeError, ValueError, IndexError)):
        unpack_units(garbage, NO_EVENTS)


def test_a_transaction_id_takes_few_bytes() -> None:
    """The path and the id themselves, and little more."""
    record = ClientTransaction(2**40, "/_matrix/client/v3/rooms/!a/send/m.room.message", "t1", 2**40, 2**40)
    assert len(pack_units([(0, Unit([record]))])) < len(record.path) + len(record.txn_id) + 60


def _code_of(kind: type[Any]) -> int:
    """The number that stands for a class: that of the first record of the first packed unit."""
    [[_, _, _, [[code, _]]]] = msgspec.msgpack.decode(pack_units([(0, Unit([_EXAMPLES[kind]]))]))
    return int(code)


_EXAMPLES: dict[type[Any], Any] = {
    ChangedAccount: ChangedAccount(1),
    Membership: Membership(1, 2, "join", 3),
    Receipt: Receipt(1, 2, True, None, "$a", 5),
    ReadUpTo: ReadUpTo(1, 2, "main", CountsAt(0, 0, 0)),
    NewEvent: NewEvent(
        StoredEvent(event_named("a", "!a:a.example"), 7, None, 3, StateAt(0, 5)), 1, 2, None, 3, 1
    ),
}

# What counts the commits of its own process alone.
_OWN_ONLY = {"homeserver.metrics.committed_events"}


def _listening_modules() -> Iterator[tuple[ModuleType, ast.Module]]:
    """The modules that define a listener to commits, or what one hands the commits on to."""
    root = Path(homeserver.__path__[0]).parent
    for path in sorted([*(root / "homeserver").rglob("*.py"), root / "storage" / "event_memory.py"]):
        text = path.read_text()
        if "storage.write_queue import Committed" not in text or "def on_commit" not in text:
            continue
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        if name not in _OWN_ONLY:
            yield importlib.import_module(name), ast.parse(text)


def _compared_names(tree: ast.Module) -> Iterator[str]:
    """The names that what a module meets is compared with, in tables or one by one."""
    for node in ast.walk(tree):
        parts: list[Any] = []
        if isinstance(node, ast.Compare):
            parts = node.comparators
        elif isinstance(node, ast.Dict):
            parts = node.keys
        elif isinstance(node, ast.Set | ast.Tuple):
            parts = node.elts
        yield from (part.id for part in parts if isinstance(part, ast.Name))


def test_exactly_what_listeners_look_at_is_noted() -> None:
    looked_at = set()
    modules = []
    for module, tree in _listening_modules():
        modules.append(module.__name__)
        found = {getattr(module, name, None) for name in _compared_names(tree)}
        looked_at |= {kind for kind in found if isinstance(kind, type) and kind in storage.persist._KINDS}
    assert "homeserver.feed.feed" in modules
    assert "storage.event_memory" in modules
    assert looked_at == NOTED
