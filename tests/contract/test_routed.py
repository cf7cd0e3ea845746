# SPDX-License-Identifier: Apache-2.0
"""Every operation of the specification is routed, or listed with the area that will bring it."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest

from federation.http.endpoint import Answer, Auth, Call, Endpoint, Json, JsonObject
from homeserver.client_api.versions import SPECIFICATION_VERSIONS
from tests.contract.areas import AREAS, CLIENT_FILES, area_of
from tests.contract.not_yet import BEYOND, BODY_NOT_YET, NOT_YET, OTHER_AUTH, QUERY_NOT_YET
from tests.contract.operations import Extract, read_extract, specification
from tests.contract.routed import Exceptions, differences
from tests.contract.server import RunningServer, all_endpoints
from tests.contract.specification_page import PAGE, page, version_of

EXCEPTIONS = Exceptions(
    not_yet=frozenset(name for names in NOT_YET.values() for name in names),
    beyond=BEYOND,
    query_not_yet=QUERY_NOT_YET,
    body_not_yet=BODY_NOT_YET,
    other_auth=frozenset(OTHER_AUTH),
)

# The server


def test_the_server_routes_what_is_not_listed_and_as_specified(server: RunningServer) -> None:
    assert differences(all_endpoints(server.homeserver), specification(), EXCEPTIONS) == []


# The lists


def test_each_operation_is_listed_once_under_its_area() -> None:
    extract = specification()
    listed = [(area, name) for area, names in NOT_YET.items() for name in names]
    assert len({name for _, name in listed}) == len(listed)
    assert [(area_of(extract.operations[name]), name) for _, name in listed] == listed


def test_the_areas_name_every_file_once() -> None:
    files = [f"{file}.yaml" for files in CLIENT_FILES.values() for file in files]
    described = {
        file for o in specification().operations.values() if o.api == "client-server" for file in o.files
    }
    assert sorted(files) == sorted(described)
    assert set(NOT_YET) <= set(AREAS)


def test_the_exceptions_are_of_operations_that_are_routed() -> None:
    routed = specification().operations.keys() - EXCEPTIONS.not_yet
    assert {*QUERY_NOT_YET, *BODY_NOT_YET, *OTHER_AUTH} <= routed


def test_the_page_is_in_step() -> None:
    written = PAGE.read_text("utf-8")
    assert written == page(specification(), NOT_YET, SPECIFICATION_VERSIONS), (
        "run: python -m tests.contract.specification_page"
    )


def test_the_page_counts_and_names() -> None:
    """Against counts taken here, and one operation of each kind."""
    extract, text = specification(), PAGE.read_text("utf-8")
    missing = sum(map(len, NOT_YET.values()))
    assert f"| **all 200** | **{200 - missing}** | **{missing}** |" in text
    assert version_of(extract.operations["GET /_matrix/client/v3/sync"]) == "v1.1"
    assert version_of(extract.operations["GET /_matrix/client/v1/media/config"]) == "v1.11"


# The comparison itself, on an invented specification


async def answer(call: Call) -> Answer:
    return Json({})


@attrs.frozen
class Query:
    from_: str | None = None
    limit: int = 10


@attrs.frozen
class Body:
    reason: str | None = None


class Struct(msgspec.Struct):
    reason: str | None = msgspec.field(default=None, name="m.reason")


def operation(method: str, path: str, auth: str = "token", **more: Any) -> dict[str, Any]:
    return {
        "added": None,
        "api": "client-server",
        "auth": auth,
        "deprecated": False,
        "files": ["x.yaml"],
        "ids": ["x"],
        "method": method,
        "parameters": [],
        "path": path,
        "responses": {"200": {"content": {}}},
        **more,
    }


def extract_of(*operations: dict[str, Any]) -> Extract:
    return read_extract({"definitions": {}, "errcodes": [], "operations": operations})


def query(*names: str) -> list[dict[str, Any]]:
    return [{"in": "query", "name": name, "required": False, "schema": {"type": "string"}} for name in names]


def body(*names: str) -> dict[str, Any]:
    schema = {"allOf": [{"type": "object", "properties": {name: {} for name in names}}]}
    return {"content": {"application/json": schema}, "required": True}


V3 = "/_matrix/client/v3"
ROOM = operation("GET", f"{V3}/rooms/{{roomId}}/thing")
GOOD = Endpoint(method="GET", path=f"{V3}/rooms/{{roomId}}/thing", handler=answer)


@pytest.mark.parametrize(
    ("endpoints", "operations", "exceptions"),
    [
        ([GOOD], [ROOM], {}),
        ([], [ROOM], {"not_yet": frozenset({f"GET {V3}/rooms/{{roomId}}/thing"})}),
        ([attrs.evolve(GOOD, path=f"{V3}/rooms/{{roomId}}/thing/")], [ROOM], {}),
        ([attrs.evolve(GOOD, auth=Auth.NONE)], [{**ROOM, "auth": "none"}], {}),
        ([attrs.evolve(GOOD, auth=Auth.OPTIONAL)], [{**ROOM, "auth": "token?"}], {}),
        ([attrs.evolve(GOOD, auth=Auth.NONE)], [ROOM], {"other_auth": frozenset({f"GET {ROOM['path']}"})}),
        ([attrs.evolve(GOOD, query=Query)], [{**ROOM, "parameters": query("from", "limit")}], {}),
        ([attrs.evolve(GOOD, body=Body)], [{**ROOM, "body": body("reason")}], {}),
        ([attrs.evolve(GOOD, body=Struct)], [{**ROOM, "body": body("m.reason")}], {}),
        ([attrs.evolve(GOOD, body=JsonObject)], [{**ROOM, "body": body("reason")}], {}),
        (
            [attrs.evolve(GOOD, query=Query)],
            [{**ROOM, "parameters": query("at")}],
            {"query_not_yet": {f"GET {ROOM['path']}": ("at",)}},
        ),
        ([GOOD, attrs.evolve(GOOD, path=f"{V3}/more")], [ROOM], {"beyond": frozenset({f"GET {V3}/more"})}),
        ([GOOD, attrs.evolve(GOOD, path="/_matrix/client/unstable/org.example/more")], [ROOM], {}),
        ([GOOD, attrs.evolve(GOOD, path="/health")], [ROOM], {}),
    ],
)
def test_no_difference(endpoints: list[Endpoint], operations: list[Any], exceptions: dict[str, Any]) -> None:
    assert differences(endpoints, extract_of(*operations), Exceptions(**exceptions)) == []


@pytest.mark.parametrize(
    ("endpoints", "operations", "exceptions", "told"),
    [
        ([], [ROOM], {}, "is neither routed nor listed"),
        ([GOOD], [ROOM], {"not_yet": frozenset({f"GET {ROOM['path']}"})}, "is routed, and listed"),
        ([GOOD], [ROOM], {"not_yet": frozenset({"GET /gone"})}, "GET /gone is listed"),
        ([attrs.evolve(GOOD, method="PUT")], [ROOM], {}, "is neither routed nor listed"),
        ([attrs.evolve(GOOD, path=f"{V3}/rooms/{{room}}/thing")], [ROOM], {}, "not ['roomId']"),
        ([attrs.evolve(GOOD, auth=Auth.NONE)], [ROOM], {}, "has Auth.NONE, not Auth.REQUIRED"),
        ([GOOD], [{**ROOM, "auth": "token?"}], {}, "has Auth.REQUIRED, not Auth.OPTIONAL"),
        ([GOOD], [{**ROOM, "parameters": query("at")}], {}, "does not read the query parameter 'at'"),
        (
            [attrs.evolve(GOOD, query=Query)],
            [{**ROOM, "parameters": query("limit")}],
            {"query_not_yet": {f"GET {ROOM['path']}": ("limit",)}},
            "reads the query parameter 'limit', which is listed",
        ),
        ([attrs.evolve(GOOD, body=Body)], [{**ROOM, "body": body("score")}], {}, "the member 'score'"),
        ([attrs.evolve(GOOD, body=Struct)], [{**ROOM, "body": body("reason")}], {}, "the member 'reason'"),
        ([GOOD, attrs.evolve(GOOD, path=f"{V3}/more")], [ROOM], {}, "is routed and not in the spec"),
    ],
)
def test_a_difference_is_told(
    endpoints: list[Endpoint], operations: list[Any], exceptions: dict[str, Any], told: str
) -> None:
    found = differences(endpoints, extract_of(*operations), Exceptions(**exceptions))
    assert any(told in text for text in found), found


def test_a_route_that_is_there_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="routed twice"):
        differences(
            [GOOD, attrs.evolve(GOOD, path=f"{V3}/rooms/{{x}}/thing/")], extract_of(ROOM), Exceptions()
        )
