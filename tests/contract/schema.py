# SPDX-License-Identifier: Apache-2.0
"""Whether a real response is what the specification says: its JSON against the schemas of the extract.

The schemas are JSON Schema 2020-12 as OpenAPI 3.1 has it, with the specification's own formats. Three things
are stricter than plain JSON Schema: an integer is written as one (`1.0` is none), the formats are checked,
and a map whose keys have a format (`x-pattern-format`) has no other keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from tests.contract.formats import STRING_FORMATS
from tests.contract.operations import Extract, Operation, Schema

FAULTS_SHOWN = 10
SHOWN_LENGTH = 300


class ContractError(AssertionError):
    """A response is not what the specification says; the text names the operation and each JSON path."""


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, holds in STRING_FORMATS.items():
        checker.checks(name)(lambda value, holds=holds: not isinstance(value, str) or holds(value))
    checker.checks("int64")(lambda value: not _is_integer(None, value) or -(2**63) <= value < 2**63)
    return checker


def _is_integer(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Schema
) -> Iterator[ValidationError]:
    """Check `patternProperties` and the format of the keys themselves."""
    if not isinstance(instance, dict):
        return
    formats = {pattern: below.get("x-pattern-format") for pattern, below in patterns.items()}
    keyed = None not in formats.values() and "properties" not in schema
    for key, value in instance.items():
        matching = [pattern for pattern in patterns if re.search(pattern, key)]
        if keyed and not matching:
            yield ValidationError(f"the key {key!r} is no {' or '.join(sorted(map(str, formats.values())))}")
        for pattern in matching:
            if formats[pattern] and not STRING_FORMATS[formats[pattern]](key):
                yield ValidationError(f"the key {key!r} is no {formats[pattern]}")
            yield from validator.descend(value, patterns[pattern], path=key, schema_path=pattern)


Validator = extend(
    Draft202012Validator,
    validators={"patternProperties": _pattern_properties},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
FORMATS = _format_checker()


def faults(value: Any, schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """Return what is wrong with `value`, each with its JSON path; nothing if it is valid."""
    whole = {**schema, "definitions": definitions}
    errors = sorted(Validator(whole, format_checker=FORMATS).iter_errors(value), key=lambda e: e.json_path)
    return [f"{error.json_path}: {_shortened(_reason(error))}" for error in errors]


def _reason(error: ValidationError) -> str:
    """Say of a choice why each alternative failed."""
    if not error.context:
        return error.message
    reasons = "; ".join(f"{below.json_path}: {_shortened(below.message)}" for below in error.context)
    return f"fits no alternative ({reasons})"


def _shortened(text: str) -> str:
    half = SHOWN_LENGTH // 2
    return text if len(text) <= SHOWN_LENGTH else f"{text[:half]} … {text[-half:]}"


@attrs.frozen
class Contract:
    """Checks responses against an extract."""

    extract: Extract

    def check(self, operation: Operation, status: int, content_type: str, body: bytes) -> Any:
        """Return the decoded body of a valid response (raw bytes where it is not JSON).

        Raises `ContractError`: a status that is not documented (errors that any endpoint may give excepted),
        another media type, text that is no JSON, or JSON that the schema does not allow.
        """
        if status >= 400:
            return self._check_error(operation, status, content_type, body)
        if status not in operation.responses:
            self._break(operation, status, [f"the specification has only {sorted(operation.responses)}"])
        content = operation.responses[status].content
        if not content:
            return body
        media_type = self._media_type(operation, status, content_type, content)
        if media_type != "application/json":
            return body
        value = self._decode(operation, status, body)
        self._break(operation, status, faults(value, content[media_type], self.extract.definitions))
        return value

    def _check_error(self, operation: Operation, status: int, content_type: str, body: bytes) -> Any:
        """Errors are standard ones, in the form that is documented for the endpoint if there is one.

        spec: client-server-api, "Standard error response" and "User-Interactive Authentication API"
        """
        documented = operation.responses.get(status)
        content = (documented and documented.content) or {"application/json": {}}
        self._media_type(operation, status, content_type, content)
        value = self._decode(operation, status, body)
        if not isinstance(value, dict):
            self._break(operation, status, [f"$: an error is an object, not {value!r}"])
        may_ask = "client-server.auth_response" in str(content)
        if may_ask and "flows" in value:
            found = faults(value, content["application/json"], self.extract.definitions)
        else:
            schema = {} if may_ask else content["application/json"]
            found = faults(value, schema, self.extract.definitions) + self._standard_error_faults(value)
        self._break(operation, status, found)
        return value

    def _standard_error_faults(self, value: Mapping[str, Any]) -> list[str]:
        found = [
            f"$.{key}: an error has a string here, not {value.get(key)!r}"
            for key in ("errcode", "error")
            if not isinstance(value.get(key), str)
        ]
        code = value.get("errcode")
        if isinstance(code, str) and code.startswith("M_") and code not in self.extract.errcodes:
            found.append(f"$.errcode: the specification has no {code}")
        return found

    def _media_type(
        self, operation: Operation, status: int, content_type: str, content: Mapping[str, Schema]
    ) -> str:
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type not in content:
            self._break(operation, status, [f"media type {media_type!r}, not {sorted(content)}"])
        return media_type

    def _decode(self, operation: Operation, status: int, body: bytes) -> Any:
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            reason = f"the body is no JSON ({error}): {_shortened(repr(body))}"
            raise ContractError(_report(operation, status, [reason])) from None

    def _break(self, operation: Operation, status: int, found: list[str]) -> None:
        if found:
            raise ContractError(_report(operation, status, found))


def _report(operation: Operation, status: int, found: list[str]) -> str:
    more = [f"and {len(found) - FAULTS_SHOWN} more"] if len(found) > FAULTS_SHOWN else []
    lines = "\n  ".join(found[:FAULTS_SHOWN] + more)
    return f"{operation.name} answered {status}, not as specified:\n  {lines}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
