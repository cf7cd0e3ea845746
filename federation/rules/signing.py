# SPDX-License-Identifier: Apache-2.0
"""Signing JSON and events, and checking signatures.

spec: appendices, "Signing JSON"; server-server-api, "Signing Events".
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import attrs
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey as NaclKey

from federation.rules.base64 import decode_base64, encode_base64
from federation.rules.canonical_json import decode_json, encode_lenient
from federation.rules.errors import InvalidSignature
from federation.rules.event_format import check_size, check_unsigned_format, event_of
from federation.rules.event_json import check_json, encode_event
from federation.rules.hashing import content_hash, event_id_of_hash, signed_bytes
from federation.rules.identifiers import server_of
from federation.rules.room_versions import IN_PDU, RoomVersion
from storage.event import Event

ALGORITHM = "ed25519"

_NOT_HASHED = frozenset({"hashes", "signatures", "unsigned"})
_NOT_SIGNED = frozenset({"signatures", "unsigned"})

_OPAQUE_ID_SIZE = 24  # random bytes


@attrs.frozen(eq=False)
class SigningKey:
    """An ed25519 key of this server: `version` names it, as in `ed25519:a_abcd`; `key` is PyNaCl's.

    `secret` (64 bytes) and `verify_key` (32 bytes) are what signing and checking take.
    """

    version: str
    key: NaclKey = attrs.field(repr=False)
    algorithm: str = attrs.field(default=ALGORITHM, init=False)
    key_id: str = attrs.field(init=False)
    verify_key: bytes = attrs.field(init=False)
    secret: bytes = attrs.field(init=False, repr=False)

    @key_id.default
    def _key_id(self) -> str:
        return f"{self.algorithm}:{self.version}"

    @verify_key.default
    def _verify_key(self) -> bytes:
        return bytes(self.key.verify_key)

    @secret.default
    def _secret(self) -> bytes:
        return bytes(self.key) + self.verify_key


def sign_json(value: Mapping[str, Any], server_name: str, key: SigningKey) -> dict[str, Any]:
    """`value` with the signature of `server_name` added to its `signatures`; `value` itself stays as it is.

    spec: appendices, "Signing Details". Raises `NotCanonicalJson`.
    """
    signature = _sign(_bytes_to_sign(value), key)
    return {
        **value,
        "signatures": _with_signature(value.get("signatures"), server_name, key.key_id, signature),
    }


def verify_json(value: Mapping[str, Any], server_name: str, keys: Mapping[str, bytes]) -> None:
    """Check the signatures of `server_name` on `value`, by its verification keys: key id → 32 bytes.

    Signatures by other keys are skipped; at least one must be by a key of `keys`, and all that are must hold.
    spec: appendices, "Checking for a Signature". Raises `InvalidSignature`, `NotCanonicalJson`.
    """
    _verify(_bytes_to_sign(value), value.get("signatures"), server_name, keys)


def sign_event(
    pdu: Mapping[str, Any], server_name: str, key: SigningKey, version: RoomVersion
) -> dict[str, Any]:
    """`pdu` with its content hash as `hashes`, and the signature of `server_name` added to its `signatures`.

    spec: server-server-api, "Adding hashes and signatures to outgoing events". Raises `NotCanonicalJson`.
    """
    hashed = {**pdu, "hashes": {"sha256": encode_base64(content_hash(pdu, version))}}
    signature = _sign(signed_bytes(hashed, version), key)
    hashed["signatures"] = _with_signature(pdu.get("signatures"), server_name, key.key_id, signature)
    return hashed


def countersign_event(event: Event, server_name: str, key: SigningKey, version: RoomVersion) -> Event:
    """`event` with the signature of `server_name` added, as for an invite or a restricted join.

    Raises `EventTooLarge` when the signature does not fit.
    """
    pdu = decode_json(event.json)
    signature = _sign(signed_bytes(pdu, version), key)
    pdu["signatures"] = _with_signature(pdu.get("signatures"), server_name, key.key_id, signature)
    json = encode_event(pdu, version)
    check_size(json)
    return attrs.evolve(event, json=json)


def verify_event_signature(
    pdu: Mapping[str, Any], server_name: str, keys: Mapping[str, bytes], version: RoomVersion
) -> None:
    """Check the signatures of `server_name` on the redacted form of the well-formed `pdu`.

    `keys` holds those keys of the server that count for this event, by the validity that its room asks for.
    spec: server-server-api, "Validating hashes and signatures on received events".
    Raises `InvalidSignature`, `NotCanonicalJson`.
    """
    _verify(signed_bytes(pdu, version), pdu.get("signatures"), server_name, keys)


def required_signatures(event: Event, version: RoomVersion) -> frozenset[str]:
    """The servers without whose signatures an event is dropped.

    That is the sender's, unless the event is an invite by a third-party identifier, which the invited user's
    server may send; and where event ids name a server, that one in any case.
    spec: server-server-api, "Validating hashes and signatures on received events";
    rooms, version 3, "Authorisation rules".
    """
    required = frozenset() if _is_third_party_invite(event) else frozenset({server_of(event.sender)})
    return required | {server_of(event.event_id)} if version.event_id_format is IN_PDU else required


def _is_third_party_invite(event: Event) -> bool:
    content = event.content
    return (
        event.type == "m.room.member"
        and content.get("membership") == "invite"
        and "third_party_invite" in content
    )


def join_authoriser_server(event: Event, version: RoomVersion) -> str | None:
    """The server of `content.join_authorised_via_users_server`, whose signature the rules ask for.

    spec: rooms, "Authorisation rules", 4.2 (version 11), 5.2 (version 12).
    """
    if event.type != "m.room.member" or not version.restricted:
        return None
    authoriser = event.content.get("join_authorised_via_users_server")
    return server_of(authoriser) if isinstance(authoriser, str) and ":" in authoriser else None


def build_event(
    fields: dict[str, Any],
    version: RoomVersion,
    server_name: str,
    key: SigningKey,
    *,
    reference_hashes: Mapping[str, bytes] | None = None,
    opaque_id: str | None = None,
) -> Event:
    """Hash and sign a new event of this server, and give it its id.

    `fields` are the PDU's members without `hashes`, `signatures` and `unsigned` (and without `room_id` for a
    create event of version 12). They belong to the event from here on: `content` is not copied.
    `prev_events` and `auth_events` are event ids in every version. Where the version writes hashes beside
    them (1 and 2), `reference_hashes` must have that of each, 32 bytes by `hashing.reference_hash`; the
    event's id is `$opaque_id:server_name` there, random unless it is given.
    Raises `InvalidEventFormat` (`EventTooLarge`), `NotCanonicalJson`, `TooDeep`; `ValueError` where the
    caller gives one of those three members, or not all hashes.
    """
    if not _NOT_HASHED.isdisjoint(fields):
        raise ValueError("an event that is built has no hashes, signatures or unsigned yet")
    if version.references_have_hashes:
        fields = _with_reference_hashes(fields, reference_hashes or {})
    if version.event_id_format is IN_PDU:
        opaque_id = token_urlsafe(_OPAQUE_ID_SIZE) if opaque_id is None else opaque_id
        fields = {**fields, "event_id": f"${opaque_id}:{server_name}"}
    check_json(fields, version)
    check_unsigned_format(fields, version)
    hashed = sha256(encode_event(fields, version)).digest()
    pdu = {**fields, "hashes": {"sha256": encode_base64(hashed)}}
    # The same bytes are signed and make the event's id.
    signed = signed_bytes(pdu, version)
    pdu["signatures"] = {server_name: {key.key_id: encode_base64(_sign(signed, key))}}
    json = encode_event(pdu, version)
    check_size(json)
    if version.event_id_format is IN_PDU:
        event_id = pdu["event_id"]
    else:
        event_id = event_id_of_hash(sha256(signed).digest(), version)
    return event_of(pdu, json, event_id, version)


def _with_reference_hashes(fields: Mapping[str, Any], hashes: Mapping[str, bytes]) -> dict[str, Any]:
    """`fields` with `[event id, {"sha256": reference hash}]` for every event id that they refer to."""
    references = {
        member: [[event_id, {"sha256": _hash_of(event_id, hashes)}] for event_id in fields[member]]
        for member in ("prev_events", "auth_events")
    }
    return {**fields, **references}


def _hash_of(event_id: str, hashes: Mapping[str, bytes]) -> str:
    digest = hashes.get(event_id)
    if digest is None:
        raise ValueError(f"the reference hash of {event_id} is not given")
    return encode_base64(digest)


def verify_signature(message: bytes, signature: bytes, key: bytes) -> bool:
    """Whether `signature` is that of `message` by the ed25519 verification key `key`."""
    if len(signature) != crypto_sign_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, key)
    except (CryptoError, ValueError):
        return False
    return True


def _bytes_to_sign(value: Mapping[str, Any]) -> bytes:
    # Bodies of requests hold events, and those of old room versions may hold any JSON.
    return encode_lenient({key: item for key, item in value.items() if key not in _NOT_SIGNED})


def _sign(message: bytes, key: SigningKey) -> bytes:
    return crypto_sign(message, key.secret)[:crypto_sign_BYTES]


def _with_signature(signatures: Any, server_name: str, key_id: str, signature: bytes) -> dict[str, Any]:
    """`signatures` with one more. What stands there and is no object is dropped: it signs nothing."""
    of_all = signatures if isinstance(signatures, dict) else {}
    of_server = of_all.get(server_name)
    own = of_server if isinstance(of_server, dict) else {}
    return {**of_all, server_name: {**own, key_id: encode_base64(signature)}}


def _verify(message: bytes, signatures: Any, server_name: str, keys: Mapping[str, bytes]) -> None:
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    if not isinstance(of_server, dict) or not of_server:
        raise InvalidSignature(server_name, "there is none")
    known = [key_id for key_id in of_server if key_id in keys and key_id.partition(":")[0] == ALGORITHM]
    if not known:
        raise InvalidSignature(server_name, "made with unknown keys only")
    for key_id in known:
        signature = of_server[key_id]
        try:
            decoded = decode_base64(signature) if isinstance(signature, str) else b""
        except ValueError:
            decoded = b""
        if not verify_signature(message, decoded, keys[key_id]):
            raise InvalidSignature(server_name, f"wrong for the key {key_id}")
