# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from storage.published_rooms import PublishedRoom, UnpublishedRoom
from tests.support.storing import storing_over


async def test_rooms_are_listed_and_taken_off_the_list(database):
    storing = storing_over(database)
    rooms = storing.storage.published_rooms
    await storing.write(PublishedRoom(7), PublishedRoom(3), PublishedRoom(7))
    await storing.write(PublishedRoom(3))
    assert await rooms.all() == [3, 7]
    await storing.write(UnpublishedRoom(3), UnpublishedRoom(99))
    assert [await rooms.has(room) for room in (3, 7)] == [False, True]
