# SPDX-License-Identifier: Apache-2.0
"""The one place that knows which status and `errcode` an exception has.

spec: client-server-api, "Standard error response"
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from federation import errors
from federation.http.endpoint import Json
from federation.rules import errors as rules
from storage.engine import errors as engine
from storage.write_queue import QueueFull, RoomReloaded

logger = logging.getLogger(__name__)

_MATRIX_ERRORS: dict[type[errors.MatrixError], tuple[int, str]] = {
    errors.Unrecognized: (404, "M_UNRECOGNIZED"),
    errors.MethodNotAllowed: (405, "M_UNRECOGNIZED"),
    errors.NotJson: (400, "M_NOT_JSON"),
    errors.BadJson: (400, "M_BAD_JSON"),
    errors.ManagedByServer: (405, "M_BAD_JSON"),
    errors.MissingParam: (400, "M_MISSING_PARAM"),
    errors.InvalidParam: (400, "M_INVALID_PARAM"),
    errors.TooLarge: (413, "M_TOO_LARGE"),
    errors.Unknown: (400, "M_UNKNOWN"),
    errors.MissingToken: (401, "M_MISSING_TOKEN"),
    errors.UnknownToken: (401, "M_UNKNOWN_TOKEN"),
    errors.Unauthorized: (401, "M_UNAUTHORIZED"),
    errors.UserLocked: (401, "M_USER_LOCKED"),
    errors.UserSuspended: (403, "M_USER_SUSPENDED"),
    errors.UserDeactivated: (403, "M_USER_DEACTIVATED"),
    errors.UnknownDevice: (400, "M_UNKNOWN_DEVICE"),
    errors.AppserviceLoginUnsupported: (400, "M_APPSERVICE_LOGIN_UNSUPPORTED"),
    errors.Forbidden: (403, "M_FORBIDDEN"),
    errors.GuestAccessForbidden: (403, "M_GUEST_ACCESS_FORBIDDEN"),
    errors.LimitExceeded: (429, "M_LIMIT_EXCEEDED"),
    errors.ResourceLimitExceeded: (403, "M_RESOURCE_LIMIT_EXCEEDED"),
    errors.UserLimitExceeded: (403, "M_USER_LIMIT_EXCEEDED"),
    errors.InviteBlocked: (403, "M_INVITE_BLOCKED"),
    errors.CannotLeaveServerNoticeRoom: (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"),
    errors.ServerNotTrusted: (400, "M_SERVER_NOT_TRUSTED"),
    errors.NotFound: (404, "M_NOT_FOUND"),
    errors.UserInUse: (400, "M_USER_IN_USE"),
    errors.InvalidUsername: (400, "M_INVALID_USERNAME"),
    errors.Exclusive: (400, "M_EXCLUSIVE"),
    errors.WeakPassword: (400, "M_WEAK_PASSWORD"),
    errors.RoomInUse: (400, "M_ROOM_IN_USE"),
    errors.AliasInUse: (409, "M_UNKNOWN"),
    errors.InvalidRoomState: (400, "M_INVALID_ROOM_STATE"),
    errors.BadAlias: (400, "M_BAD_ALIAS"),
    errors.BadState: (400, "M_BAD_STATE"),
    errors.DuplicateAnnotation: (400, "M_DUPLICATE_ANNOTATION"),
    errors.UnsupportedRoomVersion: (400, "M_UNSUPPORTED_ROOM_VERSION"),
    errors.IncompatibleRoomVersion: (400, "M_INCOMPATIBLE_ROOM_VERSION"),
    errors.UnableToAuthoriseJoin: (400, "M_UNABLE_TO_AUTHORISE_JOIN"),
    errors.UnableToGrantJoin: (400, "M_UNABLE_TO_GRANT_JOIN"),
    errors.InvalidSignature: (400, "M_INVALID_SIGNATURE"),
    errors.WrongRoomKeysVersion: (403, "M_WRONG_ROOM_KEYS_VERSION"),
    errors.ProfileTooLarge: (400, "M_PROFILE_TOO_LARGE"),
    errors.KeyTooLarge: (400, "M_KEY_TOO_LARGE"),
    errors.CannotOverwriteMedia: (409, "M_CANNOT_OVERWRITE_MEDIA"),
    errors.NotYetUploaded: (504, "M_NOT_YET_UPLOADED"),
    errors.UnknownPos: (400, "M_UNKNOWN_POS"),
    errors.ThreepidInUse: (400, "M_THREEPID_IN_USE"),
    errors.ThreepidNotFound: (400, "M_THREEPID_NOT_FOUND"),
    errors.ThreepidAuthFailed: (400, "M_THREEPID_AUTH_FAILED"),
    errors.ThreepidDenied: (403, "M_THREEPID_DENIED"),
    errors.ThreepidMediumNotSupported: (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
    errors.CaptchaNeeded: (401, "M_CAPTCHA_NEEDED"),
    errors.CaptchaInvalid: (401, "M_CAPTCHA_INVALID"),
    errors.BadStatus: (502, "M_BAD_STATUS"),
    errors.ConnectionFailed: (502, "M_CONNECTION_FAILED"),
    errors.ConnectionTimeout: (504, "M_CONNECTION_TIMEOUT"),
    errors.UrlNotSet: (400, "M_URL_NOT_SET"),
    errors.Unavailable: (503, "M_UNKNOWN"),
    errors.MatrixError: (400, "M_UNKNOWN"),
}

_RULE_ERRORS: dict[type[rules.RuleError], tuple[int, str]] = {
    rules.NotJson: (400, "M_NOT_JSON"),
    rules.InvalidIdentifier: (400, "M_INVALID_PARAM"),
    rules.InvalidSigningKey: (400, "M_INVALID_PARAM"),
    rules.UnknownRoomVersion: (400, "M_UNSUPPORTED_ROOM_VERSION"),
    rules.EventTooLarge: (413, "M_TOO_LARGE"),
    rules.InvalidSignature: (400, "M_INVALID_SIGNATURE"),
    rules.AuthRefused: (403, "M_FORBIDDEN"),
    rules.MalformedContent: (400, "M_BAD_JSON"),
    rules.RuleError: (400, "M_BAD_JSON"),
}

_RETRY_DATABASE_MS = 5000
_LONGEST_TEXT = 1000


def error_answer(error: Exception) -> Json:
    """The answer that `error` becomes; one that nobody foresaw is logged and becomes a 500 without detail."""
    if isinstance(error, errors.MatrixError):
        return _matrix_error(error)
    if isinstance(error, rules.RuleError):
        status, errcode = _find(_RULE_ERRORS, type(error))
        text = error.reason if isinstance(error, rules.AuthRefused) else str(error)
        return _standard(status, errcode, text, {})
    if isinstance(error, (engine.DatabaseUnavailable, engine.OutcomeUnknown, engine.FenceLost)):
        logger.error("The database failed a request: %s", error)
        return _matrix_error(
            errors.Unavailable("The database cannot be reached at present", retry_after_ms=_RETRY_DATABASE_MS)
        )
    if isinstance(error, (QueueFull, RoomReloaded)):
        logger.warning("A write was given up: %s", error)
        return _matrix_error(errors.Unavailable("The server is too busy", retry_after_ms=_RETRY_DATABASE_MS))
    logger.error("A request failed", exc_info=error)
    return _standard(500, "M_UNKNOWN", "Internal server error", {})


def error_body(errcode: str, text: str, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A standard error response."""
    return {"errcode": errcode, "error": text, **(members or {})}


