# SPDX-License-Identifier: Apache-2.0
"""The composition root: every component is built here, from the bottom to the top, with what it needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from federation.graph.building import EventBuilder
from federation.graph.loading import RoomLoader
from federation.graph.room import GraphTools
from federation.graph.rooms import RoomGraphs
from federation.http.admission import Admission
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Endpoint, Requester
from federation.http.listeners import Listener, Listeners
from federation.http.service import Service
from federation.http.site import Site
from federation.signing_key import load_signing_keys
from homeserver.account_data import UserAccountData
from homeserver.accounts.access_tokens import AccessTokens
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.last_seen import LastSeen
from homeserver.accounts.limits import Limits, NoLimits
from homeserver.accounts.logins import Logins
from homeserver.accounts.password_check import PasswordCheck
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.user_interactive_authentication import UserInteractiveAuthentication
from homeserver.client_api.account_data import AccountDataApi
from homeserver.client_api.account_registration import AccountRegistration, RegistrationPolicy
from homeserver.client_api.admin_register import AdminRegister
from homeserver.client_api.capabilities import Capabilities, Offers
from homeserver.client_api.filtering import Filtering
from homeserver.client_api.getting_events import GettingEvents
from homeserver.client_api.login import LoginApi
from homeserver.client_api.messages import Messages
from homeserver.client_api.profiles import ProfilesApi
from homeserver.client_api.push_rules import PushRulesApi
from homeserver.client_api.read_markers import ReadMarkersApi
from homeserver.client_api.receipts import ReceiptsApi
from homeserver.client_api.redactions import RedactionsApi
from homeserver.client_api.room_aliases import RoomAliasesApi
from homeserver.client_api.room_creation import RoomCreationApi
from homeserver.client_api.room_membership import RoomMembershipApi
from homeserver.client_api.sending_events import SendingEventsApi
from homeserver.client_api.syncing import Syncing
from homeserver.client_api.tags import TagsApi
from homeserver.client_api.typing_notifications import TypingApi
from homeserver.client_api.user_interactive_authentication import AuthenticationFallback
from homeserver.client_api.versions import Versions
from homeserver.client_api.well_known import WellKnown
from homeserver.client_api.whoami import Whoami
from homeserver.config.config import Config
from homeserver.config.listeners import Listener as ConfiguredListener
from homeserver.config.listeners import Resource
from homeserver.feed.feed import Feed
from homeserver.profile_fields import AVATAR_URL, DISPLAYNAME
from homeserver.profile_propagation import ProfilePropagation
from homeserver.profile_visibility import ProfileVisibility
from homeserver.profiles import Profiles
from homeserver.push.committed_counts import CommittedCounts
from homeserver.push.counts import NotificationCounts
from homeserver.push.receipts import PointsOfReceipts
from homeserver.push.rules.ruleset import UserRules
from homeserver.push.unread import UnreadCounts
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.creation import RoomCreation
from homeserver.rooms.history import History
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.joining import Joining
from homeserver.rooms.members import Members
from homeserver.rooms.membership import RoomMembership
from homeserver.rooms.membership_rows import MembershipRows
from homeserver.rooms.paging import Paging
from homeserver.rooms.presentation import Presentation
from homeserver.rooms.read_markers import ReadMarkers
from homeserver.rooms.reading import RoomReading
from homeserver.rooms.sending import Sending
from homeserver.rooms.states import RoomStates
from homeserver.rooms.transactions import RequestTransactions
from homeserver.rooms.turns import Turns
from homeserver.rooms.writable_rooms import WritableRooms
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.ignored_users import IgnoredUsers
from homeserver.sync.invites import Invites
from homeserver.sync.lazy_members import SentMembers
from homeserver.sync.plans import Plans
from homeserver.sync.sections import Sections
from homeserver.sync.state_sections import StateSections
from homeserver.sync.summary import Summaries
from homeserver.sync.sync import Sync
from homeserver.sync.timelines import Timelines
from storage.engine.database import Database
from storage.engine.opening import open_database
from storage.numbers import EventNumbers
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import WriteQueue

logger = logging.getLogger(__name__)

_FINISH_SECONDS = 6.0
"""How long requests in flight may take when the server stops."""


@attrs.frozen(kw_only=True)
class Ground:
    """What is kept and who writes it, and those who read along with every commit."""

    config: Config
    reactor: Any
    background: BackgroundTasks
    storage: Storage
    feed: Feed
    states: RoomStates
    history: History
    presentation: Presentation
    access_tokens: AccessTokens
    write_queue: WriteQueue
    graphs: RoomGraphs
    limits: Limits
    unread: UnreadCounts

    async def profile_of(self, user_id: str) -> Mapping[str, Any]:
        """The profile of a local user; empty where there is none."""
        number = (await self.storage.strings.find([user_id])).get(user_id)
        return {} if number is None else await self.storage.profiles.get(number)


async def user_rules_of(_requester: Requester) -> UserRules:
    """A user's push rules: the default ones."""
    return UserRules()


