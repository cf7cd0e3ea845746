# SPDX-License-Identifier: Apache-2.0
"""Interning by a second program, beside a server that numbers strings in memory."""

from __future__ import annotations

from tests.support.storing import storing_over


async def test_the_numbers_of_two_programs_do_not_meet(database):
    server, program = storing_over(database), storing_over(database)
    first = (await server.storage.strings.intern(("@alice:a.example",)))["@alice:a.example"]
    await server.write()
    beside = [await program.storage.strings.intern_beside(f"@{name}:a.example") for name in ("bob", "carol")]
    assert await program.storage.strings.intern_beside("@bob:a.example") == beside[0]
    assert await program.storage.strings.intern_beside("@alice:a.example") == first
    later = await server.storage.strings.intern(("@bob:a.example", "@dave:a.example"))
    await server.write()
    assert later["@bob:a.example"] == beside[0]
    numbers = {first, *beside, later["@dave:a.example"]}
    assert len(numbers) == 4
    fresh = storing_over(database).storage.strings
    assert sorted((await fresh.values(numbers)).values()) == [
        "@alice:a.example",
        "@bob:a.example",
        "@carol:a.example",
        "@dave:a.example",
    ]
