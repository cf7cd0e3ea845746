# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from storage.aliases import Alias, DeletedAlias
from storage.engine.errors import DataError
from tests.support.storing import storing_over

LOBBY = Alias("#lobby:a.example", room=1, creator=10)
CAFE = Alias("#café:a.example", room=1, creator=11)
CELLAR = Alias("#cellar:a.example", room=2, creator=10)


async def test_aliases_point_to_rooms(database):
    storing = storing_over(database)
    aliases = storing.storage.aliases
    await storing.write(LOBBY, CAFE, CELLAR)
    assert await aliases.get(CAFE.alias) == CAFE
    assert await aliases.of_room(1) == [CAFE.alias, LOBBY.alias]
    asked = [LOBBY.alias, CELLAR.alias, CELLAR.alias, "#nowhere:a.example"]
    assert await aliases.rooms_of(asked) == {LOBBY.alias: 1, CELLAR.alias: 2}
    assert await aliases.rooms_of([]) == {}


async def test_an_alias_is_made_once_until_it_is_deleted(database):
    storing = storing_over(database)
    await storing.write(LOBBY)
    with pytest.raises(DataError):
        await storing.write(Alias(LOBBY.alias, room=2, creator=11))
    await storing.write(DeletedAlias(LOBBY.alias))
    assert await storing.storage.aliases.get(LOBBY.alias) is None
    await storing.write(Alias(LOBBY.alias, room=2, creator=11))
    assert await storing.storage.aliases.rooms_of([LOBBY.alias]) == {LOBBY.alias: 2}
