# SPDX-License-Identifier: Apache-2.0
"""The grammars of identifiers. spec: appendices, "Identifier Grammar"."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    check_event_id,
    check_no_nul,
    is_compliant,
    is_hash_id,
    is_id_with_server,
    is_standard_hash_id,
    is_user_id,
    new_user_id,
    parse_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    server_of,
)

SERVER_NAMES = [
    # spec: appendices, "Server Name"
    ("matrix.org", "matrix.org", None, False),
    ("matrix.org:8888", "matrix.org", 8888, False),
    ("1.2.3.4", "1.2.3.4", None, True),
    ("1.2.3.4:1234", "1.2.3.4", 1234, True),
    ("[1234:5678::abcd]", "1234:5678::abcd", None, True),
    ("[1234:5678::abcd]:5678", "1234:5678::abcd", 5678, True),
    ("localhost", "localhost", None, False),
    ("MATRIX.ORG", "MATRIX.ORG", None, False),
    ("[::]", "::", None, True),
    ("[::ffff:1.2.3.4]:1", "::ffff:1.2.3.4", 1, True),
    ("a-b.c:00001", "a-b.c", 1, False),
    # By the grammar of DNS names, and so accepted by other servers.
    ("1.2.3.999", "1.2.3.999", None, False),
    ("01.2.3.4", "01.2.3.4", None, False),
    ("a" * 255, "a" * 255, None, False),
]

BAD_SERVER_NAMES = [
    "",
    ":8448",
    "a:",
    "a:b",
    "a:123456",
    "a:-1",
    "a: 1",
    "a b",
    "a/b",
    "exämple.org",
    "a_b",
    "a\n",
    "a:1\n",
    "[::1",
    "::1",
    "[]",
    "[1.2.3.4]",
    "[fe80::1%eth0]",
    "[::1]8448",
    "[::1]:",
    "[::1]:x",
    "[:::1]",
    "[12345::]",
    "a" * 256,
    "a:١",
]


@pytest.mark.parametrize(("name", "host", "port", "is_ip_literal"), SERVER_NAMES)
def test_server_names(name: str, host: str, port: int | None, is_ip_literal: bool) -> None:
    assert parse_server_name(name) == ServerName(host=host, port=port, is_ip_literal=is_ip_literal)


@pytest.mark.parametrize("name", BAD_SERVER_NAMES)
def test_bad_server_names(name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_server_name(name)


@pytest.mark.parametrize("name", [case[0] for case in SERVER_NAMES if len(case[0]) < 250])
def test_user_ids_take_every_server_name(name: str) -> None:
    user_id = f"@a:{name}"
    assert parse_user_id(user_id) == UserId("a", name)
    assert is_user_id(user_id)
    assert server_of(user_id) == name


@pytest.mark.parametrize("name", BAD_SERVER_NAMES)
def test_user_ids_take_no_bad_server_name(name: str) -> None:
    assert not is_user_id(f"@a:{name}")
    with pytest.raises(InvalidIdentifier):
        parse_user_id(f"@a:{name}")


@pytest.mark.parametrize(
    ("localpart", "compliant"),
    [
        ("alice", True),
        ("a.b_c=d-e/f+g", True),
        ("UPPER", True),
        ("a@b#c!", True),
        ("~", True),
        ("", False),
        ("with space", False),
        ("日本", False),
        ("\x01\n\x7f", False),
        ("\U0001f600", False),
    ],
)
def test_historical_user_ids(localpart: str, compliant: bool) -> None:
    user_id = parse_user_id(f"@{localpart}:example.org")
    assert user_id == UserId(localpart, "example.org")
    assert is_user_id(f"@{localpart}:example.org")
    assert is_compliant(user_id) is compliant


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        "@",
        "@a",
        "a:example.org",
        "#a:example.org",
        "@a\0b:example.org",
        "@a:example.org\0",
        "@\ud800:example.org",
        "@a:b:c:d",
        "@" + "a" * 255 + ":b",
        "@" + "é" * 126 + ":bc",
    ],
)
def test_bad_user_ids(user_id: str) -> None:
    assert not is_user_id(user_id)
    with pytest.raises(InvalidIdentifier):
        parse_user_id(user_id)


def test_the_length_of_a_user_id_counts_bytes() -> None:
    longest = "@" + "é" * 126 + ":b"
    assert len(longest.encode()) == 255
    assert parse_user_id(longest).server_name == "b"
    assert is_user_id("@" + "a" * 252 + ":b")
    assert not is_user_id("@" + "a" * 253 + ":b")


@given(
    st.text(max_size=30)
    | st.from_regex(r"[@!#$][^:]{0,8}:[0-9A-Za-z.\[\]:-]{0,12}", fullmatch=True)
    | st.from_regex(r"@[a-z\0é]{0,4}:(\[[0-9a-f:]{1,6}\]|[a-z.0-9]{1,5})(:[0-9]{0,6})?", fullmatch=True)
)
@settings(max_examples=300)
def test_both_ways_to_judge_a_user_id_agree(text: str) -> None:
    try:
        parse_user_id(text)
    except InvalidIdentifier:
        assert not is_user_id(text)
    else:
        assert is_user_id(text)


@pytest.mark.parametrize("localpart", ["alice", "0", "a.b_c=d-e/f+g"])
def test_new_user_ids(localpart: str) -> None:
    assert new_user_id(localpart, "example.org:8448") == f"@{localpart}:example.org:8448"


def test_the_length_of_a_new_user_id() -> None:
    assert len(new_user_id("a" * 252, "b")) == 255
    with pytest.raises(InvalidIdentifier, match="longer than 255 bytes"):
        new_user_id("a" * 253, "b")


@pytest.mark.parametrize("localpart", ["", "Alice", "a b", "é", "a:b", "a\0", "a@b", "a\n", "a" * 255])
def test_bad_new_user_ids(localpart: str) -> None:
    with pytest.raises(InvalidIdentifier):
        new_user_id(localpart, "example.org")


@pytest.mark.parametrize(
    ("room_id", "parsed"),
    [
        ("!abc:example.org", RoomId("abc", "example.org")),
        ("!é\n:example.org:1", RoomId("é\n", "example.org:1")),
        (
            "!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ",
            RoomId("Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ", None),
        ),
    ],
)
def test_room_ids(room_id: str, parsed: RoomId) -> None:
    assert parse_room_id(room_id) == parsed


@pytest.mark.parametrize(
    "room_id",
    ["", "!", "abc", "#a:b", "!a\0:b", "!a\0", "!a:", "!a:b c", "!" + "a" * 255, "!" + "a" * 253 + ":b"],
)
def test_bad_room_ids(room_id: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_room_id(room_id)


def test_room_aliases() -> None:
    assert parse_alias("#日本 room:example.org") == RoomAlias("日本 room", "example.org")


@pytest.mark.parametrize("alias", ["", "#", "#a", "a:b", "!a:b", "#a\0:b", "#a:b c", "#" + "a" * 253 + ":b"])
def test_bad_room_aliases(alias: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_alias(alias)


@pytest.mark.parametrize("event_id", ["$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg", "$0:domain", "$é"])
def test_event_ids(event_id: str) -> None:
    check_event_id(event_id)


@pytest.mark.parametrize("event_id", ["", "$", "a", "!a", "$a\0", "$" + "a" * 255, "$\udfff"])
def test_bad_event_ids(event_id: str) -> None:
    with pytest.raises(InvalidIdentifier):
        check_event_id(event_id)


# The first is the example of the specification: rooms, version 1, "Event format".
@pytest.mark.parametrize(
    "event_id",
    ["$a4ecee13e2accdadf56c1025:example.com", "$143273582443PhrSn:[::1]:8448", "$é /:1.2.3.4", "$:a"],
)
def test_event_ids_with_a_server(event_id: str) -> None:
    assert is_id_with_server(event_id, "$")
    assert not is_id_with_server(event_id, "!")


@pytest.mark.parametrize(
    "event_id", ["", "$", "$a", "a:b", "!a:b", "$a:", "$a:b c", "$a\0:b", "$" + "a" * 253 + ":b", "$\udfff:b"]
)
def test_bad_event_ids_with_a_server(event_id: str) -> None:
    assert not is_id_with_server(event_id, "$")


@given(st.binary(min_size=32, max_size=32))
def test_hash_ids(digest: bytes) -> None:
    url_safe = "$" + urlsafe_b64encode(digest).decode().rstrip("=")
    standard = "$" + b64encode(digest).decode().rstrip("=")
    assert is_hash_id(url_safe, "$")
    assert is_standard_hash_id(standard, "$")
    assert is_hash_id(standard, "$") is is_standard_hash_id(url_safe, "$") is (standard == url_safe)


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "$",
        "!" + "A" * 43,
        "$" + "A" * 42,
        "$" + "A" * 44,
        "$" + "A" * 42 + "=",
        "$" + "+" * 41 + "_A",
        "$" + "A" * 42 + "B",
        "$" + "A" * 43 + "\n",
        "x$" + "A" * 43,
    ],
)
def test_what_is_no_hash_id(identifier: str) -> None:
    """`AB` would name the same bytes as `AA`: one id must have one spelling."""
    assert not is_hash_id(identifier, "$")
    assert not is_standard_hash_id(identifier, "$")


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InvalidIdentifier, match="a user id names its server after a colon: '@alice'"):
        parse_user_id("@alice")
    with pytest.raises(InvalidIdentifier, match="a room alias starts with '#'"):
        parse_alias("alice:example.org")


@pytest.mark.parametrize("text", ["alice", "#a", ""])
def test_what_names_no_server(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        server_of(text)


def test_nul_is_refused_by_name() -> None:
    check_no_nul("m.room.message", "the event type")
    with pytest.raises(InvalidIdentifier, match="the event type contains U\\+0000"):
        check_no_nul("m.room\0.message", "the event type")
