# SPDX-License-Identifier: Apache-2.0
"""Invites by a third-party identifier. spec: server-server-api, "Verifying the invite"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from federation.rules.auth.refusal import refused
from federation.rules.auth.state import AuthState
from federation.rules.base64 import decode_base64
from federation.rules.canonical_json import encode_lenient
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from federation.rules.signing import ALGORITHM, verify_signature
from storage.event import Event

# Each try costs 55 µs, and an event has room for hundreds of thousands of pairs.
MAX_TRIES = 100


def check_third_party_invite(event: Event, target: str, state: AuthState, version: RoomVersion) -> None:
    """Check an invite whose `content` has `third_party_invite`: 4.4.1 of version 11, 5.4.1 of version 12.

    Raises `AuthRefused`.
    """
    # .1: the target must not be banned.
    if state.membership(target) == "ban":
        raise refused(version, Rule.THIRD_PARTY_TARGET_BANNED, f"{target} is banned")
    # .2: there must be a `signed`.
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if type(invite) is dict else None
    if type(signed) is not dict:
        raise refused(version, Rule.THIRD_PARTY_NOT_SIGNED, "`third_party_invite` has no `signed`")
    # .3: with `mxid` and `token`.
    mxid, token = signed.get("mxid"), signed.get("token")
    if type(mxid) is not str or type(token) is not str:
        raise refused(version, Rule.THIRD_PARTY_SIGNED_SHAPE, "`signed` has no `mxid` or no `token`")
    # .4: `mxid` must be the target.
    if mxid != target:
        raise refused(version, Rule.THIRD_PARTY_OTHER_USER, f"the invite was signed for {mxid}")
    # .5: the room must know the token.
    pending = state.third_party_invite(token)
    if pending is None:
        raise refused(version, Rule.THIRD_PARTY_UNKNOWN_TOKEN, "the room knows of no such invite")
    # .6: both must have one sender.
    if event.sender != pending.sender:
        raise refused(version, Rule.THIRD_PARTY_OTHER_SENDER, f"{pending.sender} made this invite")
    # .7: one signature must be by one of the public keys.
    if not _is_signed(signed, pending.content):
        raise refused(version, Rule.THIRD_PARTY_OTHERWISE, "no signature matches the invite's public keys")


def _is_signed(signed: Mapping[str, Any], pending: Mapping[str, Any]) -> bool:
    message = encode_lenient({k: v for k, v in signed.items() if k not in ("signatures", "unsigned")})
    pairs = product(_signatures(signed.get("signatures")), set(_public_keys(pending)))
    return any(verify_signature(message, signature, key) for signature, key in islice(pairs, MAX_TRIES))


def _signatures(signatures: Any) -> Iterator[bytes]:
    """The ed25519 signatures of whatever entities, as far as they are well formed."""
    for of_entity in signatures.values() if type(signatures) is dict else ():
        for key_id, signature in of_entity.items() if type(of_entity) is dict else ():
            if key_id.startswith(f"{ALGORITHM}:"):
                yield from _decoded(signature)


def _public_keys(pending: Mapping[str, Any]) -> Iterator[bytes]:
    """.7.1 and .7.2: the keys in `public_key` and in `public_keys`."""
    yield from _decoded(pending.get("public_key"))
    several = pending.get("public_keys")
    for entry in several if type(several) is list else ():
        if type(entry) is dict:
            yield from _decoded(entry.get("public_key"))


def _decoded(text: Any) -> Iterator[bytes]:
    if type(text) is str:
        try:
            yield decode_base64(text)
        except ValueError:
            return
