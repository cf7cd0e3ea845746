# SPDX-License-Identifier: Apache-2.0
"""Invites by a third-party identifier. spec: rooms, "Authorisation rules"."""

from __future__ import annotations

import time
from typing import Any

import pytest
import signedjson.key
import signedjson.sign

from federation.rules.auth.third_party_invite import MAX_TRIES
from federation.rules.base64 import encode_base64, encode_base64_url
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from federation.rules.signing import sign_json
from storage.event import Event
from tests.support.judging import ADMIN, CREATOR, LEVELS, OTHER, USER, VERSIONS, Facts, number
from tests.support.rooms import signing_key

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)

IDENTITY = signing_key("identity.example")
STRANGER = signing_key("stranger.example")

TOKEN = "token"
PUBLIC = encode_base64(IDENTITY.verify_key)


def signed(mxid: Any = USER, token: Any = TOKEN, key: Any = IDENTITY) -> dict[str, Any]:
    return sign_json({"mxid": mxid, "token": token}, "identity.example", key)


def room(version: RoomVersion, current: str | None = None, **pending: Any) -> Facts:
    """A room in which `ADMIN`, who has left since, made an invite with the content `pending`."""
    content = {"display_name": "u...", **(pending or {"public_key": PUBLIC})}
    event = Facts(version).event("m.room.third_party_invite", ADMIN, content, state_key=TOKEN)
    members = {ADMIN: "leave", **({} if current is None else {USER: current})}
    return Facts(version, users=LEVELS, members=members, invites={TOKEN: event})


def invite(facts: Facts, third_party_invite: Any, sender: str = ADMIN, target: str = USER) -> Event:
    return facts.member(sender, target, "invite", third_party_invite=third_party_invite)


@pytest.mark.parametrize("current", [None, "invite", "join", "leave", "knock"])
def test_a_good_invite(version: RoomVersion, current: str | None) -> None:
    """Neither the sender's membership nor anyone's level is asked for."""
    facts = room(version, current)
    assert facts.refusal(invite(facts, {"display_name": "u", "signed": signed()})) is None


def test_the_signature_of_the_reference_library(version: RoomVersion) -> None:
    facts = room(version)
    (key,) = signedjson.key.read_signing_keys([f"ed25519 test {encode_base64(bytes(IDENTITY.key))}"])
    value = signedjson.sign.sign_json(
        {"mxid": USER, "token": TOKEN, "sender": ADMIN}, "identity.example", key
    )
    assert facts.refusal(invite(facts, {"signed": value})) is None


def test_the_banned(version: RoomVersion) -> None:
    facts = room(version, "ban")
    assert facts.refusal(invite(facts, {"signed": signed()})) == number(
        Rule.THIRD_PARTY_TARGET_BANNED, version
    )


@pytest.mark.parametrize(
    "value", [None, 5, "signed", [], {}, {"signed": None}, {"signed": []}, {"signed": "x"}]
)
def test_without_signed(version: RoomVersion, value: Any) -> None:
    facts = room(version)
    assert facts.refusal(invite(facts, value)) == number(Rule.THIRD_PARTY_NOT_SIGNED, version)


@pytest.mark.parametrize(
    "value",
    [{}, {"mxid": USER}, {"token": TOKEN}, {"mxid": USER, "token": 5}, {"mxid": [USER], "token": TOKEN}],
)
def test_without_mxid_or_token(version: RoomVersion, value: dict[str, Any]) -> None:
    facts = room(version)
    assert facts.refusal(invite(facts, {"signed": value})) == number(Rule.THIRD_PARTY_SIGNED_SHAPE, version)


def test_for_another_user(version: RoomVersion) -> None:
    facts = room(version)
    event = invite(facts, {"signed": signed(mxid=OTHER)})
    assert facts.refusal(event) == number(Rule.THIRD_PARTY_OTHER_USER, version)


