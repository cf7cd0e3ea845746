# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.keys.key_documents import (
    MOST_KEYS,
    OwnKeys,
    UnusableKeyDocument,
    check_notary,
    read_key_document,
)
from federation.rules.base64 import encode_base64
from federation.rules.canonical_json import decode_json
from federation.rules.key_validity import LONGEST_VALIDITY_MS, PublishedKey
from federation.rules.keys import signing_key_of_seed
from federation.rules.signing import sign_json, verify_json

NOW = 1_700_000_000_000
DAY = 24 * 3600 * 1000
KEY = signing_key_of_seed("one", b"1" * 32)
OTHER = signing_key_of_seed("two", b"2" * 32)
OLD = encode_base64(signing_key_of_seed("old", b"3" * 32).verify_key)


def document(*, signed: bool = True, **changes: Any) -> dict[str, Any]:
    """An answer of `a.test`, which signs it as a whole unless told otherwise."""
    value = {
        "server_name": "a.test",
        "valid_until_ts": NOW + DAY,
        "verify_keys": {KEY.key_id: {"key": encode_base64(KEY.verify_key)}},
        "old_verify_keys": {"ed25519:old": {"key": OLD, "expired_ts": NOW - DAY}},
        **changes,
    }
    return sign_json(value, "a.test", KEY) if signed else value


def test_a_good_answer() -> None:
    read = read_key_document(document(), "a.test", NOW)
    assert read.valid_until_ts == NOW + DAY
    assert read.keys[KEY.key_id] == PublishedKey(KEY.verify_key, NOW + DAY)
    assert read.keys["ed25519:old"].valid_until_ts == NOW - DAY
    assert decode_json(read.content) == document()


@pytest.mark.parametrize(
    ("changes", "key_id", "until"),
    [
        ({"valid_until_ts": NOW + 1000 * DAY}, KEY.key_id, NOW + LONGEST_VALIDITY_MS),
        ({"valid_until_ts": NOW - DAY}, KEY.key_id, NOW - DAY),
        ({"old_verify_keys": {"ed25519:old": {"key": OLD, "expired_ts": NOW + DAY}}}, "ed25519:old", NOW),
        # One that is said to be both is in use.
        (
            {"old_verify_keys": {KEY.key_id: {"key": encode_base64(KEY.verify_key), "expired_ts": 1}}},
            KEY.key_id,
            NOW + DAY,
        ),
    ],
)
def test_until_when_a_key_counts(changes: dict[str, Any], key_id: str, until: int) -> None:
    assert read_key_document(document(**changes), "a.test", NOW).keys[key_id].valid_until_ts == until


@pytest.mark.parametrize(
    "beside",
    [
        {"ed25519:short": {"key": encode_base64(b"x" * 31)}},
        {"ed25519:long": {"key": encode_base64(b"x" * 33)}},
        {"ed25519:no_base64": {"key": "!"}},
        {"ed25519:umlaut": {"key": "\u00fc"}},
        {"ed25519:no_object": 5},
        {"ed25519:none": {}},
        {"curve25519:other": {"key": OLD}},
        {"ed25519:bad-version": {"key": OLD}},
        {"ed25519:" + "x" * 500: {"key": OLD}},
        {"": {"key": OLD}},
    ],
)
def test_keys_that_cannot_be_read_are_left_out(beside: dict[str, Any]) -> None:
    keys = {KEY.key_id: {"key": encode_base64(KEY.verify_key)}, **beside}
    assert read_key_document(document(verify_keys=keys, old_verify_keys={}), "a.test", NOW).keys.keys() == {
        KEY.key_id
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "no object"),
        ([], "no object"),
        ({}, "another server"),
        (document(server_name="b.test"), "another server"),
        (document(server_name=["a.test"]), "another server"),
        (document(valid_until_ts="1"), "valid_until_ts"),
        (document(valid_until_ts=True), "valid_until_ts"),
        (document(valid_until_ts=-1), "valid_until_ts"),
        (document(valid_until_ts=2**53), "valid_until_ts"),
        (document(verify_keys=[]), "verify_keys"),
        (document(verify_keys={}), "unknown keys"),
        (document(old_verify_keys=7), "old_verify_keys"),
        (document(old_verify_keys={"ed25519:old": {"key": OLD}}), "expired_ts"),
        (document(signed=False), "there is none"),
        ({**document(), "valid_until_ts": NOW}, "wrong for the key"),
        (document(verify_keys={OTHER.key_id: {"key": encode_base64(OTHER.verify_key)}}), "unknown keys"),
        (document(verify_keys={KEY.key_id: {"key": encode_base64(OTHER.verify_key)}}), "wrong for the key"),
        (document(old_verify_keys={f"ed25519:{n}": {"key": OLD, "expired_ts": 1} for n in range(MOST_KEYS)}),
         "more than"),
        (document(more="x" * 70_000), "larger than"),
    ],
)  # fmt: skip
def test_what_is_not_believed(value: Any, told: str) -> None:
    with pytest.raises(UnusableKeyDocument, match=told):
        read_key_document(value, "a.test", NOW)


