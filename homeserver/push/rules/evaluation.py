# SPDX-License-Identifier: Apache-2.0
"""What one user's rules make of an event. spec: client-server-api, "Push Rules"."""

from __future__ import annotations

from homeserver.push.rules.actions import NOTHING, Actions
from homeserver.push.rules.compiled import CompiledRule, CompiledRules
from homeserver.push.rules.context import EventView, Occasion, Owner, RoomContext
from storage.event import Event


def evaluate(rules: CompiledRules, event: Event | EventView, room: RoomContext, owner: Owner) -> Actions:
    """The actions of the most important rule that matches; `NOTHING` if none does or the owner is the sender.

    Pass an `EventView` where one event is judged for several users.
    """
    view = event if isinstance(event, EventView) else EventView(event)
    if view.event.sender == owner.user_id:
        return NOTHING
    rule = matching_rule(rules, Occasion(view, room, owner))
    return rule.actions if rule is not None else NOTHING


def matching_rule(rules: CompiledRules, occasion: Occasion) -> CompiledRule | None:
    """The most important rule that matches."""
    event = occasion.event.event
    plan = rules.plan(event.type)
    for rule in plan.before:
        if _matches(rule, occasion):
            return rule
    about = rules.room.get(event.room_id) or rules.sender.get(event.sender)
    if about is not None:
        return about
    for rule in plan.after:
        if _matches(rule, occasion):
            return rule
    return None


def _matches(rule: CompiledRule, occasion: Occasion) -> bool:
    # A loop rather than all(): this runs for every event, and a generator costs more than the conditions do.
    for condition in rule.conditions:  # noqa: SIM110
        if not condition.matches(occasion):
            return False
    return True
