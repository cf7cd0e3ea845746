# SPDX-License-Identifier: Apache-2.0
"""Endpoints as data: what is declared beside each handler, what a handler gets, and what it answers."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, BinaryIO, Generic, Protocol, TypeAlias, cast

import attrs
from twisted.web.http_headers import Headers
from typing_extensions import TypeVar

JsonObject: TypeAlias = dict[str, Any]
"""A body that is kept as it came; it must be a JSON object."""

DEFAULT_MAX_BODY = 1024 * 1024
"""Bytes that a request's body may have where the endpoint says nothing else."""


class Auth(enum.Enum):
    """Whether an access token is needed, or a signature."""

    NONE = enum.auto()
    """A token is not looked at."""
    OPTIONAL = enum.auto()
    """`call.requester` is None without a token; a wrong token is an error."""
    REQUIRED = enum.auto()
    SERVER = enum.auto()
    """Another server signs the request; `call.peer` is its name. A token is not looked at."""


@attrs.frozen
class NoQuery:
    """The endpoint takes no query parameters; those sent are ignored."""


@attrs.frozen
class NoBody:
    """The endpoint takes no body; one that is sent is ignored."""


@attrs.frozen
class RawBody:
    """A body that is no JSON, in memory. As an endpoint's `body`: the bytes come as they were sent."""

    content: bytes


@attrs.frozen
class Upload:
    """A body that may be large: from 64 KiB on it lies in a temporary file that is gone after the request.

    As an endpoint's `body`, together with a `max_body`. `file` stands at its beginning; `length` is in bytes.
    """

    file: BinaryIO
    length: int


@attrs.frozen
class Requester:
    """Who makes a request; `user` and `device` are the interned numbers."""

    user_id: str
    user: int
    device_id: str | None = None
    device: int | None = None
    is_guest: bool = False
    is_admin: bool = False
    is_locked: bool = False
    is_suspended: bool = False
    app_service: str | None = None
    """The id of the application service that speaks for the user."""


class Request(Protocol):
    """What the few handlers that look at the HTTP request itself may use of it."""

    method: bytes
    uri: bytes
    path: bytes
    requestHeaders: Headers  # noqa: N815

    @property
    def client_address(self) -> str:
        """The client's IP address, from `X-Forwarded-For` where that is trusted; empty on a UNIX socket."""

    def header(self, name: str) -> str | None:
        """The last value of a request header."""

    def body(self) -> bytes:
        """The request's body as it came."""


Q_co = TypeVar("Q_co", covariant=True, default=NoQuery)
B_co = TypeVar("B_co", covariant=True, default=NoBody)


@attrs.frozen
class Call(Generic[Q_co, B_co]):
    """One request, checked and decoded. `Call` alone is one without query and body."""

    requester: Requester | None
    path: Mapping[str, str]
    query: Q_co
    body: B_co
    request: Request
    origin: str | None = None
    """The name of the server that signed the request, where the endpoint asks for that."""

    @property
    def peer(self) -> str:
        """The server that makes the request, of an endpoint for servers."""
        assert self.origin is not None, "only for endpoints with Auth.SERVER"
        return self.origin

    @property
    def user(self) -> Requester:
        """The requester of an endpoint that requires one."""
        assert self.requester is not None, "only for endpoints with Auth.REQUIRED"
        return self.requester


AnswerHeaders: TypeAlias = tuple[tuple[str, str], ...]


@attrs.frozen
class Json:
    """`value`, encoded with msgspec."""

    value: Any
    status: int = 200
    headers: AnswerHeaders = ()


@attrs.frozen
class RawJson:
    """JSON that is encoded already."""

    content: bytes
    status: int = 200
    headers: AnswerHeaders = ()


@attrs.frozen
class JsonStream:
    """JSON that comes in parts.

    The next part is asked for when the client has room for it. When the client goes, the iterator is closed
    (`aclose`). A failure after the first part can only cut the connection.
    """

    parts: AsyncIterator[bytes]
    status: int = 200
    headers: AnswerHeaders = ()


@attrs.frozen
class Page:
    """A page for people, in HTML."""

    html: str
    status: int = 200
    headers: AnswerHeaders = ()


@attrs.frozen
class Content:
    """A body of another type, such as a thumbnail.

    `content` comes in parts where it is not held in memory; `length` is then its length in bytes, if known.
    """

    content_type: str
    content: bytes | AsyncIterator[bytes]
    length: int | None = None
    status: int = 200
    headers: AnswerHeaders = ()


@attrs.frozen
class Redirect:
    """Another place to look in."""

    location: str
    status: int = 302
    headers: AnswerHeaders = ()


Answer: TypeAlias = Json | RawJson | JsonStream | Page | Content | Redirect

Q = TypeVar("Q", default=Any)
B = TypeVar("B", default=Any)


@attrs.frozen
class Endpoint(Generic[Q, B]):
    """One method of one path. Tables of them are `tuple[Endpoint, ...]`.

    `query` is an attrs class whose fields are the parameters: `str`, `int`, `bool`, `list[str]`,
    `Literal[…]`, `… | None`; a default makes one optional. A field `from_` is the parameter `from`.
    `body` is an attrs class, or a `msgspec.Struct` where a member's name is no identifier
    (`msgspec.field(name="m.fully_read")`), or `JsonObject`, `RawBody`, `Upload`.
    """

    method: str
    path: str
    """`/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`, names as in the specification."""
    handler: Callable[[Call[Q, B]], Awaitable[Answer]]
    auth: Auth = Auth.REQUIRED
    limit: str | None = None
    """The name of the rate limit that it counts against."""
    query: type[Q] = attrs.field(default=cast(type[Any], NoQuery))
    body: type[B] = attrs.field(default=cast(type[Any], NoBody))
    max_body: int = DEFAULT_MAX_BODY
    """Bytes that the body may have; more answers 413 `M_TOO_LARGE`."""
    guests: bool = False
    """Whether guests may use it. spec: client-server-api, "Guest Access" """
    while_locked: bool = False
    """Whether a locked account may use it. spec: client-server-api, "Account locking" """
    owner: str | None = None
    """The path parameter whose value, a room's or a user's id, says which of several processes answers."""
    repeatable: bool | None = None
    """Whether a request may be run once more where it is not known if it has been; None: all but POST."""
    latest: bool = True
    """Whether it reads what other processes wrote, and so waits until this process has taken it in."""

    @property
    def is_repeatable(self) -> bool:
        """`repeatable`, or what the method says."""
        return self.method != "POST" if self.repeatable is None else self.repeatable
