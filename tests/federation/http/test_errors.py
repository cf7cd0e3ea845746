# SPDX-License-Identifier: Apache-2.0
"""Which status, code and members an exception answers with."""

from __future__ import annotations

import inspect
import json
import logging

import pytest

from federation import errors
from federation.http.errors import error_answer
from federation.http.writing import encode_json
from federation.rules import errors as rules
from storage.engine import errors as engine
from storage.write_queue import QueueFull, RoomReloaded

TABLE = [
    (errors.Forbidden("no"), 403, "M_FORBIDDEN", {}),
    (errors.NotFound("no"), 404, "M_NOT_FOUND", {}),
    (errors.Unrecognized("no"), 404, "M_UNRECOGNIZED", {}),
    (errors.MethodNotAllowed("no", allowed=("GET",)), 405, "M_UNRECOGNIZED", {}),
    (errors.InvalidParam("no"), 400, "M_INVALID_PARAM", {}),
    (errors.MissingParam("no"), 400, "M_MISSING_PARAM", {}),
    (errors.BadJson("no"), 400, "M_BAD_JSON", {}),
    (errors.NotJson("no"), 400, "M_NOT_JSON", {}),
    (errors.TooLarge("no"), 413, "M_TOO_LARGE", {}),
    (errors.Unknown("no"), 400, "M_UNKNOWN", {}),
    (errors.LimitExceeded("no", retry_after_ms=1500), 429, "M_LIMIT_EXCEEDED", {"retry_after_ms": 1500}),
    (errors.MissingToken(), 401, "M_MISSING_TOKEN", {}),
    (errors.UnknownToken(), 401, "M_UNKNOWN_TOKEN", {}),
    (errors.UnknownToken(soft_logout=True), 401, "M_UNKNOWN_TOKEN", {"soft_logout": True}),
    (errors.UserLocked(), 401, "M_USER_LOCKED", {"soft_logout": True}),
    (errors.UserSuspended("no"), 403, "M_USER_SUSPENDED", {}),
    (errors.UserDeactivated("no"), 403, "M_USER_DEACTIVATED", {}),
    (errors.GuestAccessForbidden("no"), 403, "M_GUEST_ACCESS_FORBIDDEN", {}),
    (errors.UserInUse("no"), 400, "M_USER_IN_USE", {}),
    (errors.InvalidUsername("no"), 400, "M_INVALID_USERNAME", {}),
    (errors.RoomInUse("no"), 400, "M_ROOM_IN_USE", {}),
    (errors.AliasInUse("no"), 409, "M_UNKNOWN", {}),
    (errors.Exclusive("no"), 400, "M_EXCLUSIVE", {}),
    (errors.InvalidRoomState("no"), 400, "M_INVALID_ROOM_STATE", {}),
    (errors.UnsupportedRoomVersion("no"), 400, "M_UNSUPPORTED_ROOM_VERSION", {}),
    (
        errors.IncompatibleRoomVersion("no", version="7"),
        400,
        "M_INCOMPATIBLE_ROOM_VERSION",
        {"room_version": "7"},
    ),
    (errors.BadState("no"), 400, "M_BAD_STATE", {}),
    (errors.WeakPassword("no"), 400, "M_WEAK_PASSWORD", {}),
    (
        errors.ResourceLimitExceeded("no", admin_contact="mailto:a@b"),
        403,
        "M_RESOURCE_LIMIT_EXCEEDED",
        {"admin_contact": "mailto:a@b"},
    ),
    (
        errors.UserLimitExceeded("no", info_uri="https://a/", can_upgrade=True),
        403,
        "M_USER_LIMIT_EXCEEDED",
        {"info_uri": "https://a/", "can_upgrade": True},
    ),
    (
        errors.WrongRoomKeysVersion("no", current_version="2"),
        403,
        "M_WRONG_ROOM_KEYS_VERSION",
        {"current_version": "2"},
    ),
    (
        errors.BadStatus("no", status=500, body="x"),
        502,
        "M_BAD_STATUS",
        {"status": 500, "body": "x"},
    ),
    (errors.ConnectionTimeout("no"), 504, "M_CONNECTION_TIMEOUT", {}),
    (errors.NotYetUploaded("no"), 504, "M_NOT_YET_UPLOADED", {}),
    (errors.CannotOverwriteMedia("no"), 409, "M_CANNOT_OVERWRITE_MEDIA", {}),
    (errors.Unavailable("no"), 503, "M_UNKNOWN", {}),
    (rules.NotJson("no"), 400, "M_NOT_JSON", {}),
    (rules.TooDeep("no"), 400, "M_BAD_JSON", {}),
    (rules.NotCanonicalJson("no"), 400, "M_BAD_JSON", {}),
    (rules.InvalidIdentifier("no"), 400, "M_INVALID_PARAM", {}),
    (rules.InvalidEventFormat("type", "no"), 400, "M_BAD_JSON", {}),
    (rules.EventTooLarge("", "no"), 413, "M_TOO_LARGE", {}),
    (rules.InvalidSignature("a.org", "no"), 400, "M_INVALID_SIGNATURE", {}),
    (rules.UnknownRoomVersion("99"), 400, "M_UNSUPPORTED_ROOM_VERSION", {}),
    (rules.AuthRefused("5.3.3", "no"), 403, "M_FORBIDDEN", {}),
    (engine.DatabaseUnavailable("secret"), 503, "M_UNKNOWN", {}),
    (engine.OutcomeUnknown("secret"), 503, "M_UNKNOWN", {}),
    (engine.FenceLost([3]), 503, "M_UNKNOWN", {}),
    (QueueFull("secret"), 503, "M_UNKNOWN", {}),
    (RoomReloaded("secret"), 503, "M_UNKNOWN", {}),
]


