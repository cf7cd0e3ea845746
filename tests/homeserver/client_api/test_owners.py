# SPDX-License-Identifier: Apache-2.0
"""Who answers which request where there are several processes, as the endpoints declare it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from federation.http.endpoint import Endpoint
from tests.contract.server import all_endpoints, running

V3 = "/_matrix/client/v3/"
DECLARED = """
PUT    rooms/{roomId}/send/{eventType}/{txnId}                  roomId         again
PUT    rooms/{roomId}/state/{eventType}                         roomId         again
PUT    rooms/{roomId}/state/{eventType}/{stateKey}              roomId         again
PUT    rooms/{roomId}/redact/{eventId}/{txnId}                  roomId         again
PUT    rooms/{roomId}/typing/{userId}                           roomId         again
POST   rooms/{roomId}/receipt/{receiptType}/{eventId}           roomId         again
POST   rooms/{roomId}/read_markers                              roomId         again
POST   join/{roomIdOrAlias}                                     roomIdOrAlias  again
POST   rooms/{roomId}/join                                      roomId         again
POST   rooms/{roomId}/invite                                    roomId         again
POST   rooms/{roomId}/leave                                     roomId         again
POST   rooms/{roomId}/forget                                    roomId         again
POST   rooms/{roomId}/ban                                       roomId         again
POST   rooms/{roomId}/kick                                      roomId         once
POST   rooms/{roomId}/unban                                     roomId         once
DELETE directory/room/{roomAlias}                               roomAlias      once
PUT    user/{userId}/account_data/{type}                        userId         again
PUT    user/{userId}/rooms/{roomId}/account_data/{type}         userId         again
PUT    user/{userId}/rooms/{roomId}/tags/{tag}                  userId         again
DELETE user/{userId}/rooms/{roomId}/tags/{tag}                  userId         again
PUT    profile/{userId}/{keyName}                               userId         again
DELETE profile/{userId}/{keyName}                               userId         again
"""
SENDING = {
    "rooms/{roomId}/send/{eventType}/{txnId}",
    "rooms/{roomId}/state/{eventType}",
    "rooms/{roomId}/state/{eventType}/{stateKey}",
    "rooms/{roomId}/redact/{eventId}/{txnId}",
}


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Mapping[tuple[str, str], Endpoint]]:
    with running("sqlite") as server:
        yield {
            (endpoint.method, endpoint.path.removeprefix(V3)): endpoint
            for endpoint in all_endpoints(server.homeserver)
        }


@pytest.mark.parametrize("line", DECLARED.strip().splitlines())
def test_who_owns_what_is_written(endpoints: Mapping[tuple[str, str], Endpoint], line: str) -> None:
    method, path, owner, times = line.split()
    endpoint = endpoints[method, path]
    assert endpoint.owner == owner
    assert endpoint.is_repeatable is (times == "again")


def test_whatever_writes_to_a_room_has_an_owner(endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
    ownerless = [
        key for key, endpoint in endpoints.items() if "{roomId}" in key[1] and endpoint.owner is None
    ]
    assert ownerless
    assert {method for method, _ in ownerless} == {"GET"}


def test_only_what_sends_reads_nothing_of_others(endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
    without = {path for (method, path), endpoint in endpoints.items() if not endpoint.latest}
    assert without == SENDING
    assert all(endpoints["PUT", path].owner == "roomId" for path in SENDING)
