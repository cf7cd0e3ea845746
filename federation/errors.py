# SPDX-License-Identifier: Apache-2.0
"""Errors of the domain that reach the other side as Matrix errors.

Whoever finds a rule broken raises one of these, with a message for people. Their HTTP status and `errcode`
are known to `federation/http/errors.py` alone. `members` are the further members that the specification
gives some errors beside `errcode` and `error`. spec: client-server-api, "Standard error response"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MatrixError(Exception):
    """The base of all of them; `message` is for people, `members` go into the answer beside it."""

    def __init__(self, message: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.members: Mapping[str, Any] = members or {}


# Requests that cannot be understood


class Unrecognized(MatrixError):
    """There is no such endpoint."""


class MethodNotAllowed(Unrecognized):
    """The endpoint exists, and does not know this method; `allowed` are those that it knows."""

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotJson(MatrixError):
    """The body is no JSON."""


class BadJson(MatrixError):
    """The body is JSON of the wrong shape."""


class ManagedByServer(MatrixError):
    """Account data of this type is the server's to write. spec: client-server-api, "Client Config" """


class MissingParam(MatrixError):
    """A member of the body or a parameter of the query is missing."""


class InvalidParam(MatrixError):
    """A parameter has a value that it must not have."""


class TooLarge(MatrixError):
    """The body, or what it asks for, is too large."""


class Unknown(MatrixError):
    """The request cannot be served, for a reason without a code of its own."""


# Who asks


class MissingToken(MatrixError):
    """An access token is needed."""

    def __init__(self, message: str = "Missing access token") -> None:
        super().__init__(message)


class UnknownToken(MatrixError):
    """The access token is not, or no longer, known. spec: client-server-api, "Soft logout" """

    def __init__(self, message: str = "Unknown access token", *, soft_logout: bool = False) -> None:
        super().__init__(message, {"soft_logout": True} if soft_logout else None)


class Unauthorized(MatrixError):
    """The request is not signed, or not by whom it claims to come from."""


class UserLocked(MatrixError):
    """The account is locked. spec: client-server-api, "Account locking" """

    def __init__(self, message: str = "This account has been locked") -> None:
        super().__init__(message, {"soft_logout": True})


class UserSuspended(MatrixError):
    """The account is suspended and may not do this. spec: client-server-api, "Account suspension" """


class UserDeactivated(MatrixError):
    """The account exists no more."""


class AuthenticationRequired(MatrixError):
    """The user must prove themselves once more; `body` is the whole answer (flows, session, completed …).

    spec: client-server-api, "User-Interactive Authentication API"
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__("Further authentication is required")
        self.body = body


class UnknownDevice(MatrixError):
    """An application service names a device that its user does not have."""


class AppserviceLoginUnsupported(MatrixError):
    """An application service asks for a login where only OAuth 2.0 is served."""


# What may be done


class Forbidden(MatrixError):
    """They may not do this."""


class GuestAccessForbidden(MatrixError):
    """Guests may not do this."""


class LimitExceeded(MatrixError):
    """Too many requests; `retry_after_ms` is how long to wait, in milliseconds."""

    def __init__(self, message: str = "Too many requests", *, retry_after_ms: int) -> None:
        super().__init__(message, {"retry_after_ms": retry_after_ms})
        self.retry_after_ms = retry_after_ms


class ResourceLimitExceeded(MatrixError):
    """The server has reached a limit of its own; `admin_contact` is a URI."""

    def __init__(self, message: str, *, admin_contact: str) -> None:
        super().__init__(message, {"admin_contact": admin_contact})


class UserLimitExceeded(MatrixError):
    """The account has reached a limit; `info_uri` explains it."""

    def __init__(self, message: str, *, info_uri: str, can_upgrade: bool = False) -> None:
        super().__init__(message, {"info_uri": info_uri, "can_upgrade": can_upgrade})


class InviteBlocked(MatrixError):
    """The invited user does not want it."""


class CannotLeaveServerNoticeRoom(MatrixError):
    """The room of the server's notices cannot be left."""


class ServerNotTrusted(MatrixError):
    """A third-party server that this one does not trust."""


# What there is


class NotFound(MatrixError):
    """There is no such thing, or the requester may not know of it."""


class UserInUse(MatrixError):
    """The user ID is taken."""


class InvalidUsername(MatrixError):
    """That is no valid user ID."""


class Exclusive(MatrixError):
    """The name belongs to an application service."""


class WeakPassword(MatrixError):
    """The password does not meet the server's policy."""


class RoomInUse(MatrixError):
    """The room alias is taken."""


class AliasInUse(MatrixError):
    """The room alias that is to be made exists already; only `PUT /directory/room/{roomAlias}` says it so."""


class InvalidRoomState(MatrixError):
    """The initial state of a new room is invalid."""


class BadAlias(MatrixError):
    """An alias of `m.room.canonical_alias` does not point to the room."""


class BadState(MatrixError):
    """The change does not fit the state that things are in."""


class DuplicateAnnotation(MatrixError):
    """The same reaction of the same user exists."""


class UnsupportedRoomVersion(MatrixError):
    """No room of this version can be made here."""


class IncompatibleRoomVersion(MatrixError):
    """The room has a version that one side does not support; `version` is the room's."""

    def __init__(self, message: str, *, version: str) -> None:
        super().__init__(message, {"room_version": version})


class UnableToAuthoriseJoin(MatrixError):
    """This server cannot check whether the restricted join is allowed."""


class UnableToGrantJoin(MatrixError):
    """This server has nobody in the room who could authorise the restricted join."""


class InvalidSignature(MatrixError):
    """A key, a device or a cross-signature does not verify."""


class WrongRoomKeysVersion(MatrixError):
    """Room keys were sent to a backup version that is not the current one."""

    def __init__(self, message: str, *, current_version: str) -> None:
        super().__init__(message, {"current_version": current_version})


class ProfileTooLarge(MatrixError):
    """The profile would exceed its size limit."""


class KeyTooLarge(MatrixError):
    """The name of a profile field is too long."""


class CannotOverwriteMedia(MatrixError):
    """The media id has content already."""


class NotYetUploaded(MatrixError):
    """The media id was given out, its content is not here yet."""


class UnknownPos(MatrixError):
    """The connection's position is not known; the client starts anew."""


# Third-party identifiers and captchas


class ThreepidInUse(MatrixError):
    """The third-party identifier belongs to an account."""


class ThreepidNotFound(MatrixError):
    """No account has the third-party identifier."""


class ThreepidAuthFailed(MatrixError):
    """The third-party identifier could not be validated."""


class ThreepidDenied(MatrixError):
    """The third-party identifier is not allowed here."""


class ThreepidMediumNotSupported(MatrixError):
    """Third-party identifiers of this medium cannot be added."""


class CaptchaNeeded(MatrixError):
    """A captcha must be completed."""


class CaptchaInvalid(MatrixError):
    """The captcha was not solved."""


# Other servers and this one


class BadStatus(MatrixError):
    """An application service answered with an error; its status and body go along."""

    def __init__(self, message: str, *, status: int, body: str) -> None:
        super().__init__(message, {"status": status, "body": body})


class ConnectionFailed(MatrixError):
    """Another server or an application service could not be reached."""


class ConnectionTimeout(MatrixError):
    """Another server or an application service did not answer in time."""


class UrlNotSet(MatrixError):
    """The application service has no URL."""


class Unavailable(MatrixError):
    """The server cannot serve this now, and may soon; `retry_after_ms` is when to try again."""

    def __init__(self, message: str, *, retry_after_ms: int = 5000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
