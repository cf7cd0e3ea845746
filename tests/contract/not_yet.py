# SPDX-License-Identifier: Apache-2.0
"""What of the specification the server does not route yet, by the area that will bring it.

Whoever routes an endpoint takes it off this list, adds it to the walk (`walk.py`), and writes
`docs/specification.md` anew (`specification_page.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.contract import areas

NOT_YET: Mapping[str, tuple[str, ...]] = {
    areas.DISCOVERY: (
        "GET /.well-known/matrix/policy_server",
        "GET /.well-known/matrix/support",
    ),
    areas.ACCOUNTS: (
        "POST /_matrix/client/v3/account/deactivate",
        "POST /_matrix/client/v3/account/password",
        "POST /_matrix/client/v3/refresh",
    ),
    areas.SINGLE_SIGN_ON: (
        "GET /_matrix/client/v1/auth_metadata",
        "POST /_matrix/client/v1/login/get_token",
        "GET /_matrix/client/v3/login/sso/redirect",
        "GET /_matrix/client/v3/login/sso/redirect/{idpId}",
    ),
    areas.THIRD_PARTY_IDENTIFIERS: (
        "GET /_matrix/client/v3/account/3pid",
        "POST /_matrix/client/v3/account/3pid",
        "POST /_matrix/client/v3/account/3pid/add",
        "POST /_matrix/client/v3/account/3pid/bind",
        "POST /_matrix/client/v3/account/3pid/delete",
        "POST /_matrix/client/v3/account/3pid/email/requestToken",
        "POST /_matrix/client/v3/account/3pid/msisdn/requestToken",
        "POST /_matrix/client/v3/account/3pid/unbind",
        "POST /_matrix/client/v3/account/password/email/requestToken",
        "POST /_matrix/client/v3/account/password/msisdn/requestToken",
        "POST /_matrix/client/v3/register/email/requestToken",
        "POST /_matrix/client/v3/register/msisdn/requestToken",
    ),
    areas.ROOMS: (
        "GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
        "POST /_matrix/client/v3/knock/{roomIdOrAlias}",
        "GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}",
        "POST /_matrix/client/v3/rooms/{roomId}/upgrade",
    ),
    areas.DIRECTORY: (
        "GET /_matrix/client/v1/room_summary/{roomIdOrAlias}",
        "GET /_matrix/client/v1/rooms/{roomId}/hierarchy",
        "GET /_matrix/client/v3/directory/list/room/{roomId}",
        "PUT /_matrix/client/v3/directory/list/room/{roomId}",
        "GET /_matrix/client/v3/publicRooms",
        "POST /_matrix/client/v3/publicRooms",
    ),
    areas.RELATIONS: (
        "GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}",
        "GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}",
        "GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}",
        "GET /_matrix/client/v1/rooms/{roomId}/threads",
    ),
    areas.OLD_SYNC: (
        "GET /_matrix/client/v3/events",
        "GET /_matrix/client/v3/events/{eventId}",
        "GET /_matrix/client/v3/initialSync",
        "GET /_matrix/client/v3/rooms/{roomId}/initialSync",
    ),
    areas.PRESENCE: (
        "GET /_matrix/client/v3/presence/{userId}/status",
        "PUT /_matrix/client/v3/presence/{userId}/status",
    ),
    areas.PUSH: (
        "GET /_matrix/client/v3/notifications",
        "GET /_matrix/client/v3/pushers",
        "POST /_matrix/client/v3/pushers/set",
        "DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}",
        "PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}",
        "PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions",
        "PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled",
    ),
    areas.KEYS: (
        "POST /_matrix/client/v3/delete_devices",
        "GET /_matrix/client/v3/devices",
        "DELETE /_matrix/client/v3/devices/{deviceId}",
        "GET /_matrix/client/v3/devices/{deviceId}",
        "PUT /_matrix/client/v3/devices/{deviceId}",
        "GET /_matrix/client/v3/keys/changes",
        "POST /_matrix/client/v3/keys/claim",
        "POST /_matrix/client/v3/keys/device_signing/upload",
        "POST /_matrix/client/v3/keys/query",
        "POST /_matrix/client/v3/keys/signatures/upload",
        "POST /_matrix/client/v3/keys/upload",
        "DELETE /_matrix/client/v3/room_keys/keys",
        "GET /_matrix/client/v3/room_keys/keys",
        "PUT /_matrix/client/v3/room_keys/keys",
        "DELETE /_matrix/client/v3/room_keys/keys/{roomId}",
        "GET /_matrix/client/v3/room_keys/keys/{roomId}",
        "PUT /_matrix/client/v3/room_keys/keys/{roomId}",
        "DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}",
        "GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}",
        "PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}",
        "GET /_matrix/client/v3/room_keys/version",
        "POST /_matrix/client/v3/room_keys/version",
        "DELETE /_matrix/client/v3/room_keys/version/{version}",
        "GET /_matrix/client/v3/room_keys/version/{version}",
        "PUT /_matrix/client/v3/room_keys/version/{version}",
        "PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
    ),
    areas.MEDIA: (
        "GET /_matrix/client/v1/media/config",
        "GET /_matrix/client/v1/media/download/{serverName}/{mediaId}",
        "GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}",
        "GET /_matrix/client/v1/media/preview_url",
        "GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}",
        "POST /_matrix/media/v1/create",
        "GET /_matrix/media/v3/config",
        "GET /_matrix/media/v3/download/{serverName}/{mediaId}",
        "GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}",
        "GET /_matrix/media/v3/preview_url",
        "GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}",
        "POST /_matrix/media/v3/upload",
        "PUT /_matrix/media/v3/upload/{serverName}/{mediaId}",
    ),
    areas.SEARCH: (
        "GET /_matrix/client/v1/mutual_rooms",
        "POST /_matrix/client/v3/search",
        "POST /_matrix/client/v3/user_directory/search",
    ),
    areas.APPLICATION_SERVICES: (
        "POST /_matrix/client/v1/appservice/{appserviceId}/ping",
        "PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}",
        "GET /_matrix/client/v3/thirdparty/location",
        "GET /_matrix/client/v3/thirdparty/location/{protocol}",
        "GET /_matrix/client/v3/thirdparty/protocol/{protocol}",
        "GET /_matrix/client/v3/thirdparty/protocols",
        "GET /_matrix/client/v3/thirdparty/user",
        "GET /_matrix/client/v3/thirdparty/user/{protocol}",
    ),
    areas.ADMINISTRATION: (
        "GET /_matrix/client/v1/admin/lock/{userId}",
        "PUT /_matrix/client/v1/admin/lock/{userId}",
        "GET /_matrix/client/v1/admin/suspend/{userId}",
        "PUT /_matrix/client/v1/admin/suspend/{userId}",
        "GET /_matrix/client/v3/admin/whois/{userId}",
        "POST /_matrix/client/v3/rooms/{roomId}/report",
        "POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}",
        "POST /_matrix/client/v3/users/{userId}/report",
    ),
    areas.CALLS: (
        "POST /_matrix/client/v3/user/{userId}/openid/request_token",
        "GET /_matrix/client/v3/voip/turnServer",
    ),
    areas.FEDERATION: (
        "GET /.well-known/matrix/server",
        "PUT /_matrix/federation/v1/3pid/onbind",
        "GET /_matrix/federation/v1/backfill/{roomId}",
        "GET /_matrix/federation/v1/event/{eventId}",
        "GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}",
        "PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}",
        "POST /_matrix/federation/v1/get_missing_events/{roomId}",
        "GET /_matrix/federation/v1/hierarchy/{roomId}",
        "PUT /_matrix/federation/v1/invite/{roomId}/{eventId}",
        "GET /_matrix/federation/v1/make_join/{roomId}/{userId}",
        "GET /_matrix/federation/v1/make_knock/{roomId}/{userId}",
        "GET /_matrix/federation/v1/make_leave/{roomId}/{userId}",
        "GET /_matrix/federation/v1/media/download/{mediaId}",
        "GET /_matrix/federation/v1/media/thumbnail/{mediaId}",
        "GET /_matrix/federation/v1/openid/userinfo",
        "GET /_matrix/federation/v1/publicRooms",
        "POST /_matrix/federation/v1/publicRooms",
        "GET /_matrix/federation/v1/query/directory",
        "GET /_matrix/federation/v1/query/profile",
        "GET /_matrix/federation/v1/query/{queryType}",
        "PUT /_matrix/federation/v1/send/{txnId}",
        "PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}",
        "GET /_matrix/federation/v1/state/{roomId}",
        "GET /_matrix/federation/v1/state_ids/{roomId}",
        "GET /_matrix/federation/v1/timestamp_to_event/{roomId}",
        "GET /_matrix/federation/v1/user/devices/{userId}",
        "POST /_matrix/federation/v1/user/keys/claim",
        "POST /_matrix/federation/v1/user/keys/query",
        "GET /_matrix/federation/v1/version",
        "PUT /_matrix/federation/v2/invite/{roomId}/{eventId}",
        "PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}",
        "PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}",
        "POST /_matrix/key/v2/query",
        "GET /_matrix/key/v2/query/{serverName}",
        "GET /_matrix/key/v2/server",
        "POST /_matrix/policy/v1/sign",
    ),
}

BEYOND: frozenset[str] = frozenset(
    {
        # The empty state key may be left out together with its slash.
        "GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}",
        "PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}",
        # Only the prose has the pages of stages that a client does not know. client-server-api, "Fallback"
        "GET /_matrix/client/v3/auth/{authType}/fallback/web",
        "POST /_matrix/client/v3/auth/{authType}/fallback/web",
    }
)
"""Endpoints under the specification's prefixes that its data does not list, each for a reason."""

QUERY_NOT_YET: Mapping[str, tuple[str, ...]] = {
    "GET /_matrix/client/v3/sync": ("use_state_after",),  # of v1.16
}
"""Query parameters that a routed endpoint does not read yet, by operation."""

BODY_NOT_YET: Mapping[str, tuple[str, ...]] = {}
"""Members of the request body that a routed endpoint does not read yet, by operation."""

_PROFILES = "a server may show profiles to its own users alone"
OTHER_AUTH: Mapping[str, str] = {
    "GET /_matrix/client/v3/profile/{userId}": _PROFILES,
    "GET /_matrix/client/v3/profile/{userId}/{keyName}": _PROFILES,
}
"""Where an endpoint asks for less or more authentication than the specification's data says, and why."""
