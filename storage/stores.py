# SPDX-License-Identifier: Apache-2.0
"""All that is kept, one store for each aggregate."""

from __future__ import annotations

import attrs

from storage.account_data import AccountDataStore
from storage.accounts import Accounts
from storage.aliases import Aliases
from storage.client_transactions import ClientTransactions
from storage.destinations import Destinations
from storage.devices import Devices
from storage.engine.database import Database
from storage.events import Events
from storage.filters import Filters
from storage.gaps import Gaps
from storage.jobs import Jobs
from storage.leases import Leases
from storage.memberships import Memberships
from storage.notification_counts import ThreadCountsStore
from storage.notification_exceptions import NotificationExceptions
from storage.out_of_band import OutOfBandStore
from storage.outgoing_transactions import OutgoingTransactions
from storage.profiles import Profiles
from storage.published_rooms import PublishedRooms
from storage.read_points import ReadPoints
from storage.receipts import Receipts
from storage.registration_tokens import RegistrationTokens
from storage.rejections import Rejections
from storage.room_servers import RoomServers
from storage.rooms import Rooms
from storage.server_keys import ServerKeys
from storage.state import States
from storage.strings import Strings
from storage.timeline_gaps import TimelineGaps
from storage.user_interactive_sessions import UserInteractiveSessions


@attrs.frozen
class Storage:
    """The stores of one homeserver, over one database."""

    database: Database
    strings: Strings
    rooms: Rooms
    events: Events
    states: States
    gaps: Gaps
    timeline_gaps: TimelineGaps
    rejections: Rejections
    memberships: Memberships
    out_of_band: OutOfBandStore
    room_servers: RoomServers
    destinations: Destinations
    outgoing_transactions: OutgoingTransactions
    client_transactions: ClientTransactions
    aliases: Aliases
    jobs: Jobs
    leases: Leases | None
    server_keys: ServerKeys
    account_data: AccountDataStore
    receipts: Receipts
    thread_counts: ThreadCountsStore
    notification_exceptions: NotificationExceptions
    read_points: ReadPoints
    profiles: Profiles
    published_rooms: PublishedRooms
    filters: Filters
    accounts: Accounts
    devices: Devices
    registration_tokens: RegistrationTokens
    user_interactive_sessions: UserInteractiveSessions

    @classmethod
    def over(cls, database: Database, *, event_cache_bytes: int = 32 * 2**20) -> Storage:
        """The stores over `database`; read events are cached within `event_cache_bytes`."""
        strings = Strings(database)
        return cls(
            database=database,
            strings=strings,
            rooms=Rooms(),
            events=Events(database, strings, cache_bytes=event_cache_bytes),
            states=States(),
            gaps=Gaps(),
            timeline_gaps=TimelineGaps(),
            rejections=Rejections(),
            memberships=Memberships(database),
            out_of_band=OutOfBandStore(database),
            room_servers=RoomServers(database),
            destinations=Destinations(database),
            outgoing_transactions=OutgoingTransactions(database),
            client_transactions=ClientTransactions(database),
            aliases=Aliases(database),
            jobs=Jobs(database),
            leases=Leases(database) if database.dialect == "postgresql" else None,
            server_keys=ServerKeys(database),
            account_data=AccountDataStore(database),
            receipts=Receipts(database),
            thread_counts=ThreadCountsStore(database),
            notification_exceptions=NotificationExceptions(),
            read_points=ReadPoints(),
            profiles=Profiles(database),
            published_rooms=PublishedRooms(database),
            filters=Filters(database),
            accounts=Accounts(database),
            devices=Devices(database),
            registration_tokens=RegistrationTokens(database),
            user_interactive_sessions=UserInteractiveSessions(database),
        )
