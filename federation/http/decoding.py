# SPDX-License-Identifier: Apache-2.0
"""Query strings, path segments and JSON bodies into values, with errors that name what is wrong.

Decoders are built once per endpoint. Whatever a stranger sends, they raise nothing but the errors of
`federation/errors.py`.
"""

from __future__ import annotations

import itertools
import operator
import re
import typing
from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from federation.errors import BadJson, InvalidParam, MissingParam, NotJson
from federation.http.endpoint import JsonObject, NoBody, NoQuery
from federation.http.integers import LARGEST, integer_check
from federation.rules.canonical_json import MAX_DEPTH

T = TypeVar("T")

_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MISSING = re.compile(
    r"^Object missing required field `(?P<name>[^`]*)`(?: - at `\$\.?(?P<at>.*)`)?$", re.DOTALL
)
_INVALID = re.compile(r"^(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<at>.*)`)?$", re.DOTALL)
# A backslash before U+0000 that is not itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Possessive, and an unterminated string reaches to the end: linear whatever the input.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TWO_OR_NOTHING = bytes.maketrans(b"[{]}", b"\x02\x02\x00\x00")


def utf8_text(raw: bytes, what: str) -> str:
    """The text that `raw` is in UTF-8. Raises InvalidParam, whose message begins with `what`."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidParam(f"{what} is not UTF-8") from None
    if "\0" in text:
        raise InvalidParam(f"{what} holds the character U+0000")
    return text


def percent_decoded(text: str, what: str) -> str:
    """`text` without its percent-encoding. Raises InvalidParam, whose message begins with `what`."""
    if _MALFORMED_ESCAPE.search(text):
        raise InvalidParam(f"{what} holds a percent sign that two hexadecimal digits do not follow")
    return utf8_text(unquote_to_bytes(text), what)


def query_value(query: bytes, name: str) -> str | None:
    """The first value of the parameter `name`; None if it is not there. Raises InvalidParam."""
    encoded = name.encode()
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == encoded:
            return _query_text(value, f"Query parameter {name}")
    return None


def _query_text(value: bytes, what: str) -> str:
    text = utf8_text(value, what)
    if "+" in text:
        text = text.replace("+", " ")
    return percent_decoded(text, what) if "%" in text else text


def query_decoder(kind: type[T]) -> Callable[[bytes], T]:
    """A function that decodes query strings into `kind`.

    It raises MissingParam and InvalidParam. Where a parameter is repeated and `kind` takes one value, the
    first counts. Integers beyond ±(2^53 - 1) are refused.
    """
    if kind is NoQuery:
        nothing = kind()
        return lambda _query: nothing
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in attrs.fields(cast(type[attrs.AttrsInstance], kind))]
    labels = {name: f"Query parameter {name.rstrip('_')}" for name in names}
    lists = {name for name in names if _takes_list(hints[name])}
    by_parameter = {name.rstrip("_").encode(): (name, name in lists) for name in names}
    check = integer_check(kind)

    def decode(query: bytes) -> T:
        values: dict[str, Any] = {}
        for pair in query.split(b"&") if query else ():
            key, _, encoded = pair.partition(b"=")
            if key in by_parameter:
                name, repeated = by_parameter[key]
                if repeated:
                    values.setdefault(name, []).append(_query_text(encoded, labels[name]))
                elif name not in values:
                    values[name] = _query_text(encoded, labels[name])
        try:
            result = msgspec.convert(values, kind, strict=False)
        except msgspec.ValidationError as error:
            raise _query_error(str(error)) from None
        if check is not None and (wrong := check(result)):
            raise InvalidParam(f"Query parameter {wrong.rstrip('_')}: must be from -{LARGEST} to {LARGEST}")
        return result

    return decode


def body_decoder(kind: type[T]) -> Callable[[bytes], T]:
    """A function that decodes JSON bodies into `kind`, an attrs class, a `msgspec.Struct` or `JsonObject`.

    It raises NotJson, BadJson and MissingParam. No body at all stands for `{}` where `kind` requires no
    member. A typed body may hold neither U+0000, which a database cannot store as text, nor integers beyond
    ±(2^53 - 1).
    """
    if kind is NoBody:
        nothing = kind()
        return lambda _content: nothing
    decoder = msgspec.json.Decoder(kind)
    is_object = kind == JsonObject
    empty = _accepts_empty(decoder)
    check = None if is_object else integer_check(kind)

    def decode(content: bytes) -> T:
        if not content or content.isspace():
            if not empty:
                raise NotJson("The body is empty; a JSON object is expected")
            content = b"{}"
        if not is_object and b"\\u0000" in content and _NUL.search(content):
            raise BadJson("The body holds the character U+0000")
        check_depth(content)
        result = _decode_json(decoder, content)
        if check is not None and (wrong := check(result)):
            raise BadJson(f"{wrong}: must be from -{LARGEST} to {LARGEST}")
        return result

    return decode


def check_depth(content: bytes) -> None:
    """Refuse JSON text whose arrays and objects are nested deeper than `MAX_DEPTH`. Raises BadJson."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return
    # Two for each bracket that opens and nothing for one that closes: less one for each, that is the depth.
    brackets = _STRINGS.sub(b"", content).translate(_TWO_OR_NOTHING, _NO_BRACKETS)
    if max(map(operator.sub, itertools.accumulate(brackets), itertools.count(1)), default=0) > MAX_DEPTH:
        raise BadJson("The body is nested too deeply")


def _decode_json(decoder: msgspec.json.Decoder[T], content: bytes) -> T:
    try:
        content.decode()  # the decoder skips members that nobody asked for, whatever is in them
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        _check_json(content)
        raise _body_error(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"The body is not valid JSON: {_syntax(error)}") from None
    except RecursionError:
        raise BadJson("The body is nested too deeply") from None


def _check_json(content: bytes) -> None:
    """A body of the wrong shape may be no JSON at all further on; raises NotJson then."""
    try:
        msgspec.json.decode(content)
    except msgspec.ValidationError:
        return  # a number that is out of range
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"The body is not valid JSON: {_syntax(error)}") from None


def _syntax(error: Exception) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _accepts_empty(decoder: msgspec.json.Decoder[Any]) -> bool:
    try:
        decoder.decode(b"{}")
    except msgspec.ValidationError:
        return False
    return True


def _takes_list(hint: Any) -> bool:
    """Whether a query parameter of this type may be repeated: `list[str]` or `list[str] | None`."""
    if typing.get_origin(hint) in (list, tuple, set, frozenset):
        return True
    return any(_takes_list(part) for part in typing.get_args(hint) if part is not type(None))


def _query_error(text: str) -> MissingParam | InvalidParam:
    if missing := _MISSING.match(text):
        return MissingParam(f"Query parameter {missing['name'].rstrip('_')} is missing")
    found = _INVALID.match(text)
    assert found is not None
    reason = found["reason"].removesuffix(", got `str`")
    return InvalidParam(f"Query parameter {(found['at'] or '').rstrip('_')}: {reason}")


def _body_error(text: str) -> MissingParam | BadJson:
    if missing := _MISSING.match(text):
        at = f"{missing['at']}." if missing["at"] else ""
        return MissingParam(f"{at}{missing['name']} is missing")
    found = _INVALID.match(text)
    assert found is not None
    return BadJson(f"{found['at']}: {found['reason']}" if found["at"] else f"The body: {found['reason']}")
