# SPDX-License-Identifier: Apache-2.0
"""The keys that events and requests are signed with, and where others' keys come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from federation.rules.errors import InvalidSigningKey
from federation.rules.keys import decode_verify_key
from homeserver.config.addresses import ServerName
from homeserver.config.collections import ListOf, MapOf
from homeserver.config.keys import RecordOf, key, optional, required
from homeserver.config.kinds import Boolean, Integer, PathName
from homeserver.config.place import Place
from homeserver.config.quantities import Duration

KEY_ID = re.compile(r"ed25519:[a-zA-Z0-9_]+", re.ASCII)


@attrs.frozen
class KeyId:
    """The id of a signing key."""

    expected: str = attrs.field(default='a key id in quotes such as "ed25519:a_abcd"', init=False)

    def read(self, value: object, at: Place) -> str:
        if not isinstance(value, str) or not KEY_ID.fullmatch(value):
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen
class VerifyKey:
    """A public ed25519 key in base64, read into its 32 bytes."""

    expected: str = attrs.field(default="a public ed25519 key: 43 characters of base64", init=False)

    def read(self, value: object, at: Place) -> bytes:
        if not isinstance(value, str) or not value.isascii():
            raise at.wrong(value, self.expected)
        try:
            return decode_verify_key("ed25519:of_a_configuration", value)
        except InvalidSigningKey:
            raise at.wrong(value, self.expected) from None


@attrs.frozen(kw_only=True)
class OldSigningKey:
    """A key that this server signed with once."""

    key: bytes = required(
        VerifyKey(), """The public key in base64.""", example="bcuLHu0PfHyQiqEAKfYgj5YzKEGJ/sD4hfTBWDpRcR0"
    )
    expired_ts: int = required(
        Integer(), """When it was last used, in milliseconds since 1970.""", example=1700000000000
    )


@attrs.frozen(kw_only=True)
class TrustedKeyServer:
    """A server that is asked for the keys of others (a notary)."""

    server_name: str = required(ServerName(), """The server's name.""", example="matrix.org")
    verify_keys: Mapping[str, bytes] = key(
        MapOf(KeyId(), VerifyKey()),
        """Its public keys by their ids, for those who do not want to trust its certificate.""",
        default={},
    )
    accept_keys_insecurely: bool = key(
        Boolean(),
        """Whether its answers count although verify_keys is empty and federation_verify_certificates is
        false.""",
        default=False,
    )


@attrs.frozen(kw_only=True)
class SigningConfig:
    """Signing keys; durations in milliseconds."""

    signing_key_path: Path | None = optional(
        PathName(),
        """The file with the key that this server signs with. A missing one is made at the first start.
        Without this key, <server_name>.signing.key. Keep a copy in a safe place, and keep it secret.""",
        example="example.org.signing.key",
    )
    old_signing_keys: Mapping[str, OldSigningKey] = key(
        MapOf(KeyId(), RecordOf(OldSigningKey)),
        """Keys that this server signed with in the past, by their ids, so that old events can still be
        checked.""",
        default={},
        example={
            "ed25519:a_old1": {
                "key": "bcuLHu0PfHyQiqEAKfYgj5YzKEGJ/sD4hfTBWDpRcR0",
                "expired_ts": 1700000000000,
            }
        },
    )
    key_refresh_interval: int = key(
        Duration(minimum=1),
        """How long other servers may keep our keys before they ask again.""",
        default="1d",
    )
    trusted_key_servers: tuple[TrustedKeyServer, ...] = key(
        ListOf(RecordOf(TrustedKeyServer)),
        """Servers that are asked for the keys of others.""",
        default=[{"server_name": "matrix.org"}],
    )
