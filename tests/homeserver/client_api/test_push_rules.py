# SPDX-License-Identifier: Apache-2.0
"""Reading push rules over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation.http.endpoint import Requester
from homeserver.client_api.push_rules import PushRulesApi
from homeserver.push.rules.edits import put_rule, set_enabled
from homeserver.push.rules.ruleset import Kind, UserRules
from tests.support.http import Client, Server, serve

RULES = "/_matrix/client/v3/pushrules"
CAKE = {"rule_id": "cake", "default": False, "enabled": True, "actions": [], "pattern": "cake"}


async def rules_of(requester: Requester) -> UserRules:
    """Alice has what everybody has, Bob a rule of his own and one that he does not want."""
    if requester.user_id == "@alice:test":
        return UserRules()
    own = put_rule(UserRules(), Kind.CONTENT, "cake", actions=[], pattern="cake")
    return set_enabled(own, Kind.UNDERRIDE, ".m.rule.message", False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(PushRulesApi(rules_of=rules_of).endpoints()) as running:
        yield running


@pytest.fixture
def alice(server: Server) -> Client:
    return server.client("alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return server.client("bob")


def test_the_ruleset(alice: Client) -> None:
    everything = alice.get(f"{RULES}/").json
    assert everything == {"global": alice.get(f"{RULES}/global/").json} == alice.get(RULES).json
    ruleset = everything["global"]
    assert set(ruleset) == {"override", "content", "room", "sender", "underride"}
    assert [rule["rule_id"] for rule in ruleset["override"]][:2] == [
        ".m.rule.master",
        ".m.rule.suppress_notices",
    ]
    [mention] = [rule for rule in ruleset["override"] if rule["rule_id"] == ".m.rule.is_user_mention"]
    assert mention["conditions"][0]["value"] == "@alice:test"


def test_one_rule(alice: Client, bob: Client) -> None:
    rule = f"{RULES}/global/underride/.m.rule.message"
    assert alice.get(rule).json["actions"] == ["notify"] == alice.get(f"{rule}/actions").json["actions"]
    assert alice.get(f"{rule}/enabled").json == {"enabled": True}
    assert bob.get(f"{rule}/enabled").json == {"enabled": False}
    assert bob.get(f"{RULES}/global/content/cake").json == CAKE


@pytest.mark.parametrize("end", ["", "/actions", "/enabled"])
@pytest.mark.parametrize("rule", ["content/cake", "override/.m.rule.message", "room/%21a%3Ab"])
def test_a_rule_that_the_user_has_not(alice: Client, rule: str, end: str) -> None:
    answer = alice.get(f"{RULES}/global/{rule}{end}")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


def test_a_kind_that_there_is_not(alice: Client) -> None:
    answer = alice.get(f"{RULES}/global/overrides/.m.rule.master")
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("path", ["device", "global/override", "global/override/.m.rule.master/colour"])
def test_a_path_that_there_is_not(alice: Client, path: str) -> None:
    answer = alice.get(f"{RULES}/{path}")
    assert (answer.status, answer.errcode) == (404, "M_UNRECOGNIZED")


def test_rules_are_for_users(server: Server) -> None:
    assert server.client(None).get(f"{RULES}/").errcode == "M_MISSING_TOKEN"
