# SPDX-License-Identifier: Apache-2.0
"""The string formats, with the examples of the specification's appendices among the right ones."""

from __future__ import annotations

import pytest

from tests.contract.formats import STRING_FORMATS

HASH = "aB3-_" * 8 + "xyz"
OLD_HASH = "aB3+/" * 8 + "xyz"

RIGHT = [
    ("mx-server-name", "matrix.org"),
    ("mx-server-name", "matrix.org:8888"),
    ("mx-server-name", "1.2.3.4"),
    ("mx-server-name", "1.2.3.4:1234"),
    ("mx-server-name", "[1234:5678::abcd]"),
    ("mx-server-name", "[1234:5678::abcd]:5678"),
    ("mx-user-id", "@alice:example.org"),
    ("mx-user-id", "@UPPER ünicode:example.org:8448"),
    ("mx-user-id", "@:example.org"),
    ("mx-user-id", "@" + "a" * 242 + ":example.org"),
    ("mx-room-id", "!opaque:example.org"),
    ("mx-room-id", "!" + HASH),
    ("mx-event-id", "$opaque:example.org"),
    ("mx-event-id", "$" + HASH),
    ("mx-event-id", "$" + OLD_HASH),
    ("mx-room-alias", "#a room:example.org"),
    ("mx-mxc-uri", "mxc://example.org:1/abc_D-1"),
    ("mx-unpadded-base64", ""),
    ("mx-unpadded-base64", "+/+/YQ"),
    ("mx-urlsafe-unpadded-base64", "-_-_YQ"),
    ("uri", "https://matrix.example.org"),
    ("uri", "turn:turn.example.org:3478?transport=udp"),
    ("email", "alice@example.org"),
]
WRONG = [
    ("mx-server-name", ""),
    ("mx-server-name", "https://matrix.org"),
    ("mx-server-name", "matrix.org:"),
    ("mx-server-name", "matrix.org:999999"),
    ("mx-server-name", "1.2.3.400"),
    ("mx-server-name", "[1234::5678::abcd]"),
    ("mx-user-id", "alice:example.org"),
    ("mx-user-id", "@alice"),
    ("mx-user-id", "@al\0ice:example.org"),
    ("mx-user-id", "@al\ud800ice:example.org"),
    ("mx-user-id", "@" + "a" * 243 + ":example.org"),
    ("mx-user-id", "@" + "ü" * 122 + ":example.org"),
    ("mx-room-id", "#opaque:example.org"),
    ("mx-room-id", "!" + HASH[1:]),
    ("mx-room-id", "!" + OLD_HASH),
    ("mx-event-id", "$"),
    ("mx-event-id", HASH),
    ("mx-room-alias", "#room"),
    ("mx-mxc-uri", "https://example.org/abc"),
    ("mx-mxc-uri", "mxc://example.org/"),
    ("mx-mxc-uri", "mxc://example.org/a/b"),
    ("mx-unpadded-base64", "YQ=="),
    ("mx-unpadded-base64", "-_-_"),
    ("mx-unpadded-base64", "a"),
    ("mx-urlsafe-unpadded-base64", "+/+/"),
    ("uri", "/path"),
    ("uri", "https://example.org/a b"),
    ("email", "example.org"),
]


@pytest.mark.parametrize(("name", "text"), RIGHT)
def test_right(name: str, text: str) -> None:
    assert STRING_FORMATS[name](text)


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_wrong(name: str, text: str) -> None:
    assert not STRING_FORMATS[name](text)