async def push_rules_of(requester: Requester) -> Mapping[str, Any]:
    """What `m.push_rules` says for a user."""
    return {"global": (await user_rules_of(requester)).json(requester.user_id)}


def build_ground(config: Config, reactor: Any, database: Database) -> Ground:
    """Storage, the readers that follow the commits, the write queue, and the room graph on top of it."""
    background = BackgroundTasks()
    storage = Storage.over(database)
    feed = Feed(storage=storage, clock=reactor)
    states = RoomStates(storage=storage)
    history = History(storage=storage)
    presentation = Presentation(storage=storage, clock=reactor)
    access_tokens = AccessTokens(
        database=database,
        accounts=storage.accounts,
        devices=storage.devices,
        strings=storage.strings,
        clock=reactor,
    )
    counts = CommittedCounts(
        database=database,
        thread_counts=storage.thread_counts,
        exceptions=storage.notification_exceptions,
        read_points=storage.read_points,
    )
    write_queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=background,
        # The feed comes last: whoever it wakes finds the others up to date.
        on_commit=(
            access_tokens.on_commit,
            states.on_commit,
            history.on_commit,
            presentation.on_commit,
            counts.on_commit,
            feed.on_commit,
        ),
    )
    signing_key = load_signing_keys(config.signing_key_path)[0]
    tools = GraphTools(
        loader=RoomLoader(database, storage.strings, storage.rooms, storage.events, storage.states),
        strings=storage.strings,
        numbers=EventNumbers(database),
        events=storage.events,
        queue=write_queue,
        builder=EventBuilder(server_name=config.server_name, key=signing_key, clock=reactor),
        contributors=(
            MembershipRows(
                server_name=config.server_name,
                strings=storage.strings,
                forget_on_leave=config.rooms.forget_rooms_on_leave,
            ),
            NotificationCounts(
                server_name=config.server_name,
                database=database,
                strings=storage.strings,
                thread_counts=storage.thread_counts,
            ),
        ),
    )
    return Ground(
        config=config,
        reactor=reactor,
        background=background,
        storage=storage,
        feed=feed,
        states=states,
        history=history,
        presentation=presentation,
        access_tokens=access_tokens,
        write_queue=write_queue,
        graphs=RoomGraphs(tools=tools, server_name=config.server_name),
        limits=NoLimits(),
        unread=counts,
    )


@attrs.frozen(kw_only=True)
class Users:
    """Accounts and who logs into them."""

    passwords: Passwords
    logins: Logins
    accounts: Accounts
    password_check: PasswordCheck
    authentication: UserInteractiveAuthentication
    last_seen: LastSeen


