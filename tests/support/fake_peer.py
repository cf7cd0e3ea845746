# SPDX-License-Identifier: Apache-2.0
"""Another homeserver as far as federation goes, in the reactor of the tests: it signs what it asks, answers
over TLS with a certificate of its own making, and takes part in rooms.

spec: server-server-api, "Authentication", "Publishing Keys", "Joining Rooms", "Transactions".
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs
import treq
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.web.client import Agent
from twisted.web.iweb import IPolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from federation.http.tls import ServerCertificate
from federation.rules.base64 import encode_base64
from federation.rules.canonical_json import decode_json, encode_canonical
from federation.rules.errors import InvalidSignature
from federation.rules.event_format import parse_pdu
from federation.rules.keys import decode_verify_key
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.signing import build_event, sign_json
from storage.event import Event
from tests.support.certificates import write_certificate
from tests.support.rooms import Room, pdu_of, signing_key
from tests.support.x_matrix import authorization, origin_of

_DAY = 24 * 3600 * 1000  # milliseconds
_FEDERATION = "/_matrix/federation"


class Refused(Exception):
    """A server answered with another status than 200, or the peer is to answer so itself."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


@attrs.frozen
class Asked:
    """A request that the peer got: the path's variable parts, decoded; the query; the body, decoded."""

    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: Any


Answering = Callable[[Asked], Any]
"""Makes the JSON of an answer, or raises `Refused`."""


