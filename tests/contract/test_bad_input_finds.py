# SPDX-License-Identifier: Apache-2.0
"""The bad requests find every kind of fault that they look for, and none where there is none."""

from __future__ import annotations

import pytest

from tests.contract.bad_input import Judge
from tests.contract.bad_requests import BadRequests, Known, bad_requests
from tests.contract.connection import User
from tests.contract.loopback import Loopback
from tests.contract.operations import specification
from tests.contract.schema import Contract
from tests.contract.tiny_server import NAME, TOKEN, Fault, listening, tiny_extract

KNOWN = Known(
    server_name="example.org",
    user_id="@alice:example.org",
    device_id="DEVICE",
    room_id="!room:example.org",
    room_alias="#room:example.org",
    event_id="$event:example.org",
    expired_token="an-old-token",
)
EXTRACT = tiny_extract(specification().errcodes)

FOUND = {
    Fault.CRASHES_ON_A_WRONG_TYPE: "name is integer: answered 500",
    Fault.ACCEPTS_A_WRONG_TYPE: "inner.flag is string: is not refused",
    Fault.CRASHES_WITHOUT_A_MEMBER: "name is missing: answered 500",
    Fault.CRASHES_ON_U0000: "U+0000 in roomId: answered 500",
    Fault.CRASHES_ON_DEPTH: "no object: deep arrays: answered 500",
    Fault.CRASHES_ON_HUGE_LIMITS: "limit is huge: answered 500",
    Fault.ACCEPTS_ANY_TOKEN: "a token that has expired: is not refused",
    Fault.ACCEPTS_ANY_SIZE: "2 MiB: is not refused",
    Fault.ACCEPTS_LONG_IDENTIFIERS: "roomId with more than 255 bytes: is not refused",
    Fault.REFUSES_IN_HTML: "media type 'text/html'",
    Fault.REFUSES_WITHOUT_A_TEXT: "$.error: an error has a string here",
    Fault.REFUSES_WITH_AN_UNKNOWN_CODE: "the specification has no M_VERY_BAD_JSON",
    Fault.REFUSES_WITH_THE_WRONG_CODE: "is refused with M_UNKNOWN, not M_NOT_JSON",
    Fault.SUCCEEDS_IN_THE_WRONG_SHAPE: "$.length: '4' is not of type 'integer'",
    Fault.NEVER_ANSWERS_A_FLOAT: "count is number: no answer within",
    Fault.FORGETS_EVERYBODY: "afterwards GET /_matrix/client/v3/account/whoami answers 401",
}


def requests() -> BadRequests:
    return bad_requests(EXTRACT.operations[NAME], KNOWN, EXTRACT)


async def faults(fault: Fault) -> list[str]:
    """Return what the bad requests find in a server with the fault."""
    with listening(fault) as port:
        connection = Loopback(server_name="example.org", port=port)
        user = User(connection=connection, user_id=KNOWN.user_id, device_id="DEVICE", token=TOKEN)
        judge = Judge(connection=connection, contract=Contract(extract=EXTRACT), soon=0.25)
        try:
            return await judge.faults(requests().cases(), user)
        finally:
            await connection.close()


async def test_a_sound_server_has_no_faults() -> None:
    assert await faults(Fault.NONE) == []


@pytest.mark.parametrize("fault", FOUND, ids=lambda fault: fault.name)
async def test_every_fault_is_found(fault: Fault) -> None:
    found = await faults(fault)
    assert any(FOUND[fault] in text for text in found), found


def test_every_fault_is_looked_for() -> None:
    assert set(FOUND) == set(Fault) - {Fault.NONE}


def test_the_cases_are_many_and_each_is_named_once() -> None:
    names = [case.fault for case in requests().cases()]
    assert len(names) > 120
    assert len(names) == len(set(names))
