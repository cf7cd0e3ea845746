# SPDX-License-Identifier: Apache-2.0
"""What the push rules API changes, as functions from one value to the next.

spec: client-server-api, "Push Rules: API"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from federation.errors import InvalidParam, MissingParam, NotFound, TooLarge, Unknown
from homeserver.push.rules.actions import HISTORICAL
from homeserver.push.rules.conditions import BodyMatch, PropertyMatch, read_condition
from homeserver.push.rules.defaults import DEFAULT_KINDS, default_rules
from homeserver.push.rules.glob import compile_glob
from homeserver.push.rules.ruleset import Change, Kind, Rule, UserRules

MAX_RULES: Final = 5000
"""How many rules a user may make."""
MAX_CONDITIONS: Final = 5000
"""How many conditions these may have in all; each is looked at for every event of the user's rooms."""
MAX_SEARCH_COST: Final = 8192
"""How much all their patterns may cost that texts are searched for: roughly, their length in characters."""
MAX_RULE_SIZE: Final = 16_384
"""The largest rule, in bytes of JSON."""
_MAX_ID_LENGTH: Final = 512


def read_kind(kind: str) -> Kind:
    """The kind of rules called `kind`. Raises `InvalidParam`."""
    try:
        return Kind(kind)
    except ValueError:
        raise InvalidParam(f"kind: there are no rules of kind {kind!r}") from None


def find_rule(rules: UserRules, kind: Kind, rule_id: str, owner: str) -> dict[str, Any]:
    """A rule as JSON, a default one or the user's own. Raises `NotFound`."""
    for rule in rules.json_of_kind(kind, owner):
        if rule["rule_id"] == rule_id:
            return rule
    raise NotFound(f"There is no {kind.value} rule {rule_id!r}")


def put_rule(
    rules: UserRules,
    kind: Kind,
    rule_id: str,
    *,
    actions: Sequence[Any],
    conditions: Sequence[Any] | None = None,
    pattern: str | None = None,
    before: str | None = None,
    after: str | None = None,
) -> UserRules:
    """Make a rule, or change the one that has this kind and id.

    A new rule is enabled and the most important of its kind; an old one stays enabled or disabled, and in
    its place. `before` and `after` name a rule of the user's own to stand right before or after; `before`
    has precedence.

    Raises `InvalidParam`, `MissingParam`, `TooLarge`, and `Unknown` where `before` or `after` names no such
    rule.
    """
    _check_id(rule_id)
    old = _own_rule(rules, kind, rule_id)
    rule = Rule(
        rule_id=rule_id,
        actions=check_actions(actions),
        enabled=old.enabled if old is not None else True,
        conditions=_check_conditions(conditions or ()) if kind.value in DEFAULT_KINDS else (),
        pattern=_check_pattern(pattern) if kind is Kind.CONTENT else None,
    )
    if len(msgspec.json.encode(rule)) > MAX_RULE_SIZE:
        raise TooLarge(f"A push rule must not be larger than {MAX_RULE_SIZE} bytes")
    own = rules.of_kind(kind)
    if old is not None and before is None and after is None:
        changed = tuple(rule if r.rule_id == rule_id else r for r in own)
    else:
        others = [r for r in own if r.rule_id != rule_id]
        others.insert(_place(others, before, after), rule)
        changed = tuple(others)
    result = _with_kind(rules, kind, changed)
    _check_bounds(result)
    return result


def delete_rule(rules: UserRules, kind: Kind, rule_id: str) -> UserRules:
    """Remove a rule of the user's own. Raises `NotFound`; default rules cannot be removed."""
    if _own_rule(rules, kind, rule_id) is None:
        raise NotFound(f"There is no {kind.value} rule {rule_id!r} of your own")
    return _with_kind(rules, kind, tuple(r for r in rules.of_kind(kind) if r.rule_id != rule_id))


def set_enabled(rules: UserRules, kind: Kind, rule_id: str, enabled: bool) -> UserRules:
    """Enable or disable a rule, a default one or the user's own. Raises `NotFound`."""
    default = _default_rule(kind, rule_id)
    if default is None:
        return _change_own(rules, kind, rule_id, enabled=enabled)
    return _change_default(rules, rule_id, enabled=None if default["enabled"] is enabled else enabled)