def _matrix_error(error: errors.MatrixError) -> Json:
    if isinstance(error, errors.AuthenticationRequired):
        return Json(error.body, status=HTTPStatus.UNAUTHORIZED)
    status, errcode = _find(_MATRIX_ERRORS, type(error))
    if isinstance(error, errors.MethodNotAllowed):
        return _standard(status, errcode, error.message, {}, (("Allow", ", ".join(error.allowed)),))
    if isinstance(error, (errors.LimitExceeded, errors.Unavailable)):
        return _standard(status, errcode, error.message, error.members, _retry_after(error.retry_after_ms))
    return _standard(status, errcode, error.message, error.members)


def _retry_after(milliseconds: int) -> tuple[tuple[str, str], ...]:
    """Whole seconds, rounded up; browsers show the header to a web client only if they are told to."""
    seconds = max(1, -(-milliseconds // 1000))
    return ("Retry-After", str(seconds)), ("Access-Control-Expose-Headers", "Retry-After")


def _standard(
    status: int,
    errcode: str,
    text: str,
    members: Mapping[str, Any],
    headers: tuple[tuple[str, str], ...] = (),
) -> Json:
    # Some texts quote what was sent, which may be long.
    return Json(error_body(errcode, text[:_LONGEST_TEXT], members), status=status, headers=headers)


def _find(table: Mapping[Any, tuple[int, str]], kind: type) -> tuple[int, str]:
    """The row of `kind` or of its nearest base."""
    return next(table[base] for base in kind.__mro__ if base in table)