def test_with_an_unknown_token(version: RoomVersion) -> None:
    facts = room(version)
    event = invite(facts, {"signed": signed(token="other")})
    assert facts.refusal(event) == number(Rule.THIRD_PARTY_UNKNOWN_TOKEN, version)


def test_by_another_sender(version: RoomVersion) -> None:
    facts = room(version)
    event = invite(facts, {"signed": signed()}, sender=CREATOR)
    assert facts.refusal(event) == number(Rule.THIRD_PARTY_OTHER_SENDER, version)


@pytest.mark.parametrize(
    ("pending", "allowed"),
    [
        ({"public_key": PUBLIC}, True),
        ({"public_key": encode_base64_url(IDENTITY.verify_key)}, True),
        ({"public_key": PUBLIC + "="}, True),
        ({"public_keys": [{"public_key": PUBLIC}]}, True),
        (
            {
                "public_key": encode_base64(STRANGER.verify_key),
                "public_keys": [{"public_key": "AAAA"}, {"public_key": PUBLIC, "key_validity_url": "x"}],
            },
            True,
        ),
        ({"public_key": "?", "public_keys": [5, {}, {"public_key": 5}, {"public_key": PUBLIC}]}, True),
        ({"public_key": encode_base64(STRANGER.verify_key)}, False),
        ({"public_key": 5, "public_keys": {"public_key": PUBLIC}}, False),
        ({"public_keys": []}, False),
        ({"other": PUBLIC}, False),
        ({"public_key": ""}, False),
    ],
)
def test_public_keys(version: RoomVersion, pending: dict[str, Any], allowed: bool) -> None:
    facts = room(version, **pending)
    expected = None if allowed else number(Rule.THIRD_PARTY_OTHERWISE, version)
    assert facts.refusal(invite(facts, {"signed": signed()})) == expected


GOOD = signed()["signatures"]["identity.example"][IDENTITY.key_id]


@pytest.mark.parametrize(
    ("signatures", "allowed"),
    [
        ({"any.example": {"ed25519:any": GOOD}}, True),
        (
            {"a": {"ed25519:0": "AAAA"}, "b": 5, "c": {"ed25519:0": 5, "ed25519:1": "?", "ed25519:2": GOOD}},
            True,
        ),
        ({"a": {"rsa:0": GOOD}}, False),
        ({"a": {"ed25519:0": "AAAA"}}, False),
        ({"a": {}}, False),
        ({}, False),
        ([], False),
        (None, False),
    ],
)
def test_signatures(version: RoomVersion, signatures: Any, allowed: bool) -> None:
    facts = room(version)
    event = invite(facts, {"signed": {"mxid": USER, "token": TOKEN, "signatures": signatures}})
    expected = None if allowed else number(Rule.THIRD_PARTY_OTHERWISE, version)
    assert facts.refusal(event) == expected


def test_changed_after_signing(version: RoomVersion) -> None:
    facts = room(version)
    event = invite(facts, {"signed": {**signed(), "more": 1}})
    assert facts.refusal(event) == number(Rule.THIRD_PARTY_OTHERWISE, version)
    event = invite(facts, {"signed": {**signed(), "unsigned": {"more": 1}}})
    assert facts.refusal(event) is None


def test_the_tries_are_bounded(version: RoomVersion) -> None:
    """An event has room for 300,000 pairs of keys and signatures, of which each costs 55 µs."""
    keys = [{"public_key": encode_base64(number_.to_bytes(32, "big"))} for number_ in range(600)]
    facts = room(version, public_keys=keys)
    signatures = {f"ed25519:{index}": "A" * 86 for index in range(500)}
    event = invite(facts, {"signed": {"mxid": USER, "token": TOKEN, "signatures": {"a": signatures}}})
    started = time.process_time()
    assert facts.refusal(event) == number(Rule.THIRD_PARTY_OTHERWISE, version)
    assert time.process_time() - started < 2
    assert MAX_TRIES == 100
