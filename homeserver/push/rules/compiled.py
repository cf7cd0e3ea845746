# SPDX-License-Identifier: Apache-2.0
"""A user's rules in the form in which they are evaluated. Equal rules of many users compile to one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from homeserver.push.rules.actions import Actions, read_actions
from homeserver.push.rules.conditions import (
    TYPE_PATH,
    BodyMatch,
    Condition,
    OwnerCondition,
    OwnerId,
    PropertyMatch,
    read_condition,
)
from homeserver.push.rules.glob import compile_glob, fold
from homeserver.push.rules.ruleset import Kind, Rule, UserRules

_KEPT_PLANS: Final = 64


@attrs.frozen
class CompiledRule:
    """A rule that is enabled."""

    rule_id: str
    conditions: tuple[Condition, ...]
    actions: Actions


@attrs.frozen
class Plan:
    """What is left to try for events of one type: `before`, the rules of room and sender, `after`.

    `owner_conditions` are those in `before` and `after` that do not hold for all owners alike.
    """

    before: tuple[CompiledRule, ...]
    after: tuple[CompiledRule, ...]
    owner_conditions: tuple[OwnerCondition, ...]


@attrs.frozen(eq=False)
class CompiledRules:
    """All enabled rules of a ruleset, in order. `room` and `sender` are by the id that they are about."""

    before: tuple[CompiledRule, ...]
    room: Mapping[str, CompiledRule]
    sender: Mapping[str, CompiledRule]
    after: tuple[CompiledRule, ...]
    _plans: dict[str, Plan] = attrs.field(factory=dict, init=False, repr=False)

    def plan(self, event_type: str) -> Plan:
        """The rules that can match events of this type, without their conditions on the type."""
        plan = self._plans.get(event_type)
        if plan is None:
            plan = self._make_plan(event_type)
            if len(self._plans) >= _KEPT_PLANS:  # strangers choose the types
                self._plans.clear()
            self._plans[event_type] = plan
        return plan

    def _make_plan(self, event_type: str) -> Plan:
        before = _for_type(self.before, event_type)
        after = _for_type(self.after, event_type)
        conditions = (condition for rule in before + after for condition in rule.conditions)
        of_owners = {condition: None for condition in conditions if isinstance(condition, OwnerCondition)}
        return Plan(before, after, tuple(of_owners))


def compile_rules(rules: UserRules) -> CompiledRules:
    """The form of `rules` that `evaluate` and `classify` take."""
    owner = OwnerId()
    override = _with_conditions(rules.json_of_kind(Kind.OVERRIDE, owner))
    underride = _with_conditions(rules.json_of_kind(Kind.UNDERRIDE, owner))
    return CompiledRules(
        before=(*override, *_content(rules.content)),
        room=_by_id(rules.room),
        sender=_by_id(rules.sender),
        after=underride,
    )


def _with_conditions(rules: Iterable[Mapping[str, Any]]) -> tuple[CompiledRule, ...]:
    return tuple(
        CompiledRule(
            rule["rule_id"],
            tuple(read_condition(condition) for condition in rule["conditions"]),
            read_actions(rule["actions"]),
        )
        for rule in rules
        if rule["enabled"]
    )


def _content(rules: Iterable[Rule]) -> Iterable[CompiledRule]:
    for rule in rules:
        if rule.enabled and rule.pattern is not None:
            yield CompiledRule(
                rule.rule_id, (BodyMatch(compile_glob(rule.pattern)),), read_actions(rule.actions)
            )


def _by_id(rules: Iterable[Rule]) -> Mapping[str, CompiledRule]:
    return {
        rule.rule_id: CompiledRule(rule.rule_id, (), read_actions(rule.actions))
        for rule in rules
        if rule.enabled
    }


def _for_type(rules: Iterable[CompiledRule], event_type: str) -> tuple[CompiledRule, ...]:
    folded = fold(event_type)
    kept = []
    for rule in rules:
        rest = []
        for condition in rule.conditions:
            if not isinstance(condition, PropertyMatch) or condition.path != TYPE_PATH:
                rest.append(condition)
            elif not condition.glob.matches(folded):
                break
        else:
            kept.append(attrs.evolve(rule, conditions=tuple(rest)))
    return tuple(kept)


DEFAULT_RULES: Final = compile_rules(UserRules())
"""The rules of a user who has changed nothing."""
