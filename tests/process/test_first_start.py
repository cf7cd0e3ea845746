# SPDX-License-Identifier: Apache-2.0
"""`trellis run` in an empty directory, with no configuration: a server to try out."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from tests.support.process import ProcessClient, environment

PORT = 8008
TAKEN = f"Cannot listen on 127.0.0.1 port {PORT}: another program uses it"


def start(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "homeserver", "run"]
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def check_files(directory: Path) -> None:
    """What a first start leaves: a key and a database that only their owner can read."""
    data = directory / "trellis-data"
    assert [path.name for path in directory.iterdir()] == ["trellis-data"]
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    [key] = data.glob("*.signing.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    algorithm, version, seed = key.read_text(encoding="ascii").split()
    assert (algorithm, len(seed)) == ("ed25519", 43)
    assert version
    [database] = data.glob("*.db")
    assert database.stat().st_size > 0


def make_user(directory: Path) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "homeserver", "user", "create", "alice", "--admin", "--password-stdin"],
        cwd=directory,
        env=environment(),
        input="correct horse battery staple\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return made.stdout + made.stderr


def use(client: ProcessClient) -> str:
    """Log in, make a room, send; returns the id of what was sent."""
    identifier = {"type": "m.id.user", "user": "alice"}
    login = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery staple"}
    answer = client.json("POST", "/_matrix/client/v3/login", login)
    assert answer["user_id"] == "@alice:localhost"
    client.token = answer["access_token"]
    room_id = client.create_room()
    event_id: str = client.send(room_id, "1", "hello").json["event_id"]
    return f"/_matrix/client/v3/rooms/{room_id}/event/{event_id}"


def test_an_empty_directory_becomes_a_server(tmp_path: Path) -> None:
    client = ProcessClient(PORT)
    process = start(tmp_path)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        if not ready:
            _, errors = process.communicate(timeout=20)
            assert process.returncode == 1
            assert errors.startswith(f"trellis: {TAKEN}")
            assert errors.count("\n") == 1
            check_files(tmp_path)
            return
        assert ready == f"Trellis is ready on http://127.0.0.1:{PORT} as localhost\n"
        check_files(tmp_path)
        assert make_user(tmp_path) == "@alice:localhost is an administrator of this server\n"
        event = use(client)
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in errors
        check_files(tmp_path)
        key = next((tmp_path / "trellis-data").glob("*.signing.key")).read_text(encoding="ascii")
        client.close()
        process = start(tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == ready
        assert client.json("GET", event)["content"]["body"] == "hello"
        assert next((tmp_path / "trellis-data").glob("*.signing.key")).read_text(encoding="ascii") == key
    finally:
        client.close()
        process.kill()
        process.communicate(timeout=20)
