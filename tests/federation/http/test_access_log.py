# SPDX-License-Identifier: Apache-2.0
"""The access log: a line per request, without secrets and without what would break a line."""

from __future__ import annotations

import logging

import pytest

from federation.http.access_log import next_request_id, request_id
from federation.http.endpoint import Call, Endpoint, Json
from tests.support.http import serve


async def echo_id(_call: Call) -> Json:
    """Answers the request's id."""
    return Json({"id": request_id.get()})


ENDPOINTS = (Endpoint("GET", "/a/{b}", echo_id),)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "trellis.access"]


def test_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="trellis.access"), serve(ENDPOINTS) as server:
        answer = server.client().get("/a/b?access_token=secret&x=y", headers={"User-Agent": "secret"})
    (line,) = lines(caplog)
    method, path, status, time, length, requester, address, identifier = line.split(" ")
    assert (method, path, status, requester, address) == ("GET", "/a/b", "200", "@alice:test", "127.0.0.1")
    assert time.endswith("ms")
    assert int(length.removesuffix("B")) > len(answer.content)
    assert identifier == answer.json["id"]
    assert "secret" not in line


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/a/%0A%1B[31m", "/a/%0A%1B[31m"), ("/" + "x" * 5000, "/" + "x" * 511), ("/nope?a=1", "/nope")],
)
def test_what_stands_for_the_path(path: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="trellis.access"), serve(ENDPOINTS) as server:
        server.client(None).get(path)
    (line,) = lines(caplog)
    assert line.split(" ")[1] == shown
    assert line.split(" ")[5] == "-"


def test_nothing_is_written_below_its_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="trellis.access"), serve(ENDPOINTS) as server:
        server.client().get("/a/b")
    assert lines(caplog) == []


def test_ids_are_unique_and_gone_after_the_request() -> None:
    with serve(ENDPOINTS) as server:
        ids = {server.client().get("/a/b").json["id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(identifier.startswith("GET-") for identifier in ids)
    assert request_id.get() == "-"
    assert next_request_id(b"\xff" * 100)
