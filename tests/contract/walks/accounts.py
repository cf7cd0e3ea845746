# SPDX-License-Identifier: Apache-2.0
"""The walk: discovery, accounts and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.contract.connection import CLIENT, PASSWORD, ask, new_name, register
from tests.contract.scenario import Line, Request, Scenario


async def versions(s: Scenario) -> Request:
    return Request(shows=lambda answer: answer["versions"])


async def capabilities(s: Scenario) -> Request:
    def shows(answer: Any) -> bool:
        known = answer["capabilities"]["m.room_versions"]
        return known["default"] in known["available"]

    return Request(user=s.alice, shows=shows)


async def well_known(s: Scenario) -> Request:
    return Request(shows=lambda answer: answer["m.homeserver"]["base_url"])


async def register_a_user(s: Scenario) -> Request:
    request = {"username": new_name(), "password": PASSWORD, "initial_device_display_name": "Phone"}
    asked = await ask(s.connection, "POST", f"{CLIENT}/register", request, status=401)
    auth = {"type": "m.login.dummy", "session": asked["session"]}
    return Request(body={**request, "auth": auth}, shows=lambda answer: answer["access_token"])


async def name_is_available(s: Scenario) -> Request:
    return Request(query={"username": new_name()}, shows=lambda answer: answer["available"] is True)


async def registration_token_validity(s: Scenario) -> Request:
    return Request(query={"token": new_name()}, shows=lambda answer: answer["valid"] is False)


async def login_flows(s: Scenario) -> Request:
    def shows(answer: Any) -> bool:
        return "m.login.password" in [flow["type"] for flow in answer["flows"]]

    return Request(shows=shows)


async def log_in(s: Scenario) -> Request:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": s.alice.user_id},
        "password": PASSWORD,
        "device_id": "WALKING",
    }

    def shows(answer: Any) -> bool:
        return answer["user_id"] == s.alice.user_id and answer["device_id"] == "WALKING"

    return Request(body=body, shows=shows)


async def log_out(s: Scenario) -> Request:
    return Request(user=await s.alice.log_in_again(), body={})


async def log_out_everywhere(s: Scenario) -> Request:
    return Request(user=await register(s.connection), body={})


async def whoami(s: Scenario) -> Request:
    return Request(user=s.alice, shows=lambda answer: answer["device_id"] == s.alice.device_id)


LINES: Mapping[str, Line] = {
    "GET /_matrix/client/versions": versions,
    "GET /.well-known/matrix/client": well_known,
    f"GET {CLIENT}/capabilities": capabilities,
    f"POST {CLIENT}/register": register_a_user,
    f"GET {CLIENT}/register/available": name_is_available,
    "GET /_matrix/client/v1/register/m.login.registration_token/validity": registration_token_validity,
    f"GET {CLIENT}/login": login_flows,
    f"POST {CLIENT}/login": log_in,
    f"POST {CLIENT}/logout": log_out,
    f"POST {CLIENT}/logout/all": log_out_everywhere,
    f"GET {CLIENT}/account/whoami": whoami,
}
