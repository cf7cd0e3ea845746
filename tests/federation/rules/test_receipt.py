# SPDX-License-Identifier: Apache-2.0
"""What another server sent is dropped, redacted or taken.

spec: server-server-api, "Checks performed on receipt of a PDU", 1 to 3;
"Validating hashes and signatures on received events".
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.rules.canonical_json import decode_json
from federation.rules.errors import InvalidEventFormat, InvalidSignature, NotCanonicalJson, RuleError
from federation.rules.receipt import is_join_authorised, receive_pdu
from federation.rules.redaction import redact_event
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.signing import countersign_event, sign_event
from storage.event import Event
from tests.support.judging import VERSIONS, since
from tests.support.rooms import ALICE, BOB, Room, make_room, pdu_of, signing_key, verify_keys

CAROL = "@carol:c.example"
KEYS = {server: verify_keys(server) for server in ("a.example", "b.example", "c.example")}
AUTHORISER = "join_authorised_via_users_server"

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)


@pytest.fixture(params=list(ROOM_VERSIONS))
def room(request: pytest.FixtureRequest) -> Room:
    return make_room(request.param, members=[BOB])


def test_what_was_sent_is_taken(room: Room) -> None:
    room.message(BOB)
    for event in room.events:
        received = receive_pdu({**pdu_of(event), "unsigned": {"age": 5}}, room.version, KEYS)
        assert attrs.asdict(received, recurse=False) == attrs.asdict(event, recurse=False)


def test_a_redacted_event_is_taken(room: Room) -> None:
    redacted = redact_event(room.message(BOB), room.version)
    received = receive_pdu(pdu_of(redacted), room.version, KEYS)
    assert attrs.asdict(received, recurse=False) == attrs.asdict(redacted, recurse=False)


@pytest.mark.parametrize(
    "bent",
    [
        {"content": {"body": "other"}},
        {"content": {}},
        {"extra": 1},
        {"redacts": "$x"},
    ],
)
def test_what_was_changed_is_redacted(room: Room, bent: dict[str, Any]) -> None:
    event = room.message(BOB)
    received = receive_pdu({**pdu_of(event), **bent}, room.version, KEYS)
    expected = redact_event(event, room.version)
    assert attrs.asdict(received, recurse=False) == attrs.asdict(expected, recurse=False)
    assert received.content == {}
    assert received.event_id == event.event_id


def test_a_member_event_that_was_changed_is_a_membership_still(room: Room) -> None:
    event = room.join(CAROL, {"displayname": "C"})
    received = receive_pdu(
        {**pdu_of(event), "content": {"membership": "join", "displayname": "D"}}, room.version, KEYS
    )
    assert received.content == {"membership": "join"}


@pytest.mark.parametrize(
    "bent",
    [{"sender": ALICE}, {"depth": 99}, {"type": "x"}, {"hashes": {"sha256": "x"}}, {"origin_server_ts": 1}],
)
def test_what_was_signed_must_be_what_it_was(room: Room, bent: dict[str, Any]) -> None:
    pdu = pdu_of(room.message(BOB))
    with pytest.raises(InvalidSignature):
        receive_pdu({**pdu, **bent}, room.version, KEYS)


@pytest.mark.parametrize("keys", [{}, {"a.example": KEYS["a.example"]}, {"b.example": {}}])
def test_without_the_key_it_is_dropped(room: Room, keys: Any) -> None:
    pdu = pdu_of(room.message(BOB))
    with pytest.raises(InvalidSignature) as caught:
        receive_pdu(pdu, room.version, keys)
    assert caught.value.server_name == "b.example"


def test_a_bad_format_comes_before_all_else(room: Room) -> None:
    pdu = pdu_of(room.message(BOB))
    with pytest.raises(InvalidEventFormat):
        receive_pdu({**pdu, "depth": -1}, room.version, {})
    with pytest.raises(NotCanonicalJson):
        receive_pdu({**pdu, "content": {"a": float("nan")}}, room.version, {})
    for text in (b"{}", b'{"type":5}', b'{"event_id":"$x:a"}'):
        with pytest.raises(RuleError):
            receive_pdu(decode_json(text), room.version, KEYS)


def signed_anew(event: Event, version: RoomVersion, signers: list[str], **members: Any) -> dict[str, Any]:
    """The PDU of `event` with other `members` and signed by `signers` alone."""
    pdu = {**pdu_of(event), "signatures": {}, **members}
    for server_name in signers:
        pdu = sign_event(pdu, server_name, signing_key(server_name), version)
    return pdu


@pytest.mark.parametrize("name", ["1", "2"])
@pytest.mark.parametrize(
    ("id_server", "signers", "missing"),
    [
        ("b.example", ["b.example"], None),
        ("c.example", ["b.example", "c.example"], None),
        ("c.example", ["b.example"], "c.example"),
        ("c.example", ["c.example"], "b.example"),
        ("b.example", ["c.example"], "b.example"),
    ],
)
def test_the_server_of_the_event_id_must_have_signed(
    name: str, id_server: str, signers: list[str], missing: str | None
) -> None:
    room = make_room(name, members=[BOB])
    pdu = signed_anew(room.message(BOB), room.version, signers, event_id=f"$x:{id_server}")
    if missing is None:
        assert receive_pdu(pdu, room.version, KEYS).event_id == f"$x:{id_server}"
    else:
        with pytest.raises(InvalidSignature) as caught:
            receive_pdu(pdu, room.version, KEYS)
        assert caught.value.server_name == missing


@every_version
def test_an_invite_by_a_third_party_identifier_needs_no_signature_of_the_senders(
    version: RoomVersion,
) -> None:
    room = make_room(version, members=[BOB])
    third_party = {"third_party_invite": {"signed": {"mxid": CAROL, "token": "t"}}}
    invite = room.member(BOB, CAROL, "invite", third_party, check=False)
    if since(version, 3):
        pdu = signed_anew(invite, version, ["c.example"])
        assert receive_pdu(pdu, version, {}).event_id == invite.event_id
        return
    named = signed_anew(invite, version, ["c.example"], event_id="$x:c.example")
    assert receive_pdu(named, version, KEYS).event_id == "$x:c.example"
    with pytest.raises(InvalidSignature, match=r"c\.example"):
        receive_pdu(named, version, {})
    # Nobody makes an event under another server's name.
    with pytest.raises(InvalidSignature, match=r"b\.example"):
        receive_pdu(signed_anew(invite, version, ["c.example"]), version, KEYS)


@pytest.mark.parametrize("name", [name for name, version in ROOM_VERSIONS.items() if since(version, 8)])
@pytest.mark.parametrize("signed", [True, False])
def test_a_join_by_leave_of_a_member(name: str, signed: bool) -> None:
    """It passes these checks without the signature of who authorises it; the rules ask for that."""
    room = make_room(name, members=[BOB])
    event = room.join(CAROL, {AUTHORISER: ALICE})
    pdu = pdu_of(event)
    if not signed:
        del pdu["signatures"]["a.example"]
    received = receive_pdu(pdu, room.version, KEYS)
    assert is_join_authorised(received, room.version, KEYS) is signed
    assert not is_join_authorised(received, room.version, {})


@every_version
def test_a_join_by_nobodys_leave(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    event = countersign_event(room.join(CAROL), "a.example", signing_key("a.example"), version)
    assert not is_join_authorised(event, version, KEYS)
