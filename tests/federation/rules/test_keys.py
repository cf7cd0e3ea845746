# SPDX-License-Identifier: Apache-2.0
"""Signing-key files and verification keys, held to `signedjson`."""

from __future__ import annotations

import io

import pytest
import signedjson.key

from federation.rules.errors import InvalidSigningKey
from federation.rules.keys import (
    decode_signing_keys,
    decode_verify_key,
    encode_signing_key,
    generate_signing_key,
    signing_key_of_seed,
)

SEED = bytes(range(32))


def test_a_key_file_is_what_signedjson_reads_and_writes() -> None:
    ours = generate_signing_key("a_abcd")
    (theirs,) = signedjson.key.read_signing_keys([encode_signing_key(ours)])
    assert bytes(theirs) == bytes(ours.key)
    assert (theirs.alg, theirs.version) == (ours.algorithm, ours.version)
    written = io.StringIO()
    signedjson.key.write_signing_keys(written, [theirs])
    assert written.getvalue() == encode_signing_key(ours)
    (read,) = decode_signing_keys(written.getvalue())
    assert (read.key_id, read.secret, read.verify_key) == ("ed25519:a_abcd", ours.secret, ours.verify_key)


def test_a_key_file_of_several_keys() -> None:
    one, two = signing_key_of_seed("1", SEED), generate_signing_key("two")
    text = f"\n{encode_signing_key(one)}\n  {encode_signing_key(two)}"
    assert [key.key_id for key in decode_signing_keys(text)] == ["ed25519:1", "ed25519:two"]
    assert decode_signing_keys("") == ()


def test_generated_keys_differ_and_keep_their_secret_to_themselves() -> None:
    one, two = generate_signing_key("1"), generate_signing_key("1")
    assert one.secret != two.secret
    assert repr(one.secret) not in repr(one)
    assert repr(one.key) not in repr(one)


@pytest.mark.parametrize(
    "text",
    [
        "ed25519 a",
        "ed25519 a b c",
        "rsa a AAAA",
        "ed25519 a ????",
        "ed25519 a AAAA",
        "ed25519 a-b " + "A" * 43,
        "ed25519 a:b " + "A" * 43,
    ],
)
def test_bad_key_files(text: str) -> None:
    with pytest.raises(InvalidSigningKey):
        decode_signing_keys(text)


def test_a_bad_version_of_a_new_key() -> None:
    with pytest.raises(InvalidSigningKey):
        generate_signing_key("")


def test_verification_keys() -> None:
    key = signing_key_of_seed("1", SEED)
    (theirs,) = signedjson.key.read_signing_keys([encode_signing_key(key)])
    published = signedjson.key.encode_verify_key_base64(signedjson.key.get_verify_key(theirs))
    assert decode_verify_key("ed25519:1", published) == key.verify_key


@pytest.mark.parametrize(
    ("key_id", "key"),
    [("rsa:1", "A" * 43), ("", "A" * 43), ("ed25519:1", "?"), ("ed25519:1", "AAAA"), ("ed25519:1", "")],
)
def test_bad_verification_keys(key_id: str, key: str) -> None:
    with pytest.raises(InvalidSigningKey):
        decode_verify_key(key_id, key)