def build_users(ground: Ground) -> Users:
    """The services of accounts."""
    config, storage, reactor = ground.config, ground.storage, ground.reactor
    passwords = Passwords(reactor=reactor, pepper=config.passwords.password_config.pepper)
    logins = Logins(
        devices=storage.devices,
        write_queue=ground.write_queue,
        clock=reactor,
        access_token_lifetime=config.sessions.access_token_lifetime(refreshable=False),
    )
    accounts = Accounts(
        server_name=config.server_name,
        accounts=storage.accounts,
        strings=storage.strings,
        write_queue=ground.write_queue,
        clock=reactor,
        passwords=passwords,
        password_policy=config.passwords.password_config.policy,
        logins=logins,
    )
    return Users(
        passwords=passwords,
        logins=logins,
        accounts=accounts,
        password_check=PasswordCheck(accounts=accounts, passwords=passwords, logins=logins),
        authentication=UserInteractiveAuthentication(
            sessions=storage.user_interactive_sessions, write_queue=ground.write_queue, clock=reactor
        ),
        last_seen=LastSeen(write_queue=ground.write_queue, clock=reactor),
    )


def build_sync(ground: Ground) -> Sync:
    """`/sync` over the feed."""
    storage, states, feed, history = ground.storage, ground.states, ground.feed, ground.history
    ephemeral = Ephemeral(storage=storage, feed=feed)
    sections = Sections(
        history=history,
        presentation=ground.presentation,
        timelines=Timelines(storage=storage, feed=feed),
        state_sections=StateSections(storage=storage, states=states, sent=SentMembers()),
        summaries=Summaries(storage=storage, states=states),
        ephemeral=ephemeral,
        unread=ground.unread,
    )
    plans = Plans(storage=storage, feed=feed, history=history, ephemeral=ephemeral, push_rules=push_rules_of)
    return Sync(
        feed=feed,
        plans=plans,
        sections=sections,
        invites=Invites(storage=storage, states=states),
        ignored_users=IgnoredUsers(storage=storage, feed=feed),
        clock=ground.reactor,
    )


def user_endpoints(ground: Ground, users: Users) -> tuple[Endpoint, ...]:
    """Accounts, logins, and what clients ask before they log in."""
    config, name = ground.config, ground.config.server_name
    passwords = config.passwords.password_config
    registration = config.registration
    account_registration = AccountRegistration(
        server_name=name,
        accounts=users.accounts,
        authentication=users.authentication,
        registration_tokens=ground.storage.registration_tokens,
        policy=RegistrationPolicy(
            enabled=registration.enable_registration,
            requires_token=registration.registration_requires_token,
        ),
        clock=ground.reactor,
    )
    sections = (
        Versions(unstable_features={}),
        WellKnown(base_url=config.server.public_baseurl),
        Capabilities(
            offers=Offers(
                default_room_version=config.rooms.default_room_version,
                change_password=False,
                set_displayname=config.profiles.enable_set_displayname,
                set_avatar_url=config.profiles.enable_set_avatar_url,
                change_third_party_identifiers=False,
                get_login_token=False,
                forget_forced_upon_leave=config.rooms.forget_rooms_on_leave,
            )
        ),
        account_registration,
        AuthenticationFallback(
            server_name=name, authentication=users.authentication, flows=account_registration.flows
        ),
        AdminRegister(
            server_name=name,
            accounts=users.accounts,
            shared_secret=registration.shared_secret(),
            clock=ground.reactor,
        ),
        LoginApi(
            server_name=name,
            password_check=users.password_check,
            logins=users.logins,
            passwords_enabled=passwords.enabled is True and passwords.localdb_enabled,
            base_url=config.server.public_baseurl,
        ),
        Whoami(),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())


