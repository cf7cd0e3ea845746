# SPDX-License-Identifier: Apache-2.0
"""All by which clients read rooms and follow what happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.http.endpoint import Endpoint, Requester
from homeserver.client_api.getting_events import GettingEvents
from homeserver.client_api.messages import Messages
from homeserver.client_api.syncing import Syncing
from homeserver.composition.ground import Ground
from homeserver.push.rules.ruleset import UserRules
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.members import Members
from homeserver.rooms.paging import Paging
from homeserver.rooms.reading import RoomReading
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.ignored_users import IgnoredUsers
from homeserver.sync.invites import Invites
from homeserver.sync.lazy_members import SentMembers
from homeserver.sync.plans import Plans
from homeserver.sync.removed_keys import RemovedKeys
from homeserver.sync.sections import Sections
from homeserver.sync.state_sections import StateSections
from homeserver.sync.summary import Summaries
from homeserver.sync.sync import Sync
from homeserver.sync.timelines import Timelines


async def push_rules_of(requester: Requester) -> Mapping[str, Any]:
    """What `m.push_rules` says for a user."""
    return {"global": (await user_rules_of(requester)).json(requester.user_id)}


async def user_rules_of(_requester: Requester) -> UserRules:
    """A user's push rules: the default ones."""
    return UserRules()


def build_sync(ground: Ground, ignored_users: IgnoredUsers) -> Sync:
    """`/sync` over the feed."""
    storage, states, feed, history = ground.storage, ground.states, ground.feed, ground.history
    ephemeral = Ephemeral(storage=storage, feed=feed)
    sent, summaries = SentMembers(), Summaries(storage=storage, states=states)
    ground.counts.caches.watch(sent.caches, summaries.caches, ignored_users.caches)
    sections = Sections(
        history=history,
        presentation=ground.presentation,
        timelines=Timelines(storage=storage, feed=feed, history=history),
        state_sections=StateSections(storage=storage, states=states, sent=sent),
        removed_keys=RemovedKeys(storage=storage, states=states),
        summaries=summaries,
        ephemeral=ephemeral,
        unread=ground.unread,
    )
    plans = Plans(storage=storage, feed=feed, history=history, ephemeral=ephemeral, push_rules=push_rules_of)
    return Sync(
        feed=feed,
        plans=plans,
        sections=sections,
        invites=Invites(
            storage=storage,
            states=states,
            permission=InvitePermission(storage.account_data, storage.strings),
        ),
        ignored_users=ignored_users,
        clock=ground.reactor,
    )


def reading_endpoints(ground: Ground) -> tuple[Endpoint, ...]:
    """All by which clients read rooms and follow what happens."""
    storage, states, presentation = ground.storage, ground.states, ground.presentation
    reading = RoomReading(storage=storage, feed=ground.feed, history=ground.history, states=states)
    ignored_users = IgnoredUsers(storage=storage, feed=ground.feed)
    sections = (
        Syncing(sync=build_sync(ground, ignored_users), filters=storage.filters),
        GettingEvents(
            storage=storage,
            reading=reading,
            members=Members(storage=storage, reading=reading, states=states),
            presentation=presentation,
            clock=ground.reactor,
        ),
        Messages(
            reading=reading,
            paging=Paging(storage=storage, feed=ground.feed, history=ground.history),
            presentation=presentation,
            ignored_users=ignored_users,
        ),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())
