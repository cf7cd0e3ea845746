# SPDX-License-Identifier: Apache-2.0
"""The walk: push rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.contract.connection import CLIENT
from tests.contract.scenario import Line, Request, Scenario


async def push_rules(s: Scenario) -> Request:
    return Request(user=s.alice, shows=lambda answer: answer["global"]["underride"])


async def global_push_rules(s: Scenario) -> Request:
    return Request(user=s.alice, shows=lambda answer: answer["override"])


def _of_a_push_rule(shows: Callable[[Any], object]) -> Line:
    async def line(s: Scenario) -> Request:
        return Request(user=s.alice, path={"kind": "underride", "ruleId": ".m.rule.message"}, shows=shows)

    return line


RULES = f"{CLIENT}/pushrules"
RULE = f"{RULES}/global/{{kind}}/{{ruleId}}"

LINES: Mapping[str, Line] = {
    f"GET {RULES}/": push_rules,
    f"GET {RULES}/global/": global_push_rules,
    f"GET {RULE}": _of_a_push_rule(lambda answer: answer["rule_id"] == ".m.rule.message"),
    f"GET {RULE}/actions": _of_a_push_rule(lambda answer: answer["actions"]),
    f"GET {RULE}/enabled": _of_a_push_rule(lambda answer: answer["enabled"] is True),
}
