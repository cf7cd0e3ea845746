# SPDX-License-Identifier: Apache-2.0
"""`/health` answers without a token."""

from homeserver.health import Health
from tests.support.http import serve


def test_health() -> None:
    with serve(Health().endpoints()) as server:
        answer = server.client(token=None).request("GET", "/health")
        assert answer.status == 200
        assert answer.content == b"OK"


def test_a_process_that_drains_sends_balancers_away() -> None:
    with serve(Health(draining=lambda: True).endpoints()) as server:
        answer = server.client(token=None).request("GET", "/health")
        assert answer.status == 503
        assert answer.content == b"draining"
