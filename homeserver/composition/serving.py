# SPDX-License-Identifier: Apache-2.0
"""From endpoints to a service: who may use them, and what other processes answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from federation.errors import NotFound
from federation.http.admission import Admission
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Endpoint
from federation.http.forwarded import serve
from federation.http.forwarding import OPERATION, Forwarding
from federation.http.service import Service
from homeserver.composition.ground import Ground
from homeserver.profiles import rooms_elsewhere
from homeserver.profiles.propagation import ProfilePropagation
from storage.stores import Storage


def build_service(ground: Ground, endpoints: Sequence[Endpoint], admission: Admission) -> Service:
    """What answers requests to the endpoints, or has the process answer that owns what they are about."""
    dispatch = Dispatch(endpoints)
    shared = ground.shared
    if shared is None:
        return Service(dispatch=dispatch, admission=admission)
    sharing = shared.sharing
    return Service(
        dispatch=dispatch,
        admission=admission,
        forwarding=Forwarding(
            ownership=ground.ownership,
            links=sharing.links,
            look=sharing.live.look,
            clock=ground.reactor,
            counts=sharing.counts.forwarding,
            resolve=partial(_room_of_alias, ground.storage),
        ),
        latest=ground.latest,
    )


async def _room_of_alias(storage: Storage, alias: str) -> str:
    """The id of the room that an alias of this server points to. Raises `NotFound`."""
    found = await storage.aliases.get(alias)
    if found is None:
        raise NotFound(f"There is no alias {alias}")
    return (await storage.strings.values([found.room]))[found.room]


def answer_others(ground: Ground, service: Service, propagation: ProfilePropagation) -> None:
    """Do for the other processes what they ask of this one. `service` is that of the client API."""
    if ground.shared is None:
        return
    sharing = ground.shared.sharing
    sharing.operations[OPERATION] = serve(service)
    sharing.operations[rooms_elsewhere.OPERATION] = rooms_elsewhere.answering(propagation.show)

    def taken_over() -> None:
        ground.background.spawn("rooms taken over", _take_over(ground, propagation))

    sharing.on_change.append(taken_over)


async def _take_over(ground: Ground, propagation: ProfilePropagation) -> None:
    """Go on with what another process has left behind, and leave alone what is another's now."""
    rooms = await ground.storage.strings.values({room for room, _ in ground.feed.typing.everybody()})
    owned = {room for room, room_id in rooms.items() if ground.ownership.owner_of(room_id) is None}
    ground.typists.adopt(owned.__contains__)
    await propagation.resume()
