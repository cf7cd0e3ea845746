# SPDX-License-Identifier: Apache-2.0
"""`trellis check`: each thing that a start needs is looked at, and it is said what to mend."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.signing_key import create_signing_key
from storage.engine.migrations import SCHEMA, load_migrations
from tests.support.databases import DatabaseHome

KNOWN = len(load_migrations(SCHEMA, "sqlite"))

Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(at_once: Any, tmp_path: Path) -> Check:
    """Checks a configuration for example.org that says `keys` besides; the exit status and the lines."""

    def call(**keys: Any) -> tuple[int, list[str]]:
        listener = {"port": 0, "bind_addresses": ["127.0.0.1"]}
        content = {"server_name": "example.org", "listeners": [listener], **keys}
        (tmp_path / "homeserver.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        done = at_once("check", "--config", "homeserver.yaml")
        assert done.stderr == ""
        return done.returncode, [" ".join(line.split()) for line in done.stdout.splitlines()]

    return call


def line(lines: list[str], subject: str) -> str:
    """The one line about `subject`."""
    (found,) = [text for text in lines if text.split(" ", 1)[-1].startswith(subject)]
    return found


def test_a_new_server_has_nothing_to_mend(check: Check, tmp_path: Path) -> None:
    status, lines = check(public_baseurl="https://matrix.example.org/")
    assert (status, lines[-1]) == (0, "Nothing to mend.")
    assert line(lines, "configuration") == f"ok configuration {tmp_path / 'homeserver.yaml'}: example.org"
    assert line(lines, "signing key").endswith("example.org.signing.key will be made at the first start")
    assert line(lines, "database").endswith("homeserver.db will be made at the first start")
    assert line(lines, "media").endswith("media_store will be made at the first start")
    assert line(lines, "listener") == "ok listener 127.0.0.1:0 is free"
    assert line(lines, "public_baseurl") == "ok public_baseurl https://matrix.example.org/"
    assert "example.org:8448" in line(lines, "federation")
    assert [file.name for file in tmp_path.iterdir()] == ["homeserver.yaml"]


def test_what_is_there_is_looked_at(check: Check, tmp_path: Path) -> None:
    key = create_signing_key(tmp_path / "example.org.signing.key")
    (tmp_path / "media_store").mkdir()
    status, lines = check()
    assert status == 0
    assert f"signs as {key.key_id}" in line(lines, "signing key")
    assert line(lines, "media") == f"ok media {tmp_path / 'media_store'}"
    (tmp_path / "example.org.signing.key").chmod(0o644)
    status, lines = check()
    assert status == 0
    assert any(text.startswith("warning signing key others can read it: chmod 600") for text in lines)


def test_a_database_is_looked_at(check: Check, database_home: DatabaseHome) -> None:
    status, lines = check(database=database_home.configuration())
    assert status == 0
    assert line(lines, "database").endswith(f": schema version {KNOWN}")


def test_an_empty_database_is_looked_at(check: Check, database_homes: Callable[..., DatabaseHome]) -> None:
    home = database_homes(migrated=False)
    if home.engine == "sqlite":
        Path(home.settings.path).touch()
    status, lines = check(database=home.configuration())
    assert status == 0
    assert "empty, its tables will be made at the first start" in line(lines, "database")


async def change_versions(home: DatabaseHome, statement: str) -> None:
    database = await home.open()
    await database.write("change versions", lambda txn: txn.execute(statement))
    await home.close()


def test_a_database_of_another_release(check: Check, database_home: DatabaseHome, run: Any) -> None:
    newer = f"INSERT INTO schema_version (version, compat_version) VALUES ({KNOWN + 1}, {KNOWN + 1})"
    run(change_versions(database_home, newer))
    status, lines = check(database=database_home.configuration())
    assert status == 1
    assert f"has schema version {KNOWN + 1}, which this program does not know" in line(lines, "database")


def test_a_database_that_does_not_answer(check: Check, tmp_path: Path) -> None:
    arguments = {"host": str(tmp_path), "user": "trellis", "password": "xyzzy", "dbname": "trellis"}
    status, lines = check(database={"name": "psycopg2", "args": arguments})
    assert status == 1
    assert "is PostgreSQL running" in line(lines, "database")
    assert "xyzzy" not in "\n".join(lines)


WRONG = [
    ({"signing_key_path": "absent/key"}, "signing key", "the directory"),
    ({"signing_key_path": "homeserver.yaml"}, "signing key", "is no signing key"),
    (
        {"database": {"name": "sqlite3", "args": {"database": "absent/a.db"}}},
        "database",
        "does not exist: make it",
    ),
    (
        {"database": {"name": "sqlite3", "args": {"database": "homeserver.yaml"}}},
        "database",
        "not a database",
    ),
    ({"media_store_path": "homeserver.yaml"}, "media", "is no directory"),
    ({"media_store_path": "homeserver.yaml/below"}, "media", "is no directory"),
    ({"log_config": "absent.yaml"}, "log", "cannot read"),
    ({"registration_shared_secret_path": "absent"}, "registration", "cannot read"),
    ({"tls_certificate_path": "absent.pem", "tls_private_key_path": "absent.key"}, "tls", "absent.pem"),
    ({"listeners": [{"path": "absent/main.sock"}]}, "listener", "does not exist"),
    ({"listeners": [{"port": 0, "bind_addresses": ["192.0.2.1"]}]}, "listener", "change listeners"),
    ({"public_baseurl": "http://matrix.example.org/"}, "public_baseurl", "use https"),
]


@pytest.mark.parametrize(("keys", "subject", "words"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said(check: Check, keys: dict[str, Any], subject: str, words: str) -> None:
    status, lines = check(**keys)
    assert (status, lines[-1]) == (1, "1 to mend.")
    (found,) = [text for text in lines if text.startswith("MEND ")]
    assert found.startswith(f"MEND {subject} ")
    assert words in found


REMARKS = [
    ({"enable_media_repo": False}, "media", "this server keeps no media"),
    ({"server_name": "localhost"}, "server name", "no other server can reach it"),
    ({"server_name": "127.0.0.1:8448"}, "server name", "no other server can reach it"),
    ({"server_name": "example.org:8448"}, "federation", "connect to example.org:8448 with TLS"),
    ({"serve_server_wellknown": True}, "federation", "must be forwarded to this server"),
    ({"server_name": "example.org:1", "serve_server_wellknown": True}, "federation", "has no effect"),
    ({"listeners": [{"port": 0, "resources": [{"names": ["client"]}]}]}, "federation", "no listener serves"),
    ({"sentry": {}}, "configuration sentry", "does not use it yet"),
    ({"public_baseurl": None}, "public_baseurl", "https://example.org/"),
]


@pytest.mark.parametrize(("keys", "subject", "words"), REMARKS, ids=range(len(REMARKS)))
def test_what_is_worth_knowing_is_said(check: Check, keys: dict[str, Any], subject: str, words: str) -> None:
    status, lines = check(**keys)
    assert status == 0
    assert any(text.startswith(f"remark {subject}") and words in text for text in lines), lines


def test_unknown_keys_and_open_registration_are_warnings(check: Check) -> None:
    status, lines = check(
        max_upload_sise="1M", enable_registration=True, enable_registration_without_verification=True
    )
    assert status == 0
    assert "warning configuration max_upload_sise: unknown key; did you mean max_upload_size?" in lines
    assert "warning registration anybody can register without verification" in lines


def test_a_configuration_that_cannot_be_read_ends_the_check(at_once: Any, tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_text("server_name: [", encoding="utf-8")
    done = at_once("check")
    assert (done.returncode, done.stdout) == (1, "")
    assert "homeserver.yaml: line 1" in done.stderr


def test_the_defaults_are_checked_without_making_anything(at_once: Any, tmp_path: Path) -> None:
    done = at_once("check")
    assert "no file, the defaults, with everything in" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_another_program_has(check: Check) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        resources = [{"names": ["client"]}]
        status, lines = check(
            listeners=[{"port": port, "bind_addresses": ["127.0.0.1"], "resources": resources}]
        )
    assert status == 1
    assert f"127.0.0.1:{port}: Address already in use; stop what uses it" in line(lines, "listener")


@pytest.fixture
def keys_answer() -> Iterator[Callable[[bytes], int]]:
    """Serves one answer to every request; returns the port."""
    servers: list[http.server.HTTPServer] = []

    def serve(answer: bytes) -> int:
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: Any) -> None:
                """Says nothing."""

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Page))
        threading.Thread(
            target=servers[-1].serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return servers[-1].server_address[1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (json.dumps({"server_name": "example.org"}).encode(), 0),
        (json.dumps({"server_name": "example.com"}).encode(), 1),
        (b"[]", 1),
        (b"\xff", 1),
        (b"[" * 60000, 1),
    ],
    ids=range(5),
)
def test_a_port_that_this_server_has_already(
    check: Check, keys_answer: Callable[[bytes], int], answer: bytes, status: int
) -> None:
    port = keys_answer(answer)
    found, lines = check(listeners=[{"port": port, "bind_addresses": ["127.0.0.1"]}])
    assert found == status
    assert ("this server is running there" in line(lines, "listener")) == (status == 0)
