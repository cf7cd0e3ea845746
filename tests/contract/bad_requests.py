# SPDX-License-Identifier: Apache-2.0
"""All bad requests of an operation, with samples of what exists on the server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import attrs

from tests.contract.bad_bodies import BadBodies
from tests.contract.bad_input import Case
from tests.contract.bad_parameters import BadParameters
from tests.contract.connection import new_name
from tests.contract.operations import Extract, Operation
from tests.contract.shapes import Samples

FOREIGN_SERVER = "no-such-server.invalid"


@attrs.frozen
class Known:
    """What exists on the server under test."""

    server_name: str
    user_id: str
    device_id: str
    room_id: str
    room_alias: str
    event_id: str
    expired_token: str

    @property
    def by_format(self) -> dict[str, str]:
        """A string for each format of the specification."""
        return {
            "mx-user-id": self.user_id,
            "mx-room-id": self.room_id,
            "mx-event-id": self.event_id,
            "mx-room-alias": self.room_alias,
            "mx-server-name": self.server_name,
            "mx-mxc-uri": f"mxc://{self.server_name}/media",
            "mx-unpadded-base64": "c2FtcGxl",
            "mx-urlsafe-unpadded-base64": "c2FtcGxl",
            "uri": "https://example.org/",
            "email": "alice@example.org",
        }

    @property
    def path(self) -> dict[str, str]:
        """A value for each path parameter that the specification has."""
        return {
            "userId": self.user_id,
            "deviceId": self.device_id,
            "roomId": self.room_id,
            "roomIdOrAlias": self.room_id,
            "roomAlias": self.room_alias,
            "eventId": self.event_id,
            "eventType": "org.example.type",
            "stateKey": "key",
            "txnId": new_name(),
            "filterId": "0",
            "type": "org.example.type",
            "tag": "u.tag",
            "keyName": "displayname",
            "kind": "underride",
            "ruleId": ".m.rule.message",
            "receiptType": "m.read",
            "serverName": self.server_name,
        }


@attrs.frozen
class BadRequests:
    """Makes the bad requests of one operation."""

    operation: Operation
    known: Known
    samples: Samples

    def path(self) -> dict[str, str]:
        """Return a valid value for every path parameter of the operation, a new one for transaction IDs."""
        known = self.known.path
        return {
            parameter.name: known.get(parameter.name) or str(self.samples.sample(parameter.schema))
            for parameter in self.operation.in_place("path")
        }

    @property
    def query(self) -> dict[str, str]:
        """A valid value for every required query parameter."""
        return {
            parameter.name: str(self.samples.sample(parameter.schema))
            for parameter in self.operation.in_place("query")
            if parameter.required
        }

    def cases(self) -> Iterator[Case]:
        """Yield all of them."""
        body = b""
        if self.operation.body is not None:
            body = json.dumps(self.samples.sample(self.operation.body)).encode()
        yield from BadBodies(
            operation=self.operation,
            path=lambda: self.operation.path_with(self.path()),
            query=urlencode(self.query),
            samples=self.samples,
        ).cases()
        yield from BadParameters(
            operation=self.operation,
            path=self.path,
            query=self.query,
            body=body,
            samples=self.samples,
            expired_token=self.known.expired_token,
            foreign_server=FOREIGN_SERVER,
        ).cases()

    def case_with_body(self, body: object) -> Case:
        """Return a case with a random body."""
        return Case(
            operation=self.operation,
            fault="a random body",
            path=self.operation.path_with(self.path()),
            query=urlencode(self.query),
            body=json.dumps(body).encode(),
            asks_peer=True,
        )


def bad_requests(operation: Operation, known: Known, extract: Extract) -> BadRequests:
    """Return the bad requests of an operation."""
    samples = Samples(definitions=extract.definitions, by_format=known.by_format)
    return BadRequests(operation=operation, known=known, samples=samples)


def without_exceptions(cases: Iterator[Case], lenient: Mapping[str, frozenset[str]]) -> Iterator[Case]:
    """Yield the cases; those that `lenient` lists by operation and fault need not be refused."""
    for case in cases:
        excused = case.fault in lenient.get(case.operation.name, frozenset())
        yield attrs.evolve(case, refusal=None) if excused else case
