# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import attrs

from storage.user_interactive_sessions import (
    CompletedStages,
    DeletedUserInteractiveSession,
    UserInteractiveSession,
)
from tests.support.storing import storing_over


def session(number: int, client: str = "127.0.0.1") -> UserInteractiveSession:
    return UserInteractiveSession(
        session=bytes([number]) * 32, client=client, endpoint=b"e", body=b"b", expires_ts=1000 + number
    )


async def test_stages_are_kept_in_the_order_in_which_they_were_done(database):
    storing = storing_over(database)
    sessions = storing.storage.user_interactive_sessions
    await storing.write(session(1), session(2))
    assert await sessions.get(session(1).session) == session(1)
    completed = {"m.login.registration_token": "abc", "a.first": {"b": [1, None, True]}}
    await storing.write(CompletedStages(session(1).session, b"other", completed))
    found = await sessions.get(session(1).session)
    assert found == attrs.evolve(session(1), body=b"other", completed=completed)
    assert list(found.completed) == list(completed)
    assert await sessions.get(session(2).session) == session(2)


async def test_what_is_completed_after_the_end_brings_no_session_back(database):
    storing = storing_over(database)
    sessions = storing.storage.user_interactive_sessions
    await storing.write(session(1), session(2))
    await storing.write_together(
        [CompletedStages(session(1).session, b"b", {"m.login.dummy": True})],
        [DeletedUserInteractiveSession(session(1).session)],
    )
    assert await sessions.get(session(1).session) is None
    assert await sessions.get(session(2).session) is not None


async def test_the_oldest_of_a_client_are_surplus(database):
    storing = storing_over(database)
    await storing.write(*(session(number) for number in range(5)), session(9, client="::1"))
    surplus = await storing.storage.user_interactive_sessions.surplus("127.0.0.1", keep=3)
    assert surplus == [session(1).session, session(0).session]


async def test_sessions_expire(database):
    storing = storing_over(database)
    sessions = storing.storage.user_interactive_sessions
    await storing.write(*(session(number) for number in range(5)))
    assert await sessions.expire(1002) == 3
    assert await sessions.expire(1002) == 0
    assert await sessions.get(session(2).session) is None
    assert await sessions.get(session(3).session) == session(3)
