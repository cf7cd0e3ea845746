# SPDX-License-Identifier: Apache-2.0
"""`trellis init`: a configuration and a key that a server can start with; nothing is overwritten."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from federation.signing_key import read_signing_keys
from homeserver.config.load import load_config


@pytest.mark.parametrize("server_name", ["example.org", "example.org:8448", "[::1]:8448", "1.2.3.4"])
def test_what_it_writes_can_be_used(at_once: Any, tmp_path: Path, server_name: str) -> None:
    done = at_once("init", "--server-name", server_name, "--dir", "a server")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trellis run --config 'a server/homeserver.yaml'" in done.stdout
    path = tmp_path / "a server" / "homeserver.yaml"
    config = load_config(path)
    assert config.server_name == server_name
    assert config.notices == ()
    assert len(read_signing_keys(config.signing_key_path)) == 1
    for file in (path, config.signing_key_path):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {"homeserver.yaml", f"{server_name}.signing.key"}


@pytest.mark.parametrize("existing", ["homeserver.yaml", "example.org.signing.key"])
def test_nothing_is_overwritten(at_once: Any, tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine", encoding="utf-8")
    done = at_once("init", "--server-name", "example.org")
    assert done.returncode == 1
    assert done.stderr.startswith(f"trellis: {existing} is there already; nothing was written.")
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [
        (existing, "mine")
    ]


def test_a_wrong_server_name_is_one_line(at_once: Any, tmp_path: Path) -> None:
    done = at_once("init", "--server-name", "https://example.org/")
    assert done.returncode == 1
    assert done.stderr.startswith(
        'trellis: server_name: found "https://example.org/", expected a server name'
    )
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_one_line(at_once: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = at_once("init", "--server-name", "example.org", "--dir", "file/below")
    assert done.returncode == 1
    assert done.stderr.startswith("trellis: cannot write to file/below: ")
    assert done.stderr.count("\n") == 1
