# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON, and reading JSON from strangers. spec: appendices, "Canonical JSON"."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from canonicaljson import encode_canonical_json

from federation.rules.errors import NotCanonicalJson, NotJson, TooDeep

# The largest magnitude that every JSON implementation keeps exactly.
MAX_INTEGER = 2**53 - 1

# How deep arrays and objects may be nested. The specification names no bound; an interpreter's stack has one.
MAX_DEPTH = 256

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def encode_canonical(value: Any) -> bytes:
    """The canonical JSON of `value`: dicts with string keys, lists, strings, integers, booleans, None.

    Floats and integers beyond `MAX_INTEGER` are not looked for here, see `check_canonical`.
    Raises `NotCanonicalJson` for lone surrogates, keys that are no strings and nesting beyond the stack.
    """
    try:
        return _encode(value)
    except (UnicodeEncodeError, TypeError, RecursionError, OverflowError) as error:
        raise NotCanonicalJson(f"the value cannot be written as JSON: {error}") from error


def encode_lenient(value: Any) -> bytes:
    """The JSON of `value` in canonical form as far as it has one: large integers and floats stay.

    It is what `canonicaljson` writes, floats as Python does: what other servers hash and sign.
    Raises `NotCanonicalJson` for infinities, NaN, lone surrogates and nesting beyond the stack.
    """
    try:
        return encode_canonical_json(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise NotCanonicalJson(f"the value cannot be written as JSON: {error}") from error


def check_canonical(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check that `value`, decoded from JSON, has a canonical form: no floats, integers within ±`MAX_INTEGER`.

    Raises `NotCanonicalJson`; `TooDeep` for arrays and objects nested deeper than `max_depth`.
    """
    kind = type(value)
    if kind is dict:
        if max_depth <= 0:
            raise TooDeep("the JSON is nested too deeply")
        for key, item in value.items():
            if type(key) is not str:
                raise NotCanonicalJson(f"a key of an object is no string but {type(key).__name__}")
            if type(item) is not str:
                check_canonical(item, max_depth - 1)
    elif kind is list:
        if max_depth <= 0:
            raise TooDeep("the JSON is nested too deeply")
        for item in value:
            if type(item) is not str:
                check_canonical(item, max_depth - 1)
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonicalJson("an integer is outside ±(2^53 - 1)")
    elif kind is float:
        raise NotCanonicalJson("a number is no integer")
    elif not (kind is str or kind is bool or value is None):
        raise NotCanonicalJson(f"{kind.__name__} is no JSON type")


def check_lenient(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check that `value`, decoded from JSON, is JSON: with any integers and with finite floats.

    Raises `NotCanonicalJson`; `TooDeep` for arrays and objects nested deeper than `max_depth`.
    """
    kind = type(value)
    if kind is dict or kind is list:
        if max_depth <= 0:
            raise TooDeep("the JSON is nested too deeply")
        if kind is dict:
            if not all(type(key) is str for key in value):
                raise NotCanonicalJson("a key of an object is no string")
            value = value.values()
        for item in value:
            check_lenient(item, max_depth - 1)
    elif kind is float:
        if not math.isfinite(value):
            raise NotCanonicalJson("a number is not finite")
    elif not (kind is str or kind is int or kind is bool or value is None):
        raise NotCanonicalJson(f"{kind.__name__} is no JSON type")


def decode_json(data: bytes | bytearray | memoryview, max_depth: int = MAX_DEPTH) -> Any:
    """The value of the JSON text `data` in UTF-8: strict, without lone surrogates, NaN or infinities.

    Raises `NotJson` for what is no JSON, and `TooDeep` for arrays and objects nested deeper than `max_depth`.
    """
    try:
        value = _decode(data)
    except RecursionError as error:
        raise TooDeep("the JSON is nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotJson(f"this is no JSON: {error}") from error
    text = bytes(data)
    if text.count(b"[") + text.count(b"{") > max_depth and depth_of(text) > max_depth:
        raise TooDeep(f"the JSON is nested deeper than {max_depth} levels")
    return value


def depth_of(text: bytes) -> int:
    """How deep arrays and objects are nested in the well-formed JSON `text`.

    It strips the innermost pairs of brackets until none are left: passes over ever shorter bytes are many
    times faster than a walk over the decoded value.
    """
    brackets = _STRING.sub(b"", text).translate(_BRACES_TO_BRACKETS, _NO_BRACKETS)
    depth = 0
    while brackets:
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    return depth