@pytest.mark.parametrize(
    ("error", "status", "errcode", "members"), TABLE, ids=[type(row[0]).__name__ for row in TABLE]
)
def test_answer(error: Exception, status: int, errcode: str, members: dict[str, object]) -> None:
    answer = error_answer(error)
    value = json.loads(encode_json(answer.value))
    assert answer.status == status
    text = value.pop("error")
    assert text
    assert "secret" not in text
    assert value == {"errcode": errcode, **members}


def test_every_error_has_a_code_of_its_own() -> None:
    from federation.http.errors import _MATRIX_ERRORS

    classes = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.MatrixError) and kind is not errors.AuthenticationRequired
    }
    assert classes == set(_MATRIX_ERRORS)


class OwnError(errors.Forbidden):
    """An error of some module above."""


def test_a_subclass_answers_as_its_base() -> None:
    assert error_answer(OwnError("no")) == error_answer(errors.Forbidden("no"))


def test_further_members() -> None:
    answer = error_answer(errors.Forbidden("no", {"org.example.why": 1}))
    assert answer.value == {"errcode": "M_FORBIDDEN", "error": "no", "org.example.why": 1}


def test_user_interactive_authentication() -> None:
    body = {"flows": [{"stages": ["m.login.password"]}], "params": {}, "session": "x"}
    answer = error_answer(errors.AuthenticationRequired(body))
    assert (answer.status, answer.value) == (401, body)


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (86_400_000, "86400")]
)
def test_when_to_try_again(milliseconds: int, seconds: str) -> None:
    headers = dict(error_answer(errors.LimitExceeded(retry_after_ms=milliseconds)).headers)
    assert headers["Retry-After"] == seconds
    assert headers["Access-Control-Expose-Headers"] == "Retry-After"


def test_the_methods_of_the_path() -> None:
    answer = error_answer(errors.MethodNotAllowed("no", allowed=("GET", "PUT")))
    assert answer.headers == (("Allow", "GET, PUT"),)


def test_an_unforeseen_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = error_answer(ZeroDivisionError("the secret"))
    assert (answer.status, answer.value) == (500, {"errcode": "M_UNKNOWN", "error": "Internal server error"})
    assert "ZeroDivisionError" in caplog.text


def test_a_long_text_is_cut() -> None:
    assert len(error_answer(errors.InvalidParam("x" * 100_000)).value["error"]) == 1000
