# SPDX-License-Identifier: Apache-2.0
"""Query strings, path segments and bodies: what is accepted, and which error names what."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any, Literal
from urllib.parse import quote, quote_plus

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson
from federation.http.decoding import (
    body_decoder,
    check_depth,
    percent_decoded,
    query_decoder,
    query_value,
    utf8_text,
)
from federation.http.endpoint import JsonObject, NoBody, NoQuery


@attrs.frozen
class Messages:
    """The query of a request with all kinds of parameters."""

    dir: Literal["b", "f"]
    from_: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=0)] = 10
    full: bool = False
    via: list[str] = attrs.field(factory=list)
    at: int | None = None


@attrs.frozen
class Inner:
    """A member of a body."""

    name: str
    size: int = 0


@attrs.frozen
class Body:
    """A body with all kinds of members."""

    name: str
    inner: Inner | None = None
    many: list[Inner] = attrs.field(factory=list)
    by_name: dict[str, Inner] = attrs.field(factory=dict)
    count: int | None = None
    anything: Any = None


@attrs.frozen
class Optional:
    """A body that requires nothing."""

    reason: str | None = None


class Renamed(msgspec.Struct, frozen=True):
    """A body whose member is no identifier."""

    fully_read: str | None = msgspec.field(name="m.fully_read", default=None)


decode_messages = query_decoder(Messages)
decode_body = body_decoder(Body)
decode_object = body_decoder(JsonObject)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dir=b", Messages(dir="b")),
        ("&&dir=f&", Messages(dir="f")),
        ("dir=b&from=t1-2_3", Messages(dir="b", from_="t1-2_3")),
        ("dir=b&from=", Messages(dir="b", from_="")),
        ("dir=b&from=a%20b+c%2B", Messages(dir="b", from_="a b c+")),
        ("dir=b&from=%C3%A4", Messages(dir="b", from_="ä")),
        ("dir=b&from=1=2", Messages(dir="b", from_="1=2")),
        ("dir=b&from=null", Messages(dir="b", from_="null")),
        ("dir=b&limit=0", Messages(dir="b", limit=0)),
        ("dir=b&limit=25&limit=99", Messages(dir="b", limit=25)),
        ("dir=b&at=9007199254740991", Messages(dir="b", at=9007199254740991)),
        ("dir=b&full=true", Messages(dir="b", full=True)),
        ("dir=b&full=false", Messages(dir="b", full=False)),
        ("dir=b&via=a.org", Messages(dir="b", via=["a.org"])),
        ("dir=b&via=a.org&via=b.org", Messages(dir="b", via=["a.org", "b.org"])),
        ("dir=b&unknown=%FF%00", Messages(dir="b")),
    ],
)
def test_query(query: str, expected: Messages) -> None:
    assert decode_messages(query.encode()) == expected


@pytest.mark.parametrize(
    ("query", "error", "names"),
    [
        ("", MissingParam, "dir"),
        ("dir", InvalidParam, "dir"),
        ("dir=x", InvalidParam, "dir"),
        ("dir=b&limit=", InvalidParam, "limit"),
        ("dir=b&limit=ten", InvalidParam, "limit"),
        ("dir=b&limit=-1", InvalidParam, "limit"),
        ("dir=b&limit=1_0", InvalidParam, "limit"),
        ("dir=b&limit=%D9%A1", InvalidParam, "limit"),
        ("dir=b&limit=" + "9" * 30, InvalidParam, "limit"),
        ("dir=b&at=9007199254740992", InvalidParam, "at"),
        ("dir=b&at=-9007199254740992", InvalidParam, "at"),
        ("dir=b&at=" + "1" * 9000, InvalidParam, "at"),
        ("dir=b&full=yes", InvalidParam, "full"),
        ("dir=b&from=%", InvalidParam, "from"),
        ("dir=b&from=%4", InvalidParam, "from"),
        ("dir=b&from=%zz", InvalidParam, "from"),
        ("dir=b&from=%FF", InvalidParam, "from"),
        ("dir=b&from=%ED%A0%80", InvalidParam, "from"),
        ("dir=b&from=a%00b", InvalidParam, "from"),
        ("dir=b&via=%FF", InvalidParam, "via"),
    ],
)
def test_query_refused(query: str, error: type[MatrixError], names: str) -> None:
    with pytest.raises(error) as raised:
        decode_messages(query.encode())
    assert f"Query parameter {names}" in raised.value.message


def test_no_query_is_not_looked_at() -> None:
    assert query_decoder(NoQuery)(b"%FF&x=%zz") == NoQuery()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@settings(max_examples=60)
def test_text_survives_the_query(text: str) -> None:
    assert decode_messages(f"dir=b&from={quote_plus(text)}".encode()).from_ == text
    assert query_value(f"a=b&from={quote_plus(text)}".encode(), "from") == text
    assert percent_decoded(quote(text, safe=""), "It") == text


@given(st.binary())
@settings(max_examples=100)
def test_any_query_gives_a_value_or_a_matrix_error(query: bytes) -> None:
    for start in (b"", b"dir=b&from=", b"dir=b&limit=", b"dir=b&full=", b"dir=b&via="):
        with contextlib.suppress(InvalidParam, MissingParam):
            decode_messages(start + query)


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"a\0"])
def test_segment_refused(raw: bytes) -> None:
    with pytest.raises(InvalidParam, match="The path"):
        utf8_text(raw, "The path")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"name": "x"}', Body(name="x")),
        (b' {"name": "x", "unknown": [1], "": null}\r\n', Body(name="x")),
        (b'{"name": "x", "name": "y"}', Body(name="y")),
        (b'{"name": "\\u00e4\\ud83d\\ude00"}', Body(name="ä😀")),
        (b'{"name": "\\\\u0000"}', Body(name="\\u0000")),
        (b'{"name": "x", "inner": {"name": "y"}}', Body(name="x", inner=Inner("y"))),
        (b'{"name": "x", "count": 9007199254740991}', Body(name="x", count=9007199254740991)),
        (b'{"name": "x", "anything": 9007199254740992}', Body(name="x", anything=9007199254740992)),
    ],
)
def test_body(content: bytes, expected: Body) -> None:
    assert decode_body(content) == expected


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", NotJson, "empty"),
        (b" \n", NotJson, "empty"),
        (b"{", NotJson, ""),
        (b"[1", NotJson, ""),
        (b'{"name": 5', NotJson, ""),
        (b'{"name": "x"} {}', NotJson, ""),
        (b'{"name": NaN}', NotJson, ""),
        (b'{"name": "x", "anything": Infinity}', NotJson, ""),
        (b'{"name": "\xff"}', NotJson, "UTF-8"),
        (b'{"name": "\\ud800"}', NotJson, ""),
        (b'{"name": "\\ud800x"}', NotJson, ""),
        (b'{"name": "\\udc00\\ud800"}', NotJson, ""),
        (b'{"name": "\xed\xa0\x80"}', NotJson, "UTF-8"),
        (b'{"name": "a\nb"}', NotJson, ""),
        (b"\xef\xbb\xbf{}", NotJson, ""),
        ('{"name": "x"}'.encode("utf-16"), NotJson, ""),
        (b"name=x", NotJson, ""),
        (b"[]", BadJson, "object"),
        (b"null", BadJson, "object"),
        (b'"name"', BadJson, "object"),
        (b"1e999", BadJson, ""),
        (b"{}", MissingParam, "name is missing"),
        (b'{"name": "x", "inner": {}}', MissingParam, "inner.name is missing"),
        (b'{"name": "x", "many": [{"name": "y"}, {}]}', MissingParam, "many[1].name is missing"),
        (b'{"name": 5}', BadJson, "name: "),
        (b'{"name": null}', BadJson, "name: "),
        (b'{"name": "x", "inner": {"name": []}}', BadJson, "inner.name: "),
        (b'{"name": "x", "count": 1.5}', BadJson, "count: "),
        (b'{"name": "x", "count": true}', BadJson, "count: "),
        (b'{"name": "x", "count": 9007199254740992}', BadJson, "count: "),
        (b'{"name": "x", "count": -9223372036854775809}', BadJson, "count: "),
        (b'{"name": "x", "many": [{"name": "y", "size": 1e16}]}', BadJson, "many[0].size: "),
        (b'{"name": "x", "many": [{"name": "y", "size": 9223372036854775808}]}', BadJson, "many[0].size: "),
        (
            b'{"name": "x", "by_name": {"k": {"name": "y", "size": 9223372036854775808}}}',
            BadJson,
            "by_name.k.size: ",
        ),
        (b'{"name": "x", "anything": 1e999}', BadJson, ""),
        (b'{"name": "a\\u0000"}', BadJson, "U+0000"),
        (b'{"name": "x", "anything": {"\\\\\\u0000": 1}}', BadJson, "U+0000"),
        (b'{"name": "x", "anything": ' + b"[" * 300 + b"]" * 300 + b"}", BadJson, "deep"),
        (b'{"anything":' * 100_000, BadJson, "deep"),
    ],
)
def test_body_refused(content: bytes, error: type[MatrixError], says: str) -> None:
    with pytest.raises(error) as raised:
        decode_body(content)
    assert type(raised.value) is error
    assert says in raised.value.message


@pytest.mark.parametrize("content", [b"", b"  ", b"{}"])
def test_no_body_is_an_empty_object_where_nothing_is_required(content: bytes) -> None:
    assert body_decoder(Optional)(content) == Optional()
    assert decode_object(content) == {}
    assert body_decoder(Renamed)(content) == Renamed()


def test_no_body_is_not_looked_at() -> None:
    assert body_decoder(NoBody)(b"\xff{") == NoBody()


def test_members_whose_names_are_no_identifiers() -> None:
    assert body_decoder(Renamed)(b'{"m.fully_read": "$x"}') == Renamed(fully_read="$x")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"body": "a\\u0000"}', {"body": "a\0"}),
        (b'{"n": 9223372036854775808, "f": 1.5, "m": -0.0}', {"n": 9223372036854775808, "f": 1.5, "m": -0.0}),
        (b'{"__proto__": null, "": {}}', {"__proto__": None, "": {}}),
    ],
)
def test_an_object_is_kept_as_it_came(content: bytes, expected: dict[str, Any]) -> None:
    assert decode_object(content) == expected


@pytest.mark.parametrize(("content", "error"), [(b"[]", BadJson), (b"5", BadJson), (b"x", NotJson)])
def test_object_refused(content: bytes, error: type[MatrixError]) -> None:
    with pytest.raises(error):
        decode_object(content)


@pytest.mark.parametrize(
    ("content", "deep"),
    [
        (b"[" * 256 + b"]" * 256, False),
        (b"[" * 257 + b"]" * 257, True),
        (b'{"a":' * 256 + b"1" + b"}" * 256, False),
        (b'{"a":' * 257 + b"1" + b"}" * 257, True),
        (b"[[]," * 128 + b"1" + b"]" * 128, False),
        (b"[" + b"{}," * 5000 + b"{}]", False),
        (b'["' + b"[" * 5000 + b'"]', False),
        (b'["' + b'\\"[' * 5000 + b'"]', False),
        (b'["\\\\"' + b",[" * 300 + b"]" * 301, True),
        (b"]" * 1000 + b"[" * 300, False),  # malformed, the decoder says so
        (b"[" * 1000, True),
    ],
)
def test_depth(content: bytes, deep: bool) -> None:
    if deep:
        with pytest.raises(BadJson):
            check_depth(content)
    else:
        check_depth(content)


texts = st.text('aä😀\\"\0\u2028/ {}[]', max_size=10)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, json_values, max_size=5))
@settings(max_examples=80)
def test_json_survives(value: dict[str, Any]) -> None:
    assert decode_object(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0den1.-e', max_size=40).map(str.encode))
@settings(max_examples=200)
def test_any_body_gives_a_value_or_a_matrix_error(content: bytes) -> None:
    for decode in (decode_body, decode_object):
        with contextlib.suppress(NotJson, BadJson, MissingParam):
            decode(content)


def test_a_member_that_nobody_asked_for_must_be_utf8_too() -> None:
    @attrs.frozen
    class Named:
        name: str

    with pytest.raises(NotJson):
        body_decoder(Named)(b'{"name":"a","other":"\xff"}')
