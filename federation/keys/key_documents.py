# SPDX-License-Identifier: Apache-2.0
"""What a server publishes about its keys: checking what others say, and saying it ourselves.

spec: server-server-api, "Publishing Keys", "Querying Keys Through Another Server"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from federation.rules.base64 import encode_base64
from federation.rules.canonical_json import MAX_INTEGER, encode_lenient
from federation.rules.errors import InvalidSignature, InvalidSigningKey, NotCanonicalJson
from federation.rules.key_validity import LONGEST_VALIDITY_MS, PublishedKey
from federation.rules.keys import decode_verify_key
from federation.rules.signing import SigningKey, sign_json, verify_json

LARGEST_DOCUMENT: Final = 64 * 1024
"""Bytes that the answer of one server may have."""

MOST_KEYS: Final = 256
"""Keys, old ones included, that the answer of one server may name."""

_KEY_ID = re.compile(r"ed25519:[a-zA-Z0-9_]{1,120}", re.ASCII)


class UnusableKeyDocument(Exception):
    """An answer with keys that cannot be believed or understood; `str()` says why."""


@attrs.frozen
class KeyDocument:
    """The checked answer of a server about its keys.

    `valid_until_ts` is in milliseconds and at most seven days after the answer came. `keys` are those of
    `verify_keys` with that validity, and of `old_verify_keys` with their `expired_ts`, which never lies in
    the future. `content` is the answer in JSON as it came, with all signatures.
    """

    server_name: str
    valid_until_ts: int
    keys: Mapping[str, PublishedKey]
    content: bytes = attrs.field(repr=False)


def read_key_document(value: Any, server_name: str, now_ms: int) -> KeyDocument:
    """Check what `server_name` is to have published: its form, its name, its signature by its own keys.

    Keys of other algorithms and those that cannot be read are left out. An answer that has expired is good
    for old events. Raises `UnusableKeyDocument`.
    """
    if not isinstance(value, dict):
        raise UnusableKeyDocument("it is no object")
    if value.get("server_name") != server_name:
        raise UnusableKeyDocument("it is of another server")
    valid_until = _timestamp(value.get("valid_until_ts"), "valid_until_ts")
    current, old = _keys_in(value, "verify_keys"), _keys_in(value, "old_verify_keys")
    if len(current) + len(old) > MOST_KEYS:
        raise UnusableKeyDocument(f"it names more than {MOST_KEYS} keys")
    content = _encoded(value)
    verify_keys = dict(_readable(current))
    _check_signature(value, server_name, verify_keys)
    valid_until = min(valid_until, now_ms + LONGEST_VALIDITY_MS)
    keys = {key_id: PublishedKey(key, valid_until) for key_id, key in verify_keys.items()}
    for key_id, key in _readable(old):
        if key_id not in keys:
            expired = _timestamp(old[key_id].get("expired_ts"), "expired_ts")
            keys[key_id] = PublishedKey(key, min(expired, now_ms))
    return KeyDocument(server_name, valid_until, keys, content)


def check_notary(value: Mapping[str, Any], notary: str, keys: Mapping[str, bytes]) -> None:
    """Check that `notary` has signed an answer of another server, by one of its `keys`.

    Raises `UnusableKeyDocument`.
    """
    _check_signature(value, notary, keys)


def _check_signature(value: Mapping[str, Any], server_name: str, keys: Mapping[str, bytes]) -> None:
    try:
        verify_json(value, server_name, keys)
    except (InvalidSignature, NotCanonicalJson) as error:
        raise UnusableKeyDocument(str(error)) from None


def _encoded(value: Mapping[str, Any]) -> bytes:
    try:
        content = encode_lenient(value)
    except NotCanonicalJson as error:
        raise UnusableKeyDocument(str(error)) from None
    if len(content) > LARGEST_DOCUMENT:
        raise UnusableKeyDocument(f"it is larger than {LARGEST_DOCUMENT} bytes")
    return content


def _timestamp(value: Any, member: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise UnusableKeyDocument(f"{member} is no time in milliseconds")
    return value


def _keys_in(value: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    keys = value.get(member, {})
    if not isinstance(keys, dict):
        raise UnusableKeyDocument(f"{member} is no object")
    return keys


def _readable(keys: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for key_id, described in keys.items():
        key = described.get("key") if isinstance(described, dict) else None
        if isinstance(key, str) and key.isascii() and _KEY_ID.fullmatch(key_id):
            try:
                yield key_id, decode_verify_key(key_id, key)
            except InvalidSigningKey:
                continue


class OwnKeys:
    """The keys of this server: `signing_keys`, the first of which signs, and those that once did.

    `old_keys` are valid until they expired. What is published counts for `refresh_interval_ms`.
    """

    def __init__(
        self,
        *,
        server_name: str,
        signing_keys: Sequence[SigningKey],
        old_keys: Mapping[str, PublishedKey],
        refresh_interval_ms: int,
    ) -> None:
        self.server_name = server_name
        self.signing_key = signing_keys[0]
        self._signing_keys = signing_keys
        current = {key.key_id for key in signing_keys}
        self._old_keys = {key_id: key for key_id, key in old_keys.items() if key_id not in current}
        self._interval = refresh_interval_ms
        self._document: dict[str, Any] = {}
        self._until = 0

    def document(self, now_ms: int) -> dict[str, Any]:
        """What is published, signed with each current key; it counts for half of the interval at least."""
        left = self._until - now_ms
        if not self._document or not self._interval // 2 <= left <= self._interval:
            self._until = now_ms + self._interval
            self._document = self._signed(self._until)
        return self._document

    def published(self, now_ms: int) -> dict[str, PublishedKey]:
        """All keys of this server by their ids, as others know them."""
        until = now_ms + min(self._interval, LONGEST_VALIDITY_MS)
        current = {key.key_id: PublishedKey(key.verify_key, until) for key in self._signing_keys}
        return {**self._old_keys, **current}

    def countersign(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of another server with our signature as a notary."""
        return sign_json(document, self.server_name, self.signing_key)

    def _signed(self, valid_until_ts: int) -> dict[str, Any]:
        document: dict[str, Any] = {
            "server_name": self.server_name,
            "valid_until_ts": valid_until_ts,
            "verify_keys": {key.key_id: {"key": encode_base64(key.verify_key)} for key in self._signing_keys},
            "old_verify_keys": {
                key_id: {"key": encode_base64(key.key), "expired_ts": key.valid_until_ts}
                for key_id, key in self._old_keys.items()
            },
        }
        for key in self._signing_keys:
            document = sign_json(document, self.server_name, key)
        return document
