# SPDX-License-Identifier: Apache-2.0
"""The areas that the specification's operations are counted by."""

from __future__ import annotations

from collections.abc import Mapping

from tests.contract.operations import Operation

DISCOVERY = "Discovery and capabilities"
ACCOUNTS = "Accounts and sessions"
SINGLE_SIGN_ON = "Single sign-on and OAuth 2.0"
THIRD_PARTY_IDENTIFIERS = "Third-party identifiers"
ROOMS = "Rooms"
DIRECTORY = "Room directory and spaces"
RELATIONS = "Relations and threads"
SYNC = "Sync, receipts and typing"
OLD_SYNC = "Old sync"
ACCOUNT_DATA = "Account data and profiles"
PRESENCE = "Presence"
PUSH = "Push"
KEYS = "Keys and devices"
MEDIA = "Media"
SEARCH = "Search"
APPLICATION_SERVICES = "Application services"
ADMINISTRATION = "Administration and reports"
CALLS = "Calls and OpenID"
FEDERATION = "Federation"

CLIENT_FILES: Mapping[str, tuple[str, ...]] = {
    DISCOVERY: ("capabilities", "policy_server", "support", "versions", "wellknown"),
    ACCOUNTS: (
        *("account_deactivation", "login", "logout", "password_management", "refresh"),
        *("registration", "registration_tokens", "whoami"),
    ),
    SINGLE_SIGN_ON: ("login_token", "oauth_server_metadata", "sso_login_redirect"),
    THIRD_PARTY_IDENTIFIERS: ("administrative_contact", "third_party_membership"),
    ROOMS: (
        *("banning", "create_room", "directory", "event_context", "inviting", "joining", "kicking"),
        *("knocking", "leaving", "list_joined_rooms", "message_pagination", "redaction"),
        *("room_event_by_timestamp", "room_send", "room_state", "room_upgrades", "rooms"),
    ),
    DIRECTORY: ("list_public_rooms", "room_summary", "space_hierarchy"),
    RELATIONS: ("relations", "threads_list"),
    SYNC: ("filter", "read_markers", "receipts", "sync", "typing"),
    OLD_SYNC: ("old_sync", "peeking_events", "room_initial_sync"),
    ACCOUNT_DATA: ("account-data", "profile", "tags"),
    PRESENCE: ("presence",),
    PUSH: ("notifications", "pusher", "pushrules"),
    KEYS: ("cross_signing", "device_management", "key_backup", "keys", "to_device"),
    MEDIA: ("authed-content-repo", "content-repo"),
    SEARCH: ("mutual_rooms", "search", "users"),
    APPLICATION_SERVICES: ("appservice_ping", "appservice_room_directory", "third_party_lookup"),
    ADMINISTRATION: ("admin", "report_content"),
    CALLS: ("openid", "voip"),
}
"""The OpenAPI files of the client-server API by area. All of the server-server API is one area."""

AREAS = (*CLIENT_FILES, FEDERATION)

_AREA_OF_FILE = {f"{file}.yaml": area for area, files in CLIENT_FILES.items() for file in files}


def area_of(operation: Operation) -> str:
    """Return the area of an operation; raises `KeyError` for one of a file that no area names.

    Endpoints that ask for a validation token belong to third-party identifiers, wherever they are described,
    and of an endpoint that is described twice the first description counts.
    """
    if operation.api == "server-server":
        return FEDERATION
    if operation.path.endswith("/requestToken"):
        return THIRD_PARTY_IDENTIFIERS
    return _AREA_OF_FILE[operation.files[0]]
