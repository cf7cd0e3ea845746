# SPDX-License-Identifier: Apache-2.0
"""All by which clients write into rooms."""

from __future__ import annotations

from federation.http.endpoint import Endpoint
from homeserver.client_api.redactions import RedactionsApi
from homeserver.client_api.room_aliases import RoomAliasesApi
from homeserver.client_api.room_creation import RoomCreationApi
from homeserver.client_api.room_membership import RoomMembershipApi
from homeserver.client_api.sending_events import SendingEventsApi
from homeserver.composition.ground import Ground
from homeserver.profiles.stored import StoredProfiles
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.creation import RoomCreation
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.joining import Joining
from homeserver.rooms.membership import RoomMembership
from homeserver.rooms.sending import Sending
from homeserver.rooms.transactions import RequestTransactions
from homeserver.rooms.turns import Turns
from homeserver.rooms.writable_rooms import WritableRooms


def writing_endpoints(ground: Ground) -> tuple[Endpoint, ...]:
    """All by which clients write into rooms."""
    config, storage, name = ground.config, ground.storage, ground.config.server_name
    queue, strings, limits, turns = ground.write_queue, storage.strings, ground.limits, Turns()
    rooms = WritableRooms(ground.graphs, storage.events)
    user_rooms = ground.feed.user_rooms
    profile_of = StoredProfiles(storage.profiles, strings).of
    permission = InvitePermission(storage.account_data, strings)
    aliases = RoomAliases(
        server_name=name, rooms=rooms, aliases=storage.aliases, strings=strings, queue=queue
    )
    joining = Joining(
        server_name=name,
        rooms=rooms,
        user_rooms=user_rooms,
        strings=strings,
        profile_of=profile_of,
        limits=limits,
        turns=turns,
    )
    membership = RoomMembership(
        server_name=name,
        rooms=rooms,
        out_of_band=ground.out_of_band,
        joining=joining,
        user_rooms=user_rooms,
        strings=strings,
        queue=queue,
        profile_of=profile_of,
        invite_permission=permission,
        limits=limits,
        turns=turns,
    )
    creation = RoomCreation(
        server_name=name,
        graphs=ground.graphs,
        aliases=storage.aliases,
        room_aliases=aliases,
        profile_of=profile_of,
        invite_permission=permission,
        limits=limits,
        default_version=config.rooms.default_room_version,
    )
    transactions = RequestTransactions(
        transactions=storage.client_transactions, events=storage.events, clock=ground.reactor
    )
    sending = Sending(
        server_name=name, rooms=rooms, transactions=transactions, membership=membership, aliases=aliases
    )
    sections = (
        RoomCreationApi(creation=creation),
        RoomMembershipApi(joining=joining, membership=membership, aliases=aliases),
        RoomAliasesApi(aliases=aliases),
        SendingEventsApi(sending=sending),
        RedactionsApi(sending=sending),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())