def test_a_notary_must_have_signed() -> None:
    signed = sign_json(document(), "notary.test", OTHER)
    check_notary(signed, "notary.test", {OTHER.key_id: OTHER.verify_key})
    read_key_document(signed, "a.test", NOW)
    for value, keys in (
        (document(), {OTHER.key_id: OTHER.verify_key}),
        (signed, {OTHER.key_id: KEY.verify_key}),
        (signed, {}),
    ):
        with pytest.raises(UnusableKeyDocument):
            check_notary(value, "notary.test", keys)


def own_keys(interval: int = DAY) -> OwnKeys:
    old = {"ed25519:old": PublishedKey(b"o" * 32, 77), OTHER.key_id: PublishedKey(b"o" * 32, 77)}
    return OwnKeys(
        server_name="me.test", signing_keys=[KEY, OTHER], old_keys=old, refresh_interval_ms=interval
    )


def test_our_own_answer() -> None:
    own = own_keys()
    value = own.document(NOW)
    read = read_key_document(value, "me.test", NOW)
    assert read.keys[KEY.key_id] == PublishedKey(KEY.verify_key, NOW + DAY)
    assert read.keys["ed25519:old"] == PublishedKey(b"o" * 32, 77)
    assert value["verify_keys"].keys() == {KEY.key_id, OTHER.key_id}
    assert value["old_verify_keys"].keys() == {"ed25519:old"}
    for key in (KEY, OTHER):
        verify_json(value, "me.test", {key.key_id: key.verify_key})
    assert own.published(NOW) == dict(read.keys)


@pytest.mark.parametrize(("later", "anew"), [(0, False), (DAY // 2, False), (DAY // 2 + 1, True), (-1, True)])
def test_our_own_answer_is_made_anew_before_it_expires(later: int, anew: bool) -> None:
    own = own_keys()
    first = own.document(NOW)
    second = own.document(NOW + later)
    assert (second["valid_until_ts"] == NOW + later + DAY) is (anew or later == 0)
    assert (second is not first) is anew


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4, unique=True),
    interval=st.integers(1, 30 * DAY),
    now=st.integers(0, 2**52),
)
def test_others_read_what_we_publish(seeds: list[bytes], interval: int, now: int) -> None:
    keys = [signing_key_of_seed(f"k{n}", seed) for n, seed in enumerate(seeds)]
    own = OwnKeys(server_name="me.test", signing_keys=keys, old_keys={}, refresh_interval_ms=interval)
    read = read_key_document(own.document(now), "me.test", now)
    assert {key_id: key.key for key_id, key in read.keys.items()} == {k.key_id: k.verify_key for k in keys}
    assert read.valid_until_ts == now + min(interval, LONGEST_VALIDITY_MS)
