# SPDX-License-Identifier: Apache-2.0
"""Every routed operation refuses what is wrong, never fails, and answers afterwards."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.bad_input import ENDS_SESSION, Judge
from tests.contract.bad_requests import BadRequests, Known, bad_requests, without_exceptions
from tests.contract.connection import CLIENT, User, register
from tests.contract.lenient import LENIENT
from tests.contract.operations import Operation, specification
from tests.contract.random_bodies import RandomBodies
from tests.contract.scenario import Scenario
from tests.contract.schema import Contract
from tests.contract.server import RunningServer
from tests.contract.walk import WALK
from tests.support.reactor import in_reactor

RANDOM_BODIES = 25
# Alice is in all the rooms that the other operations were tried in, which makes her syncs long.
OWN_USER = ENDS_SESSION | {f"GET {CLIENT}/sync"}
FAULTS_SHOWN = 30
OPERATIONS = specification().operations
WITH_BODY = [name for name in WALK if OPERATIONS[name].body is not None]


@pytest.fixture(scope="module")
def expired_token(scenario: Scenario) -> str:
    """The token of a session that has been logged out."""

    async def log_out() -> str:
        user = await scenario.alice.log_in_again()
        await user.ask("POST", f"{CLIENT}/logout", {})
        return user.token

    return in_reactor(log_out())


async def requests_of(
    operation: Operation, scenario: Scenario, expired_token: str
) -> tuple[BadRequests, User]:
    """Return the bad requests of an operation in a room of its own, and who is to send them."""
    user = await register(scenario.connection) if operation.name in OWN_USER else scenario.alice
    room_id = await user.create_room()
    known = Known(
        server_name=scenario.connection.server_name,
        user_id=user.user_id,
        device_id=user.device_id,
        room_id=room_id,
        room_alias=await user.make_alias(room_id),
        event_id=await user.send(room_id),
        expired_token=expired_token,
    )
    return bad_requests(operation, known, specification()), user


def judge(server: RunningServer) -> Judge:
    return Judge(connection=server.connection, contract=Contract(extract=specification()))


@pytest.mark.parametrize("name", WALK)
async def test_bad_requests_are_refused(
    name: str,
    server: RunningServer,
    scenario: Scenario,
    expired_token: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    requests, user = await requests_of(OPERATIONS[name], scenario, expired_token)
    found = await judge(server).faults(without_exceptions(requests.cases(), LENIENT), user)
    found += [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    shown = "\n".join(found[:FAULTS_SHOWN])
    assert not found, f"{len(found)} faults:\n{shown}"


@pytest.mark.parametrize("name", WITH_BODY)
def test_random_bodies_do_no_harm(
    name: str, server: RunningServer, scenario: Scenario, expired_token: str
) -> None:
    requests, user = in_reactor(requests_of(OPERATIONS[name], scenario, expired_token))
    schema = OPERATIONS[name].body
    assert schema is not None
    bodies = RandomBodies(definitions=specification().definitions, by_format=requests.known.by_format)

    @settings(max_examples=RANDOM_BODIES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies.values(schema))
    def send(body: Any) -> None:
        assert in_reactor(judge(server).faults([requests.case_with_body(body)], user)) == []

    send()


def test_every_exception_is_of_a_case_that_is_there(samples_of_nothing: Known) -> None:
    for name, faults in LENIENT.items():
        cases = bad_requests(OPERATIONS[name], samples_of_nothing, specification()).cases()
        strict = {case.fault for case in cases if case.refusal is not None}
        assert faults <= strict, f"{name} has no such case: {sorted(faults - strict)}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_cases_of_every_operation_can_be_made(name: str, samples_of_nothing: Known) -> None:
    """Of those not yet routed too, so that whoever routes one finds its cases ready."""
    cases = list(bad_requests(OPERATIONS[name], samples_of_nothing, specification()).cases())
    assert len(cases) == len({case.fault for case in cases})
    assert all("{" not in case.path for case in cases)
    assert any(case.refusal is not None for case in cases) or OPERATIONS[name].auth != "token"


@pytest.fixture(scope="module")
def samples_of_nothing() -> Known:
    """Names of things that exist on no server."""
    return Known(
        server_name="example.org",
        user_id="@alice:example.org",
        device_id="DEVICE",
        room_id="!room:example.org",
        room_alias="#room:example.org",
        event_id="$event:example.org",
        expired_token="expired",
    )
