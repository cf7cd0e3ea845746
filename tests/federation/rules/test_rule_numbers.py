# SPDX-License-Identifier: Apache-2.0
"""The numbers of the authorisation rules, as the specification's text of each version has them."""

from __future__ import annotations

import pytest

from federation.rules.room_versions import ROOM_VERSIONS
from federation.rules.rule_numbers import Rule

# One column for each text: versions 1 and 2, 3 to 5, 6, 7, 8 and 9, 10, 11, 12. A dash: no such rule.
COLUMNS = {"1": 0, "2": 0, "3": 1, "4": 1, "5": 1, "6": 2, "7": 3, "8": 4, "9": 4, "10": 5, "11": 6, "12": 7}

TEXTS = """
CREATE_PREV_EVENTS              1.1      1.1      1.1      1.1      1.1      1.1      1.1      1.1
CREATE_ROOM_ID                  1.2      1.2      1.2      1.2      1.2      1.2      1.2      1.2
CREATE_ROOM_VERSION             1.3      1.3      1.3      1.3      1.3      1.3      1.3      1.3
CREATE_CREATOR                  1.4      1.4      1.4      1.4      1.4      1.4      -        -
CREATE_ADDITIONAL_CREATORS      -        -        -        -        -        -        -        1.4
ROOM_ID                         -        -        -        -        -        -        -        2
AUTH_EVENTS_DUPLICATE           2.1      2.1      2.1      2.1      2.1      2.1      2.1      3.1
AUTH_EVENTS_UNEXPECTED          2.2      2.2      2.2      2.2      2.2      2.2      2.2      3.2
AUTH_EVENTS_REJECTED            2.3      2.3      2.3      2.3      2.3      2.3      2.3      3.3
AUTH_EVENTS_NO_CREATE           2.4      2.4      2.4      2.4      2.4      2.4      2.4      -
AUTH_EVENTS_OTHER_ROOM          2.5      2.5      2.5      2.5      2.5      2.5      2.5      3.5
FEDERATE                        3        3        3        3        3        3        3        4
ALIASES_STATE_KEY               4.1      4.1      -        -        -        -        -        -
ALIASES_OTHER_SERVER            4.2      4.2      -        -        -        -        -        -
MEMBER_SHAPE                    5.1      5.1      4.1      4.1      4.1      4.1      4.1      5.1
MEMBER_AUTHORISER_SIGNATURE     -        -        -        -        4.2.1    4.2.1    4.2.1    5.2.1
JOIN_OTHER_USER                 5.2.2    5.2.2    4.2.2    4.2.2    4.3.2    4.3.2    4.3.2    5.3.2
JOIN_BANNED                     5.2.3    5.2.3    4.2.3    4.2.3    4.3.3    4.3.3    4.3.3    5.3.3
JOIN_AUTHORISER                 -        -        -        -        4.3.5.2  4.3.5.2  4.3.5.2  5.3.5.2
JOIN_OTHERWISE                  5.2.6    5.2.6    4.2.6    4.2.6    4.3.7    4.3.7    4.3.7    5.3.7
THIRD_PARTY_TARGET_BANNED       5.3.1.1  5.3.1.1  4.3.1.1  4.3.1.1  4.4.1.1  4.4.1.1  4.4.1.1  5.4.1.1
THIRD_PARTY_NOT_SIGNED          5.3.1.2  5.3.1.2  4.3.1.2  4.3.1.2  4.4.1.2  4.4.1.2  4.4.1.2  5.4.1.2
THIRD_PARTY_SIGNED_SHAPE        5.3.1.3  5.3.1.3  4.3.1.3  4.3.1.3  4.4.1.3  4.4.1.3  4.4.1.3  5.4.1.3
THIRD_PARTY_OTHER_USER          5.3.1.4  5.3.1.4  4.3.1.4  4.3.1.4  4.4.1.4  4.4.1.4  4.4.1.4  5.4.1.4
THIRD_PARTY_UNKNOWN_TOKEN       5.3.1.5  5.3.1.5  4.3.1.5  4.3.1.5  4.4.1.5  4.4.1.5  4.4.1.5  5.4.1.5
THIRD_PARTY_OTHER_SENDER        5.3.1.6  5.3.1.6  4.3.1.6  4.3.1.6  4.4.1.6  4.4.1.6  4.4.1.6  5.4.1.6
THIRD_PARTY_OTHERWISE           5.3.1.8  5.3.1.8  4.3.1.8  4.3.1.8  4.4.1.8  4.4.1.8  4.4.1.8  5.4.1.8
INVITE_SENDER_NOT_JOINED        5.3.2    5.3.2    4.3.2    4.3.2    4.4.2    4.4.2    4.4.2    5.4.2
INVITE_TARGET_JOINED_OR_BANNED  5.3.3    5.3.3    4.3.3    4.3.3    4.4.3    4.4.3    4.4.3    5.4.3
INVITE_OTHERWISE                5.3.5    5.3.5    4.3.5    4.3.5    4.4.5    4.4.5    4.4.5    5.4.5
LEAVE_NOT_IN_ROOM               5.4.1    5.4.1    4.4.1    4.4.1    4.5.1    4.5.1    4.5.1    5.5.1
LEAVE_SENDER_NOT_JOINED         5.4.2    5.4.2    4.4.2    4.4.2    4.5.2    4.5.2    4.5.2    5.5.2
LEAVE_TARGET_BANNED             5.4.3    5.4.3    4.4.3    4.4.3    4.5.3    4.5.3    4.5.3    5.5.3
LEAVE_OTHERWISE                 5.4.5    5.4.5    4.4.5    4.4.5    4.5.5    4.5.5    4.5.5    5.5.5
BAN_SENDER_NOT_JOINED           5.5.1    5.5.1    4.5.1    4.5.1    4.6.1    4.6.1    4.6.1    5.6.1
BAN_OTHERWISE                   5.5.3    5.5.3    4.5.3    4.5.3    4.6.3    4.6.3    4.6.3    5.6.3
KNOCK_JOIN_RULE                 -        -        -        4.6.1    4.7.1    4.7.1    4.7.1    5.7.1
KNOCK_OTHER_USER                -        -        -        4.6.2    4.7.2    4.7.2    4.7.2    5.7.2
KNOCK_OTHERWISE                 -        -        -        4.6.4    4.7.4    4.7.4    4.7.4    5.7.4
MEMBER_UNKNOWN                  5.6      5.6      4.6      4.7      4.8      4.8      4.8      5.8
SENDER_NOT_JOINED               6        6        5        5        5        5        5        6
THIRD_PARTY_INVITE_LEVEL        7.1      7.1      6.1      6.1      6.1      6.1      6.1      7.1
REQUIRED_LEVEL                  8        8        7        7        7        7        7        8
STATE_KEY_OF_OTHER_USER         9        9        8        8        8        8        8        9
LEVELS_NOT_INTEGERS             -        -        -        -        -        9.1      9.1      10.1
LEVELS_MAPS_NOT_INTEGERS        -        -        -        -        -        9.2      9.2      10.2
LEVELS_USERS_SHAPE              10.1     10.1     9.1      9.1      9.1      9.3      9.3      10.3
LEVELS_OF_CREATORS              -        -        -        -        -        -        -        10.4
LEVELS_CURRENT_TOO_HIGH         10.3.1   10.3.1   9.3.1    9.3.1    9.3.1    9.5.1    9.5.1    10.6.1
LEVELS_NEW_TOO_HIGH             10.3.2   10.3.2   9.3.2    9.3.2    9.3.2    9.5.2    9.5.2    10.6.2
LEVELS_ENTRY_CURRENT_TOO_HIGH   10.4.1   10.4.1   9.4.1    9.4.1    9.4.1    9.6.1    9.6.1    10.7.1
LEVELS_ENTRY_NEW_TOO_HIGH       10.5.1   10.5.1   9.5.1    9.5.1    9.5.1    9.7.1    9.7.1    10.8.1
LEVELS_USER_CURRENT_TOO_HIGH    10.6.1   10.6.1   9.6.1    9.6.1    9.6.1    9.8.1    9.8.1    10.9.1
LEVELS_USER_NEW_TOO_HIGH        10.7.1   10.7.1   9.7.1    9.7.1    9.7.1    9.9.1    9.9.1    10.10.1
REDACTION_OTHERWISE             11.3     -        -        -        -        -        -        -
"""

TABLE = {row.split()[0]: row.split()[1:] for row in TEXTS.strip().splitlines()}


def test_the_table_knows_every_rule() -> None:
    assert list(COLUMNS) == list(ROOM_VERSIONS)
    assert set(TABLE) == {rule.name for rule in Rule}


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_numbers_are_those_of_the_text(name: str) -> None:
    numbers = {rule: row[COLUMNS[name]] for rule, row in TABLE.items()}
    expected = {rule: number for rule, number in numbers.items() if number != "-"}
    assert {rule.name: number for rule, number in ROOM_VERSIONS[name].rule_numbers.items()} == expected
    assert len(set(expected.values())) == len(expected)
