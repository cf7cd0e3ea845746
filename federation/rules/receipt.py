# SPDX-License-Identifier: Apache-2.0
"""The first checks on what another server sent: format, signatures, content hash.

spec: server-server-api, "Checks performed on receipt of a PDU", 1 to 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.rules.canonical_json import decode_json
from federation.rules.errors import InvalidSignature
from federation.rules.event_format import parse_pdu
from federation.rules.hashing import content_hash_holds
from federation.rules.redaction import redact_event
from federation.rules.room_versions import RoomVersion
from federation.rules.signing import join_authoriser_server, required_signatures, verify_event_signature
from storage.event import Event

KeysOf = Mapping[str, Mapping[str, bytes]]
"""Of each server the verification keys that count for an event: key id → 32 bytes.

Which count says `key_validity.keys_for_event`.
"""


def receive_pdu(pdu: Mapping[str, Any], version: RoomVersion, keys_of: KeysOf) -> Event:
    """The event that the PDU `pdu` is, redacted where its content hash does not hold; without `unsigned`.

    The event is to be dropped when this raises: `InvalidEventFormat` (`EventTooLarge`), `NotCanonicalJson`,
    `TooDeep` for its format, `InvalidSignature` where a server that must have signed it has not.
    """
    # 1: a valid event.
    event = parse_pdu(pdu, version)
    # 2: signed by whoever must have.
    for server_name in sorted(required_signatures(event, version)):
        verify_event_signature(pdu, server_name, keys_of.get(server_name, {}), version)
    # 3: with the content that was signed, or else without.
    return event if content_hash_holds(pdu, version) else redact_event(event, version)


def is_join_authorised(event: Event, version: RoomVersion, keys_of: KeysOf) -> bool:
    """Whether the server of `content.join_authorised_via_users_server` validly signed the event.

    False where no such server is named. The authorisation rules ask for it, see `check_auth`: without it an
    event is rejected and not dropped.
    """
    server_name = join_authoriser_server(event, version)
    if server_name is None:
        return False
    try:
        verify_event_signature(decode_json(event.json), server_name, keys_of.get(server_name, {}), version)
    except InvalidSignature:
        return False
    return True
