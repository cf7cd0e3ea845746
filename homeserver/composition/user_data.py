# SPDX-License-Identifier: Apache-2.0
"""What users keep for themselves, and what they tell of themselves."""

from __future__ import annotations

from federation.http.endpoint import Endpoint
from homeserver.account_data import UserAccountData
from homeserver.client_api.account_data import AccountDataApi
from homeserver.client_api.filtering import Filtering
from homeserver.client_api.profiles import ProfilesApi
from homeserver.client_api.push_rules import PushRulesApi
from homeserver.client_api.read_markers import ReadMarkersApi
from homeserver.client_api.receipts import ReceiptsApi
from homeserver.client_api.tags import TagsApi
from homeserver.client_api.typing_notifications import TypingApi
from homeserver.composition.ground import Ground
from homeserver.composition.reading import push_rules_of, user_rules_of
from homeserver.profiles.fields import AVATAR_URL, DISPLAYNAME
from homeserver.profiles.leases import JobLeases, LeasesOfProcess, NoLeases
from homeserver.profiles.profiles import Profiles
from homeserver.profiles.propagation import ProfilePropagation
from homeserver.profiles.rooms_elsewhere import NoRoomsElsewhere, RoomsElsewhere, RoomsOfOthers
from homeserver.profiles.visibility import ProfileVisibility
from homeserver.push.receipts import PointsOfReceipts
from homeserver.rooms.read_markers import ReadMarkers
from homeserver.rooms.reading import RoomReading
from homeserver.rooms.turns import Turns
from homeserver.rooms.writable_rooms import WritableRooms


def build_propagation(ground: Ground, turns: Turns) -> ProfilePropagation:
    """What shows changed profiles in rooms; `turns` are those of changes of profiles."""
    return ProfilePropagation(
        storage=ground.storage,
        rooms=WritableRooms(ground.graphs, ground.storage.events),
        user_rooms=ground.feed.user_rooms,
        queue=ground.write_queue,
        background=ground.background,
        clock=ground.reactor,
        turns=turns,
        ownership=ground.ownership,
        leases=_job_leases(ground),
        elsewhere=_rooms_elsewhere(ground),
    )


def _job_leases(ground: Ground) -> JobLeases:
    leases = ground.storage.leases
    if ground.shared is None or leases is None:
        return NoLeases()
    return LeasesOfProcess(leases=leases, process=ground.shared.sharing.process)


def _rooms_elsewhere(ground: Ground) -> RoomsElsewhere:
    if ground.shared is None:
        return NoRoomsElsewhere()
    return RoomsOfOthers(ownership=ground.ownership, links=ground.shared.sharing.links)


def profile_endpoints(ground: Ground, propagation: ProfilePropagation, turns: Turns) -> tuple[Endpoint, ...]:
    """Profiles."""
    config = ground.config.profiles
    visibility = None
    if config.limit_profile_requests_to_users_who_share_rooms:
        visibility = ProfileVisibility(
            storage=ground.storage, user_rooms=ground.feed.user_rooms, states=ground.states
        )
    may_set = {DISPLAYNAME: config.enable_set_displayname, AVATAR_URL: config.enable_set_avatar_url}
    return ProfilesApi(
        profiles=Profiles(
            server_name=ground.config.server_name,
            storage=ground.storage,
            queue=ground.write_queue,
            propagation=propagation,
            turns=turns,
        ),
        visibility=visibility,
        require_auth=config.require_auth_for_profile_requests,
        locked_fields=frozenset(name for name, allowed in may_set.items() if not allowed),
    ).endpoints()


def user_data_endpoints(ground: Ground) -> tuple[Endpoint, ...]:
    """What users keep for themselves, and what they tell of themselves."""
    storage, queue, clock = ground.storage, ground.write_queue, ground.reactor
    reading = RoomReading(storage=storage, feed=ground.feed, history=ground.history, states=ground.states)
    account_data = UserAccountData(store=storage.account_data, strings=storage.strings, queue=queue)
    markers = ReadMarkers(
        storage=storage,
        reading=reading,
        queue=queue,
        clock=clock,
        on_receipt=PointsOfReceipts(storage.thread_counts).on_receipt,
    )
    sections = (
        AccountDataApi(account_data=account_data, push_rules=push_rules_of),
        PushRulesApi(rules_of=user_rules_of),
        TagsApi(account_data=account_data),
        Filtering(filters=storage.filters, queue=queue),
        ReceiptsApi(markers=markers),
        ReadMarkersApi(markers=markers),
        TypingApi(reading=reading, typists=ground.typists),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())
