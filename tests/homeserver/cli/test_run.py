# SPDX-License-Identifier: Apache-2.0
"""`trellis run`: one line when it is ready, one line when it cannot start, and an orderly end."""

from __future__ import annotations

import contextlib
import gc
import http.client
import re
import resource
import signal
import socket
import stat
import subprocess
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from homeserver.cli.log_config import read_log_config
from homeserver.cli.process import collect_garbage_seldom, raise_file_limit
from homeserver.cli.run import END_SECONDS, FINISH_SECONDS
from homeserver.config.place import ConfigError

LISTENER = "listeners: [{port: 0, bind_addresses: [127.0.0.1]}]\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "homeserver.yaml"
    path.write_text(f"server_name: example.org\npid_file: trellis.pid\n{LISTENER}", encoding="utf-8")
    return path


def ready(process: subprocess.Popen[str]) -> int:
    """The port of a server, as soon as it says that it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"Trellis is ready on http://127\.0\.0\.1:(\d+) as (\S+)\n", line)
    assert match, line + (process.stderr.read() if process.stderr and process.poll() is not None else "")
    return int(match[1])


def get(port: int, path: str) -> str:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode()


def test_the_time_to_stop_is_within_10_seconds() -> None:
    assert FINISH_SECONDS + END_SECONDS < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_finishes_what_is_in_flight_and_exits_0(start: Any, config: Path, number: int) -> None:
    process = start("run", "--config", str(config))
    port = ready(process)
    assert (config.parent / "trellis.pid").read_text(encoding="ascii") == f"{process.pid}\n"
    assert get(port, "/") == "here\n"
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
    waiting.start()
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(number)  # one who is impatient changes nothing
    with pytest.raises(ConnectionRefusedError):
        get(port, "/")
    waiting.join(20)
    assert answers == ["at last\n"]
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in errors
    assert "finishing what is in flight" in errors
    assert not (config.parent / "trellis.pid").exists()


def test_what_does_not_finish_in_time_is_left(start: Any, config: Path) -> None:
    process = start("run", "--config", str(config), fault="stuck")
    ready(process)
    began = time.monotonic()
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert 1.5 < time.monotonic() - began < 10
    assert "did not stop as it should" in errors


def test_a_thread_that_does_not_end_cannot_keep_the_process(start: Any, config: Path) -> None:
    process = start("run", "--config", str(config), fault="thread")
    ready(process)
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert 3 < time.monotonic() - began < 10


def test_a_start_that_hangs_can_be_stopped(start: Any, config: Path) -> None:
    process = start("run", "--config", str(config), fault="hang")
    assert process.stdout.readline() == "starting\n"
    process.terminate()
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "database",
            "the database cannot be used: cannot connect to PostgreSQL: connection refused Is it running?",
        ),
        ("bug", "a mistake in Trellis (RuntimeError: the unexpected happened); --traceback shows where"),
    ],
)
def test_a_start_that_fails_is_one_line(start: Any, config: Path, fault: str, words: str) -> None:
    process = start("run", "--config", str(config), fault=fault)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("trellis: ")
    assert words in errors
    assert errors.count("\n") == 1


def test_a_traceback_is_there_for_those_who_ask(start: Any, config: Path) -> None:
    process = start("run", "--config", str(config), "--traceback", fault="bug")
    _, errors = process.communicate(timeout=30)
    assert "Traceback (most recent call last)" in errors
    assert "small_program.py" in errors


def test_a_port_in_use_is_one_line(start: Any, config: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = config.read_text(encoding="utf-8").replace("port: 0", f"port: {port}")
        config.write_text(text, encoding="utf-8")
        process = start("run", "--config", str(config))
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == (
        f"trellis: cannot listen on 127.0.0.1 port {port}: Address already in use; stop what uses it, or "
        "change listeners in the configuration\n"
    )


def test_a_wrong_configuration_is_one_line(start: Any, config: Path) -> None:
    config.write_text("server_name: example.org\nmax_upload_size: big\n", encoding="utf-8")
    process = start("run", "-c", str(config))
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == (
        f'trellis: {config}: max_upload_size: found "big", expected a size such as 512K, 50M or 1G, or a '
        "number of bytes\n"
    )


def test_what_is_said_about_the_configuration_goes_to_the_log(start: Any, config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}\nenable_registraton: true\nsentry: {{dsn: x}}\n", encoding="utf-8")
    process = start("run", "-c", str(config))
    ready(process)
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert re.search(
        r"WARNING homeserver\.cli\.run \[-\] enable_registraton: .* enable_registration\?", errors
    )
    assert re.search(r"INFO    homeserver\.cli\.run \[-\] sentry: ", errors)


def test_the_configuration_of_the_current_directory_is_found(start: Any, config: Path) -> None:
    process = start("run")
    ready(process)
    assert not (config.parent / "trellis-data").exists()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_without_a_configuration_everything_is_in_one_directory(start: Any, tmp_path: Path) -> None:
    with socket.socket() as probe:
        # Port 8008 is what the defaults say; another server of this machine may have it.
        free = probe.connect_ex(("127.0.0.1", 8008)) != 0
    process = start("run")
    if free:
        assert process.stdout.readline() == "Trellis is ready on http://127.0.0.1:8008 as localhost\n"
        assert process.stdout.readline() == f"Everything is kept in {tmp_path / 'trellis-data'}.\n"
        assert "trellis user create" in process.stdout.readline()
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
    else:
        _, errors = process.communicate(timeout=20)
        assert "cannot listen on 127.0.0.1 port 8008" in errors
    assert stat.S_IMODE((tmp_path / "trellis-data").stat().st_mode) == 0o700


SYNAPSE_LOG = """
version: 1
formatters:
  precise: {format: '%(levelname)s - %(request)s - %(message)s'}
