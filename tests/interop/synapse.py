# SPDX-License-Identifier: Apache-2.0
"""Synapse from the package index as a process of its own that federates over loopback, and its database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.postgres_cluster import free_port
from tests.support.process import ProcessClient, register

SYNAPSE_NAME = "synapse.test"
_SECRET = "a secret of the tests"
_READY_SECONDS = 60
_STOP_SECONDS = 20


class SynapseProcess:
    """One Synapse on a SQLite database in `directory`, without rate limits.

    It takes peers with certificates of their own making at loopback addresses.
    """

    def __init__(self, interpreter: Path, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.database = directory / "homeserver.db"
        self._interpreter = interpreter
        self._directory = directory
        self._clients: list[ProcessClient] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "homeserver.log"
        self._config = directory / "homeserver.yaml"
        self._config.write_text(json.dumps(self._configuration()), encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it answers, clients and peers alike."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it answers."""
        self._run("-m", "synapse._scripts.generate_signing_key", "-o", str(self._directory / "signing.key"))
        command = [str(self._interpreter), "-m", "synapse.app.homeserver", "--config-path", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        client = self.client()
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"Synapse did not start:\n{self.log()[-3000:]}"
            try:
                if client.request("GET", "/_matrix/client/versions").status == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"Synapse does not answer:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """End it in order, if it runs, so that its database is whole; close all clients."""
        for client in self._clients:
            client.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def client(self, token: str | None = None, user_id: str = "") -> ProcessClient:
        """A client with one connection, which it opens when first used."""
        client = ProcessClient(self.port, token, user_id)
        self._clients.append(client)
        return client

    def register(self, name: str) -> ProcessClient:
        """A client of a new user of this name, an administrator."""
        answer = register(self.client(), _SECRET, name, admin=True)
        return self.client(answer["access_token"], answer["user_id"])

    def _run(self, *arguments: str) -> None:
        subprocess.run([str(self._interpreter), *arguments], check=True, capture_output=True, timeout=60)

    def _configuration(self) -> dict[str, Any]:
        limit = {"per_second": 1_000_000, "burst_count": 1_000_000}
        listener = {"port": self.port, "type": "http", "tls": False, "bind_addresses": ["127.0.0.1"]}
        log_config = self._directory / "log.json"
        log_config.write_text(json.dumps(_log_config()), encoding="utf-8")
        return {
            "server_name": SYNAPSE_NAME,
            "pid_file": str(self._directory / "homeserver.pid"),
            "listeners": [{**listener, "resources": [{"names": ["client", "federation"]}]}],
            "database": {"name": "sqlite3", "args": {"database": str(self.database)}},
            "registration_shared_secret": _SECRET,
            "macaroon_secret_key": _SECRET,
            "form_secret": _SECRET,
            "signing_key_path": str(self._directory / "signing.key"),
            "media_store_path": str(self._directory / "media"),
            "log_config": str(log_config),
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "presence": {"enabled": False},
            "bcrypt_rounds": 4,
            "federation_verify_certificates": False,
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "rc_message": limit,
            "rc_registration": limit,
            "rc_joins": {"local": limit, "remote": limit},
            "rc_joins_per_room": limit,
            "rc_room_creation": limit,
            "rc_federation": {"window_size": 1000, "sleep_limit": 100_000, "reject_limit": 100_000},
        }


def _log_config() -> dict[str, Any]:
    return {
        "version": 1,
        "handlers": {"output": {"class": "logging.StreamHandler"}},
        "root": {"level": "WARNING", "handlers": ["output"]},
        "disable_existing_loggers": False,
    }


def query(database: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Rows of a database of Synapse, which is opened for reading alone."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, parameters).fetchall()