def set_actions(rules: UserRules, kind: Kind, rule_id: str, actions: Sequence[Any]) -> UserRules:
    """Give a rule, a default one or the user's own, other actions.

    Raises `NotFound`, `InvalidParam` and `TooLarge`.
    """
    checked = check_actions(actions)
    if len(msgspec.json.encode(checked)) > MAX_RULE_SIZE:
        raise TooLarge(f"A push rule must not be larger than {MAX_RULE_SIZE} bytes")
    default = _default_rule(kind, rule_id)
    if default is None:
        return _change_own(rules, kind, rule_id, actions=checked)
    return _change_default(rules, rule_id, actions=None if default["actions"] == list(checked) else checked)


def check_actions(actions: Sequence[Any]) -> tuple[Any, ...]:
    """The actions without historical ones. Raises `InvalidParam` for what is no action."""
    kept = []
    for index, action in enumerate(actions):
        if isinstance(action, str) and action in HISTORICAL:
            continue
        is_tweak = isinstance(action, Mapping) and isinstance(action.get("set_tweak"), str)
        if action != "notify" and not is_tweak:
            raise InvalidParam(f'actions[{index}]: neither "notify" nor an object with a string `set_tweak`')
        kept.append(action)
    return tuple(kept)


def _check_id(rule_id: str) -> None:
    if not rule_id or rule_id.startswith("."):
        raise InvalidParam(
            "ruleId: must not be empty, and a leading dot is reserved for the server's default rules"
        )
    if "/" in rule_id or "\\" in rule_id or "\0" in rule_id:
        raise InvalidParam("ruleId: must not contain slashes or backslashes")
    if len(rule_id) > _MAX_ID_LENGTH:
        raise InvalidParam(f"ruleId: longer than {_MAX_ID_LENGTH} characters")


def _check_conditions(conditions: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    for index, condition in enumerate(conditions):
        if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
            raise InvalidParam(f"conditions[{index}]: not an object with a string `kind`")
    return tuple(conditions)


def _check_pattern(pattern: str | None) -> str:
    if pattern is None:
        raise MissingParam("pattern: a content rule needs one")
    return pattern


def _place(others: Sequence[Rule], before: str | None, after: str | None) -> int:
    neighbour = before if before is not None else after
    if neighbour is None:
        return 0
    for index, rule in enumerate(others):
        if rule.rule_id == neighbour:
            return index if before is not None else index + 1
    raise Unknown(f"before/after rule not found: {neighbour}")


def _check_bounds(rules: UserRules) -> None:
    own = [rule for kind in Kind for rule in rules.of_kind(kind)]
    if len(own) > MAX_RULES:
        raise TooLarge(f"There must not be more than {MAX_RULES} push rules")
    if sum(len(rule.conditions) for rule in own) > MAX_CONDITIONS:
        raise TooLarge(f"All push rules together must not have more than {MAX_CONDITIONS} conditions")
    if sum(map(_search_cost, own)) > MAX_SEARCH_COST:
        raise TooLarge(f"The patterns of all push rules together are too long (limit: {MAX_SEARCH_COST})")


def _search_cost(rule: Rule) -> int:
    cost = compile_glob(rule.pattern).words_cost if rule.pattern is not None else 0
    for condition in map(read_condition, rule.conditions):
        if isinstance(condition, BodyMatch):
            cost += condition.glob.words_cost
        elif isinstance(condition, PropertyMatch):
            cost += condition.glob.value_cost
    return cost


def _default_rule(kind: Kind, rule_id: str) -> dict[str, Any] | None:
    if kind.value not in DEFAULT_KINDS:
        return None
    return next((r for r in default_rules(kind.value, "") if r["rule_id"] == rule_id), None)


def _own_rule(rules: UserRules, kind: Kind, rule_id: str) -> Rule | None:
    return next((rule for rule in rules.of_kind(kind) if rule.rule_id == rule_id), None)


def _change_own(rules: UserRules, kind: Kind, rule_id: str, **members: Any) -> UserRules:
    old = _own_rule(rules, kind, rule_id)
    if old is None:
        raise NotFound(f"There is no {kind.value} rule {rule_id!r}")
    new = attrs.evolve(old, **members)
    return _with_kind(rules, kind, (new if rule is old else rule for rule in rules.of_kind(kind)))


def _change_default(rules: UserRules, rule_id: str, **members: Any) -> UserRules:
    changes = {**rules.changes, rule_id: attrs.evolve(rules.changes.get(rule_id, Change()), **members)}
    # Whoever undoes a change is again one of those who have the default rules.
    return attrs.evolve(rules, changes={i: change for i, change in changes.items() if change != Change()})


def _with_kind(rules: UserRules, kind: Kind, own: Iterable[Rule]) -> UserRules:
    changed: dict[str, Any] = {kind.value: tuple(own)}
    return attrs.evolve(rules, **changed)
