# SPDX-License-Identifier: Apache-2.0
"""What a matching rule has done. spec: client-server-api, "Push Rules", "Actions"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

HISTORICAL: Final = frozenset({"dont_notify", "coalesce"})
"""Actions of older specifications, which are to be ignored."""


@attrs.frozen
class Actions:
    """What becomes of an event for one user.

    `highlight` is only ever true of an event that notifies. `tweaks` are all tweaks in the form in which a
    push gateway is told of them, `sound` and `highlight` among them.
    """

    notify: bool
    highlight: bool = False
    tweaks: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def sound(self) -> str | None:
        """The sound to play, `default` for the device's own; None for silence."""
        sound = self.tweaks.get("sound")
        return sound if isinstance(sound, str) else None


NOTHING: Final = Actions(notify=False, tweaks=MappingProxyType({}))
"""The actions of an event that no rule notifies about."""


def read_actions(actions: Iterable[Any]) -> Actions:
    """The meaning of a rule's `actions`; what is not understood is ignored."""
    notify = False
    tweaks: dict[str, Any] = {}
    for action in actions:
        if action == "notify":
            notify = True
        elif isinstance(action, Mapping) and isinstance(name := action.get("set_tweak"), str):
            if "value" in action:
                tweaks[name] = action["value"]
            elif name == "highlight":
                tweaks[name] = True
    if not notify:
        return NOTHING
    return Actions(notify=True, highlight=tweaks.get("highlight") is True, tweaks=MappingProxyType(tweaks))
