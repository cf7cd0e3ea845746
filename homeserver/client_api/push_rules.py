# SPDX-License-Identifier: Apache-2.0
"""What a user is to be notified of, to be read. spec: client-server-api, "Push Rules: API"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from federation.http.endpoint import Call, Endpoint, Json, Requester
from homeserver.push.rules.edits import find_rule, read_kind
from homeserver.push.rules.ruleset import UserRules

_RULES: Final = "/_matrix/client/v3/pushrules"
_RULE: Final = f"{_RULES}/global/{{kind}}/{{ruleId}}"


class PushRulesApi:
    """The readers of `/pushrules`; `rules_of` gives a user's rules."""

    def __init__(self, *, rules_of: Callable[[Requester], Awaitable[UserRules]]) -> None:
        self._rules_of = rules_of

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (
            Endpoint("GET", f"{_RULES}/", self.all_rulesets),
            Endpoint("GET", f"{_RULES}/global/", self.ruleset),
            Endpoint("GET", _RULE, self.rule),
            Endpoint("GET", f"{_RULE}/actions", self.actions),
            Endpoint("GET", f"{_RULE}/enabled", self.enabled),
        )

    async def all_rulesets(self, call: Call) -> Json:
        """The one ruleset that there is, by its name."""
        return Json(await self.json_of(call.user))

    async def ruleset(self, call: Call) -> Json:
        """All rules by kind."""
        return Json((await self.json_of(call.user))["global"])

    async def rule(self, call: Call) -> Json:
        """One rule."""
        return Json(await self._find(call))

    async def actions(self, call: Call) -> Json:
        """What one rule does."""
        return Json({"actions": (await self._find(call))["actions"]})

    async def enabled(self, call: Call) -> Json:
        """Whether one rule is in force."""
        return Json({"enabled": (await self._find(call))["enabled"]})

    async def json_of(self, requester: Requester) -> dict[str, Any]:
        """The content of the user's `m.push_rules`. spec: client-server-api, "m.push_rules"."""
        rules = await self._rules_of(requester)
        return {"global": rules.json(requester.user_id)}

    async def _find(self, call: Call) -> dict[str, Any]:
        kind = read_kind(call.path["kind"])
        rules = await self._rules_of(call.user)
        return find_rule(rules, kind, call.path["ruleId"], call.user.user_id)
