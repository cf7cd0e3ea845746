# SPDX-License-Identifier: Apache-2.0
"""What one set of rules makes of an event for all users who share it, without asking for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import attrs

from homeserver.push.rules.actions import NOTHING
from homeserver.push.rules.compiled import CompiledRules, Plan
from homeserver.push.rules.context import NOBODY, EventView, Occasion, Owner, RoomContext
from homeserver.push.rules.evaluation import matching_rule
from storage.event import Event


class Deviation(NamedTuple):
    """What is to be added to the common outcome for one user: -1, 0 or 1 each."""

    notify: int
    highlight: int


@attrs.frozen
class Classification:
    """The outcome for all users who share the rules, its sender excepted, whom an event never notifies.

    `notify` and `highlight` hold for everyone who is not among the `exceptions`, recipients of the event
    all of them; for those the deviation is added.
    """

    notify: bool
    highlight: bool
    exceptions: Mapping[str, Deviation] = attrs.field(factory=dict)

    def counts_for(self, user_id: str) -> tuple[int, int]:
        """What the event adds to the notification and highlight counts of a user who did not send it."""
        deviation = self.exceptions.get(user_id, _NO_DEVIATION)
        return self.notify + deviation.notify, self.highlight + deviation.highlight


_NO_DEVIATION: Final = Deviation(0, 0)
_NO_EXCEPTIONS: Final[Mapping[str, Deviation]] = MappingProxyType({})
_SILENT: Final = Classification(notify=False, highlight=False, exceptions=_NO_EXCEPTIONS)
_NOTIFIES: Final = Classification(notify=True, highlight=False, exceptions=_NO_EXCEPTIONS)
_HIGHLIGHTS: Final = Classification(notify=True, highlight=True, exceptions=_NO_EXCEPTIONS)


def classify(rules: CompiledRules, event: Event | EventView, room: RoomContext) -> Classification:
    """Evaluate `rules` for everybody who has them.

    The cost does not depend on the number of members: rules are evaluated once for a user whom the event
    does not name and once for each recipient whom it does (mentioned, invited, or, where the rules look for
    them, by display name). Raises `ValueError` if the rules look for display names and `room.names` is
    None.
    """
    view = event if isinstance(event, EventView) else EventView(event)
    rule = matching_rule(rules, Occasion(view, room, NOBODY))
    common = _SILENT
    if rule is not None and rule.actions.notify:
        common = _HIGHLIGHTS if rule.actions.highlight else _NOTIFIES
    plan = rules.plan(view.event.type)
    if not plan.owner_conditions:
        return common
    exceptions = _exceptions(rules, plan, common, view, room)
    return attrs.evolve(common, exceptions=exceptions) if exceptions else common


def _exceptions(
    rules: CompiledRules, plan: Plan, common: Classification, view: EventView, room: RoomContext
) -> Mapping[str, Deviation]:
    named = {user_id for condition in plan.owner_conditions for user_id in condition.named(view, room.names)}
    named.discard(view.event.sender)
    exceptions: dict[str, Deviation] = {}
    for user_id in named:
        if not room.is_recipient(user_id):
            continue
        owner = Owner(user_id, room.names.display_name(user_id) if room.names is not None else None)
        rule = matching_rule(rules, Occasion(view, room, owner))
        actions = rule.actions if rule is not None else NOTHING
        deviation = Deviation(actions.notify - common.notify, actions.highlight - common.highlight)
        if deviation != _NO_DEVIATION:
            exceptions[user_id] = deviation
    return exceptions
