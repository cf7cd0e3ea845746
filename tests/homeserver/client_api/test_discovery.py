# SPDX-License-Identifier: Apache-2.0
"""What clients ask before anything else: versions, capabilities, where the server is."""

from __future__ import annotations

import attrs
import pytest

from homeserver.client_api.capabilities import Capabilities, Offers
from homeserver.client_api.versions import Versions
from homeserver.client_api.well_known import WellKnown
from homeserver.client_api.whoami import Whoami
from tests.support.http import ALICE, serve

OFFERS = Offers(
    default_room_version="12",
    change_password=True,
    set_displayname=True,
    set_avatar_url=True,
    change_third_party_identifiers=False,
    get_login_token=False,
    forget_forced_upon_leave=False,
)
CAPABILITIES = "/_matrix/client/v3/capabilities"
WELL_KNOWN = "/.well-known/matrix/client"


def test_versions():
    with serve(Versions(unstable_features={"org.example.feature": True}).endpoints()) as server:
        answer = server.client(token=None).get("/_matrix/client/versions")
        assert answer.status == 200
        assert answer.json["unstable_features"] == {"org.example.feature": True}
        assert {"r0.6.1", "v1.1", "v1.11"} <= set(answer.json["versions"])
        assert server.client().get("/_matrix/client/versions").json == answer.json


def test_where_the_server_is():
    with serve(WellKnown(base_url="https://matrix.example.org/").endpoints()) as server:
        answer = server.client(token=None).get(WELL_KNOWN)
        assert answer.json == {"m.homeserver": {"base_url": "https://matrix.example.org/"}}
        assert answer.headers["access-control-allow-origin"] == "*"
    with serve(WellKnown(base_url=None).endpoints()) as server:
        answer = server.client(token=None).get(WELL_KNOWN)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


def test_capabilities():
    with serve(Capabilities(offers=OFFERS).endpoints()) as server:
        assert server.client(token=None).get(CAPABILITIES).errcode == "M_MISSING_TOKEN"
        assert server.client().get(CAPABILITIES).json == {
            "capabilities": {
                "m.room_versions": {
                    "default": "12",
                    "available": {str(number): "stable" for number in range(1, 13)},
                },
                "m.change_password": {"enabled": True},
                "m.3pid_changes": {"enabled": False},
                "m.get_login_token": {"enabled": False},
                "m.forget_forced_upon_leave": {"enabled": False},
                "m.profile_fields": {"enabled": True},
                "m.set_displayname": {"enabled": True},
                "m.set_avatar_url": {"enabled": True},
            }
        }


@pytest.mark.parametrize("is_admin", [False, True])
def test_what_only_administrators_may_change(is_admin):
    offers = attrs.evolve(OFFERS, set_displayname=False, set_avatar_url=False)
    tokens = {"alice": attrs.evolve(ALICE, is_admin=is_admin)}
    with serve(Capabilities(offers=offers).endpoints(), tokens=tokens) as server:
        found = server.client().get(CAPABILITIES).json["capabilities"]
    fields = {"enabled": True} if is_admin else {"enabled": True, "disallowed": ["displayname", "avatar_url"]}
    assert found["m.profile_fields"] == fields
    assert found["m.set_displayname"] == found["m.set_avatar_url"] == {"enabled": is_admin}


def test_who_am_i():
    guest = attrs.evolve(ALICE, is_guest=True)
    bot = attrs.evolve(ALICE, device_id=None, device=None, app_service="bridge")
    with serve(Whoami().endpoints(), tokens={"guest": guest, "bot": bot}) as server:
        whoami = "/_matrix/client/v3/account/whoami"
        assert server.client("guest").get(whoami).json == {
            "user_id": "@alice:test",
            "device_id": "ALICE",
            "is_guest": True,
        }
        assert server.client("bot").get(whoami).json == {"user_id": "@alice:test", "is_guest": False}
