# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from storage.engine.database import Database
from storage.server_keys import KeptDocument, KeptKey, KeptKeys, NewServerKeys
from tests.support.storing import storing_over

OLD, NEW = KeptKey("ed25519:old", b"o" * 32, 5), KeptKey("ed25519:new", b"n" * 32, 900)
DOCUMENT = KeptDocument("a.test", 100, 900, b"{}")


async def test_keys_and_the_last_answer_are_kept(database: Database) -> None:
    storing = storing_over(database)
    keys = storing.storage.server_keys
    await storing.write(NewServerKeys("a.test", [OLD, NEW], DOCUMENT), NewServerKeys("b.test", [OLD]))
    found = await keys.of(["a.test", "b.test", "unknown.test"])
    assert found.keys() == {"a.test", "b.test"}
    assert found["a.test"].valid_until_ts == 900
    assert {key.key_id: key for key in found["a.test"].keys} == {OLD.key_id: OLD, NEW.key_id: NEW}
    assert found["b.test"] == KeptKeys(0, [OLD])
    assert await keys.documents(["a.test", "b.test"]) == {"a.test": DOCUMENT}
    assert await keys.of([]) == {}
    assert await keys.documents([]) == {}


async def test_later_answers_replace_earlier_ones(database: Database) -> None:
    storing = storing_over(database)
    keys = storing.storage.server_keys
    expired = KeptKey(NEW.key_id, NEW.key, 300)
    later = KeptDocument("a.test", 200, 950, b'{"later":1}')
    await storing.write(NewServerKeys("a.test", [OLD, NEW], DOCUMENT))
    await storing.write(
        NewServerKeys("a.test", [NEW], DOCUMENT),
        NewServerKeys("a.test", [expired], later, forgotten=[OLD.key_id]),
        NewServerKeys("a.test", []),
    )
    assert await keys.of(["a.test"]) == {"a.test": KeptKeys(950, [expired])}
    assert await keys.documents(["a.test"]) == {"a.test": later}
