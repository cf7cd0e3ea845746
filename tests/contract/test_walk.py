# SPDX-License-Identifier: Apache-2.0
"""Every routed operation succeeds once, and the answer is as the specification says."""

from __future__ import annotations

import pytest

from tests.contract.not_yet import NOT_YET
from tests.contract.operations import specification
from tests.contract.scenario import Scenario, make
from tests.contract.schema import Contract
from tests.contract.walk import WALK

LISTED = {name for names in NOT_YET.values() for name in names}


@pytest.mark.parametrize("name", WALK)
async def test_a_request_succeeds(name: str, scenario: Scenario) -> None:
    operation = specification().operations[name]
    request = await WALK[name](scenario)
    reply = await make(request, operation, scenario.connection)
    assert reply.status == 200, f"{name} answered {reply.status}: {reply.body[:500]!r}"
    answer = Contract(extract=specification()).check(operation, 200, reply.content_type, reply.body)
    assert request.shows(answer), f"{name} does not show what it should: {reply.body[:2000]!r}"


def test_every_routed_operation_has_a_line() -> None:
    assert set(WALK) == specification().operations.keys() - LISTED


@pytest.mark.parametrize("name", WALK)
def test_the_line_is_where_the_operation_is_documented_to_succeed(name: str) -> None:
    assert 200 in specification().operations[name].responses