filters:
  context: {(): synapse.logging.context.LoggingContextFilter, request: ""}
handlers:
  file: {class: logging.FileHandler, formatter: precise, filename: FILE, filters: [context]}
  buffer: {class: synapse.logging.handlers.PeriodicallyFlushingMemoryHandler, target: file, capacity: 10}
loggers:
  synapse.storage.SQL: {level: INFO}
root: {level: INFO, handlers: [buffer]}
"""


def test_a_log_configuration_of_synapse_can_be_used(start: Any, config: Path) -> None:
    log = config.parent / "trellis.log"
    (config.parent / "log.yaml").write_text(SYNAPSE_LOG.replace("FILE", str(log)), encoding="utf-8")
    text = config.read_text(encoding="utf-8")
    config.write_text(f"{text}\nlog_config: log.yaml\nsentry: {{dsn: x}}\n", encoding="utf-8")
    process = start("run")
    ready(process)
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert errors == ""
    assert "INFO - - - sentry: " in log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [("version: 2", "expected version: 1"), ("[", "not valid YAML"), ("- a", "expected version: 1")],
)
def test_a_file_that_is_no_log_configuration(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "log.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_log_config(path)
    assert str(caught.value).startswith(f"log_config: {path} ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "version: 1\nhandlers: {x: {class: synapse.logging.RemoteHandler}}",
            "synapse.logging.RemoteHandler",
        ),
        ("version: 1\nroot: 5\nfilters: 7\nloggers: [a]", "cannot be used"),
    ],
)
def test_a_log_configuration_that_cannot_be_used_is_one_line(
    start: Any, config: Path, content: str, words: str
) -> None:
    (config.parent / "log.yaml").write_text(content, encoding="utf-8")
    config.write_text(config.read_text(encoding="utf-8") + "\nlog_config: log.yaml\n", encoding="utf-8")
    process = start("run")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.startswith(f"trellis: log_config: {config.parent / 'log.yaml'} ")
    assert words in errors
    assert errors.count("\n") == 1


def test_a_pid_file_that_cannot_be_written_is_one_line(start: Any, config: Path) -> None:
    text = config.read_text(encoding="utf-8").replace("trellis.pid", "absent/trellis.pid")
    config.write_text(text, encoding="utf-8")
    process = start("run")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert re.fullmatch(
        r"trellis: pid_file: cannot write .*trellis\.pid: No such file or directory\n", errors
    )


def test_the_file_limit_is_raised_as_far_as_the_system_lets_it() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        raise_file_limit(200)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, before[1])
        raise_file_limit(before[1] + 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_lives_at_the_start_is_not_looked_at_for_garbage() -> None:
    class Linked:
        """Something that refers to itself."""

    thresholds = gc.get_threshold()
    try:
        collect_garbage_seldom()
        frozen = gc.get_freeze_count()
        assert gc.get_threshold()[0] > 5_000
        assert len(gc.get_objects()) < frozen / 10
        later = Linked()
        later.itself = later  # type: ignore[attr-defined]
        died = weakref.ref(later)
        del later
        gc.collect()
        assert died() is None
        assert gc.get_freeze_count() == pytest.approx(frozen, rel=0.1)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