def writing_endpoints(ground: Ground) -> tuple[Endpoint, ...]:
    """All by which clients write into rooms."""
    config, storage, name = ground.config, ground.storage, ground.config.server_name
    queue, strings, limits, turns = ground.write_queue, storage.strings, ground.limits, Turns()
    rooms = WritableRooms(ground.graphs, storage.events)
    user_rooms = ground.feed.user_rooms
    permission = InvitePermission(storage.account_data, strings)
    aliases = RoomAliases(
        server_name=name, rooms=rooms, aliases=storage.aliases, strings=strings, queue=queue
    )
    joining = Joining(
        server_name=name,
        rooms=rooms,
        user_rooms=user_rooms,
        strings=strings,
        profile_of=ground.profile_of,
        limits=limits,
        turns=turns,
    )
    membership = RoomMembership(
        server_name=name,
        rooms=rooms,
        joining=joining,
        user_rooms=user_rooms,
        strings=strings,
        queue=queue,
        profile_of=ground.profile_of,
        invite_permission=permission,
        limits=limits,
        turns=turns,
    )
    creation = RoomCreation(
        server_name=name,
        graphs=ground.graphs,
        aliases=storage.aliases,
        room_aliases=aliases,
        profile_of=ground.profile_of,
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


def reading_endpoints(ground: Ground) -> tuple[Endpoint, ...]:
    """All by which clients read rooms and follow what happens."""
    storage, states, presentation = ground.storage, ground.states, ground.presentation
    reading = RoomReading(storage=storage, feed=ground.feed, history=ground.history, states=states)
    sections = (
        Syncing(sync=build_sync(ground), filters=storage.filters),
        GettingEvents(
            storage=storage,
            reading=reading,
            members=Members(storage=storage, reading=reading, states=states),
            presentation=presentation,
            clock=ground.reactor,
        ),
        Messages(
            reading=reading,
            paging=Paging(storage=storage, feed=ground.feed),
            presentation=presentation,
        ),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())


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
    )


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
        TypingApi(reading=reading, typing=ground.feed.typing),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())


class Homeserver:
    """A whole server: it listens between `start` and `stop`."""

    def __init__(self, config: Config, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        self._listeners = Listeners(reactor=reactor)
        self._database: Database | None = None
        self._ground: Ground | None = None
        self._users: Users | None = None
        self.endpoints: tuple[Endpoint, ...] = ()

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""
        return self._listeners.urls

    async def start(self) -> None:
        """Open the database, build everything, and listen; when this returns, requests are answered.

        Raises `DatabaseUnavailable`, `UnsuitableDatabase` and `ListenerError`.
        """
        config, reactor = self._config, self._reactor
        self._database = await open_database(config.database.database, reactor=reactor)
        self._ground = ground = build_ground(config, reactor, self._database)
        self._users = users = build_users(ground)
        await ground.feed.start()
        profile_turns = Turns()
        propagation = build_propagation(ground, profile_turns)
        self.endpoints = (
            *user_endpoints(ground, users),
            *writing_endpoints(ground),
            *reading_endpoints(ground),
            *user_data_endpoints(ground),
            *profile_endpoints(ground, propagation, profile_turns),
        )
        await propagation.resume()
        admission = Admission(authenticate=ground.access_tokens.authenticate, seen=users.last_seen.seen)
        service = Service(dispatch=Dispatch(self.endpoints), admission=admission)
        for listener in config.listeners.listeners:
            if Resource.CLIENT in listener.resources:
                site = Site(reactor=reactor, service=service, x_forwarded=listener.x_forwarded)
                self._listeners.open(_listener(listener, config), site)
        ground.background.spawn("last seen", users.last_seen.run())
        ground.background.spawn("expired sessions", users.authentication.run())

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close everything. Also after a failed start."""
        ground, users = self._ground, self._users
        if ground is not None:
            await self._listeners.stop(seconds=_FINISH_SECONDS, end_long_polls=ground.feed.waiting.close)
            ground.feed.typing.close()
            if users is not None:
                await users.last_seen.flush()
            await ground.write_queue.stop()
            await ground.background.stop()
        if users is not None:
            users.passwords.stop()
        if self._database is not None:
            await self._database.close()


def _listener(listener: ConfiguredListener, config: Config) -> Listener:
    """The listener that the configuration describes."""
    tls = config.listeners
    return Listener(
        port=listener.port,
        bind_addresses=listener.bind_addresses,
        path=listener.path,
        mode=listener.mode,
        certificate_path=tls.tls_certificate_path if listener.tls else None,
        private_key_path=tls.tls_private_key_path if listener.tls else None,
        x_forwarded=listener.x_forwarded,
        resources=frozenset(resource.value for resource in listener.resources),
    )