@attrs.define
class FakePeer:
    """A server named `127.0.0.1:PORT`, whose key is that of `tests.support.rooms` for this name.

    `rooms` are those that it is in, by id, of version 3 and later: it lets others join them, tells their
    state and history, and puts into them what it is sent, which it does not check. `received` is what it was
    sent, by id; `log` what it was asked: methods and paths. Only servers that it has met may ask it for more
    than its keys. Make it with `start`.
    """

    name: str
    rooms: dict[str, Room] = attrs.field(factory=dict)
    log: list[str] = attrs.field(factory=list)
    received: dict[str, Event] = attrs.field(factory=dict)
    _met: dict[str, dict[str, bytes]] = attrs.field(factory=dict)
    _port: IListeningPort | None = None
    _routes: list[tuple[str, list[str], Answering]] = attrs.field(factory=list)
    _waiting: list[tuple[Callable[[], bool], Deferred[None]]] = attrs.field(factory=list)
    _transactions: Iterator[int] = attrs.field(factory=lambda: itertools.count(int(time.time() * 1000)))

    @classmethod
    async def start(cls, directory: Path) -> FakePeer:
        """A peer that listens; its certificate lies in `directory`."""
        certificate, private_key = directory / "peer.crt", directory / "peer.key"
        write_certificate(certificate, private_key, "127.0.0.1")
        resource = _Answers()
        port = reactor.listenSSL(
            0,
            Site(resource),
            ServerCertificate(certificate=certificate, private_key=private_key),
            interface="127.0.0.1",
        )
        peer = cls(f"127.0.0.1:{port.getHost().port}")
        peer._port = port
        resource.peer = peer
        peer._answer_by_default()
        return peer

    async def stop(self) -> None:
        """Listen no longer."""
        if self._port is not None:
            await self._port.stopListening()

    def user(self, localpart: str) -> str:
        """The id of a user of this server."""
        return f"@{localpart}:{self.name}"

    def answer(self, method: str, path: str, answering: Answering) -> None:
        """Answer requests for `path`, with `{name}` for a variable part, from now on."""
        self._routes.insert(0, (method, path.split("/"), answering))

    # What it asks.

    async def meet(self, url: str, server_name: str) -> None:
        """Learn the keys of the server that answers at `url`, whose requests count from now on."""
        published = await request_json("GET", f"{url}/_matrix/key/v2/server", {}, None)
        assert published["server_name"] == server_name
        keys = published["verify_keys"].items()
        self._met[server_name] = {key_id: decode_verify_key(key_id, key["key"]) for key_id, key in keys}

    async def ask(self, url: str, destination: str, method: str, path: str, content: Any = None) -> Any:
        """A signed request to the server `destination`, which answers at `url`. Raises `Refused`."""
        key = signing_key(self.name)
        credentials = authorization(self.name, destination, method, path, content, key)
        return await request_json(method, url + path, {"Authorization": credentials}, content)

    async def join(self, url: str, destination: str, room_id: str, user: str) -> Room:
        """Let `user` join a room by way of the server `destination`; returns the room. Raises `Refused`."""
        known = (name for name, version in ROOM_VERSIONS.items() if not version.references_have_hashes)
        versions = "&".join(f"ver={version}" for version in known)
        path = f"{_FEDERATION}/v1/make_join/{quote(room_id, safe='')}/{quote(user, safe='')}?{versions}"
        made = await self.ask(url, destination, "GET", path)
        version = ROOM_VERSIONS[made["room_version"]]
        fields = {**made["event"], "origin_server_ts": int(time.time() * 1000)}
        for member in ("hashes", "signatures", "unsigned", "origin", "event_id"):
            fields.pop(member, None)
        join = build_event(fields, version, self.name, signing_key(self.name))
        path = f"{_FEDERATION}/v2/send_join/{quote(room_id, safe='')}/{quote(join.event_id, safe='')}"
        given = await self.ask(url, destination, "PUT", path, pdu_of(join))
        state = [parse_pdu(pdu, version) for pdu in given["state"]]
        room = self.rooms[room_id] = Room.joined(version, state, join)
        return room

    async def send(self, url: str, destination: str, events: Sequence[Event]) -> dict[str, Any]:
        """A transaction of at most 50 events; returns what became of each, by its id."""
        transaction = {
            "origin": self.name,
            "origin_server_ts": int(time.time() * 1000),
            "pdus": [pdu_of(event) for event in events],
        }
        path = f"{_FEDERATION}/v1/send/{next(self._transactions)}"
        outcomes: dict[str, Any] = (await self.ask(url, destination, "PUT", path, transaction))["pdus"]
        return outcomes

    async def until(self, holds: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until what the peer is sent makes `holds` true. Raises `TimeoutError`."""
        if not holds():
            waiting: Deferred[None] = Deferred()
            self._waiting.append((holds, waiting))
            await waiting.addTimeout(seconds, reactor)

    # What it answers.

    def respond(
        self, method: str, uri: str, query: Mapping[str, Sequence[str]], body: bytes, credentials: str
    ) -> Any:
        """The answer to a request. Raises `Refused`."""
        path = uri.partition("?")[0].rstrip("/")
        self.log.append(f"{method} {path}")
        content = decode_json(body) if body else None
        if path.startswith(_FEDERATION):
            self._check(credentials, method, uri, content)
        for wanted, template, answering in self._routes:
            variables = _matched(template, path.split("/")) if wanted == method else None
            if variables is not None:
                return answering(Asked(variables, query, content))
        raise Refused(404, {"errcode": "M_UNRECOGNIZED", "error": f"no {method} {path}"})

    def _check(self, credentials: str, method: str, uri: str, content: Any) -> None:
        try:
            origin_of(credentials, self.name, method, uri, content, self._met)
        except InvalidSignature as error:
            raise Refused(401, {"errcode": "M_UNAUTHORIZED", "error": str(error)}) from error

    def _answer_by_default(self) -> None:
        for method, path, answering in (
            ("GET", "/_matrix/key/v2/server", self._keys),
            ("GET", f"{_FEDERATION}/v1/version", lambda _: {"server": {"name": "peer", "version": "1"}}),
            ("PUT", f"{_FEDERATION}/v1/send/{{txnId}}", self._receive),
            ("GET", f"{_FEDERATION}/v1/make_join/{{roomId}}/{{userId}}", self._make_join),
            ("PUT", f"{_FEDERATION}/v2/send_join/{{roomId}}/{{eventId}}", self._send_join),
            ("GET", f"{_FEDERATION}/v1/state/{{roomId}}", self._state),
            ("GET", f"{_FEDERATION}/v1/state_ids/{{roomId}}", self._state_ids),
            ("GET", f"{_FEDERATION}/v1/backfill/{{roomId}}", self._backfill),
            ("POST", f"{_FEDERATION}/v1/get_missing_events/{{roomId}}", self._missing_events),
            ("GET", f"{_FEDERATION}/v1/event/{{eventId}}", self._event),
            ("GET", f"{_FEDERATION}/v1/event_auth/{{roomId}}/{{eventId}}", self._event_auth),
        ):
            self.answer(method, path, answering)

    def _keys(self, _asked: Asked) -> Any:
        key = signing_key(self.name)
        keys = {
            "server_name": self.name,
            "valid_until_ts": int(time.time() * 1000) + _DAY,
            "verify_keys": {key.key_id: {"key": encode_base64(key.verify_key)}},
            "old_verify_keys": {},
        }
        return sign_json(keys, self.name, key)

    def _room(self, asked: Asked) -> Room:
        room = self.rooms.get(asked.path["roomId"])
        if room is None:
            raise Refused(404, {"errcode": "M_NOT_FOUND", "error": "the peer is not in this room"})
        return room

    def _receive(self, asked: Asked) -> Any:
        outcomes = {}
        for pdu in asked.body["pdus"]:
            version = self._version_of(pdu)
            if version is None:
                continue
            event = parse_pdu(pdu, version)
            outcomes[event.event_id] = {}
            self._take(event)
        return {"pdus": outcomes}

    def _version_of(self, pdu: Mapping[str, Any]) -> RoomVersion | None:
        room = self.rooms.get(pdu.get("room_id", ""))
        return None if room is None else room.version

    def _take(self, event: Event) -> None:
        room = self.rooms[event.room_id]
        if event.event_id not in self.received:
            self.received[event.event_id] = event
            room.receive(event)
        waiting, self._waiting = self._waiting, []
        for holds, deferred in waiting:
            if not deferred.called:
                if holds():
                    deferred.callback(None)
                else:
                    self._waiting.append((holds, deferred))

    def _make_join(self, asked: Asked) -> Any:
        room, user = self._room(asked), asked.path["userId"]
        return {
            "event": room.template(user, "m.room.member", {"membership": "join"}, user),
            "room_version": room.version.identifier,
        }

    def _send_join(self, asked: Asked) -> Any:
        room = self._room(asked)
        join = parse_pdu(asked.body, room.version)
        known = {event.event_id: event for event in room.events}
        state = list(room.state_before([known[event_id] for event_id in join.prev_events]).values())
        self._take(join)
        return {
            "origin": self.name,
            "event": asked.body,
            "state": [pdu_of(event) for event in state],
            "auth_chain": [pdu_of(event) for event in auth_chain(room, state)],
            "members_omitted": False,
        }

    def _state_at(self, asked: Asked) -> tuple[Room, list[Event]]:
        room = self._room(asked)
        event = _event_of(room, asked.query["event_id"][0])
        known = {other.event_id: other for other in room.events}
        before = room.state_before([known[event_id] for event_id in event.prev_events])
        return room, list(before.values())

    def _state(self, asked: Asked) -> Any:
        room, state = self._state_at(asked)
        chain = auth_chain(room, state)
        return {"pdus": [pdu_of(e) for e in state], "auth_chain": [pdu_of(e) for e in chain]}

    def _state_ids(self, asked: Asked) -> Any:
        room, state = self._state_at(asked)
        chain = auth_chain(room, state)
        return {"pdu_ids": [e.event_id for e in state], "auth_chain_ids": [e.event_id for e in chain]}

    def _backfill(self, asked: Asked) -> Any:
        room = self._room(asked)
        events = back_from(room, asked.query["v"], int(asked.query["limit"][0]))
        return self._transaction_of(events)

    def _missing_events(self, asked: Asked) -> Any:
        room = self._room(asked)
        known = {event.event_id: event for event in room.events}
        earliest = set(asked.body["earliest_events"])
        latest = [p for event_id in asked.body["latest_events"] for p in known[event_id].prev_events]
        events = back_from(room, latest, asked.body.get("limit", 10), earliest)
        return {"events": [pdu_of(event) for event in reversed(events)]}

    def _event(self, asked: Asked) -> Any:
        for room in self.rooms.values():
            for event in room.events:
                if event.event_id == asked.path["eventId"]:
                    return self._transaction_of([event])
        raise Refused(404, {"errcode": "M_NOT_FOUND", "error": "the peer has no such event"})

    def _event_auth(self, asked: Asked) -> Any:
        room = self._room(asked)
        chain = auth_chain(room, [_event_of(room, asked.path["eventId"])])
        return {"auth_chain": [pdu_of(event) for event in chain]}

    def _transaction_of(self, events: Sequence[Event]) -> Any:
        pdus = [pdu_of(event) for event in events]
        return {"origin": self.name, "origin_server_ts": int(time.time() * 1000), "pdus": pdus}


def auth_chain(room: Room, events: Sequence[Event]) -> list[Event]:
    """All auth events of `events`, theirs, and so on, as far as the room has them."""
    known = {event.event_id: event for event in room.events}
    chain: dict[str, Event] = {}
    waiting = list(events)
    while waiting:
        for event_id in waiting.pop().auth_events:
            if event_id in known and event_id not in chain:
                chain[event_id] = known[event_id]
                waiting.append(known[event_id])
    return list(chain.values())


def back_from(room: Room, start: Sequence[str], limit: int, without: set[str] | None = None) -> list[Event]:
    """The events `start` and what comes before them, latest first, at most `limit`, not behind `without`."""
    known = {event.event_id: event for event in room.events}
    found: dict[str, Event] = {}
    waiting = list(start)
    while waiting and len(found) < limit:
        waiting.sort(key=lambda event_id: known[event_id].depth if event_id in known else -1)
        event_id = waiting.pop()
        if event_id in known and event_id not in found and event_id not in (without or ()):
            found[event_id] = known[event_id]
            waiting.extend(known[event_id].prev_events)
    return list(found.values())


def _event_of(room: Room, event_id: str) -> Event:
    for event in room.events:
        if event.event_id == event_id:
            return event
    raise Refused(404, {"errcode": "M_NOT_FOUND", "error": "the peer has no such event"})


def _matched(template: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    if len(template) != len(parts):
        return None
    variables = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            variables[wanted[1:-1]] = unquote(part)
        elif wanted != part:
            return None
    return variables


class _Answers(Resource):
    """Hands requests to the peer."""

    isLeaf = True  # noqa: N815  (twisted)
    peer: FakePeer

    def render(self, request: Request) -> bytes:
        query = {name.decode(): [v.decode() for v in values] for name, values in request.args.items()}
        credentials = request.getHeader("Authorization") or ""
        method, uri = request.method.decode(), request.uri.decode()
        try:
            status, body = 200, self.peer.respond(method, uri, query, request.content.read(), credentials)
        except Refused as refused:
            status, body = refused.status, refused.body
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", b"application/json")
        return encode_canonical(body)


@implementer(IPolicyForHTTPS)
class _AnyCertificate:
    """Lets peers have certificates of their own making."""

    def creatorForNetloc(self, _host: bytes, _port: int) -> _Unverified:  # noqa: N802  (twisted)
        return _Unverified()


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Connections that do not ask who the server is."""

    def clientConnectionForTLS(self, _protocol: Any) -> SSL.Connection:  # noqa: N802  (twisted)
        return SSL.Connection(CertificateOptions(verify=False).getContext(), None)


async def request_json(method: str, url: str, headers: Mapping[str, str], content: Any) -> Any:
    """The decoded body of an answer that is 200. Raises `Refused`."""
    response = await treq.request(
        method,
        url,
        headers={**headers, "Content-Type": "application/json"},
        data=None if content is None else encode_canonical(content),
        agent=Agent(reactor, _AnyCertificate()),
        timeout=30,
    )
    body = decode_json(await treq.content(response))
    if response.code != 200:
        raise Refused(response.code, body)
    return body
