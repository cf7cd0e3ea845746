# SPDX-License-Identifier: Apache-2.0
"""Checks of addresses: what the server listens on, and where others look for it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from federation.http.tls import CertificateError, ServerCertificate
from federation.rules.identifiers import parse_server_name
from homeserver.cli.finding import Finding, State
from homeserver.cli.problem import one_line
from homeserver.cli.storage_checks import writable_problem
from homeserver.config.config import Config
from homeserver.config.listeners import Listener, Resource

TIMEOUT_SECONDS = 3.0
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
LARGEST_ANSWER = 65536


def check_tls(config: Config) -> Iterator[Finding]:
    """The certificate and its key can be read and belong together."""
    certificate, key = config.listeners.tls_certificate_path, config.listeners.tls_private_key_path
    if certificate is None or key is None:
        return
    try:
        ServerCertificate(certificate=certificate, private_key=key)
    except CertificateError as error:
        yield Finding(State.FAILED, "tls", one_line(error))
    else:
        yield Finding(State.OK, "tls", f"{certificate} with {key}")


def check_listeners(config: Config) -> Iterator[Finding]:
    """The server can listen where it is told to."""
    for listener in config.listeners.listeners:
        if listener.path is not None:
            yield _unix(listener.path)
        for address in listener.bind_addresses:
            yield _tcp(address, listener, config.server_name)


def _unix(path: Path) -> Finding:
    problem = None if path.parent.is_dir() else f"the directory {path.parent} does not exist"
    problem = problem or writable_problem(path.parent)
    if problem:
        return Finding(State.FAILED, "listener", f"cannot listen on unix:{path}: {problem}")
    return Finding(State.OK, "listener", f"unix:{path}")


def _tcp(address: str, listener: Listener, server_name: str) -> Finding:
    port = listener.port or 0
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except PermissionError:
        advice = "a port below 1024 needs privileges: use a reverse proxy or another port"
        return Finding(State.FAILED, "listener", f"{where}: this user may not listen there; {advice}")
    except OSError as error:
        if family == socket.AF_INET6 and error.errno in NO_IPV6:
            return Finding(State.REMARK, "listener", f"{where}: this machine does not have that IPv6 address")
        if _runs_here(address, listener, server_name):
            return Finding(State.OK, "listener", f"{where}: this server is running there")
        advice = "stop what uses it, or change listeners in the configuration"
        return Finding(State.FAILED, "listener", f"{where}: {error.strerror or error}; {advice}")
    return Finding(State.OK, "listener", f"{where} is free")


def _runs_here(address: str, listener: Listener, server_name: str) -> bool:
    """Whether what listens there already is the server of this configuration."""
    if listener.tls or Resource.FEDERATION not in listener.resources or listener.port is None:
        return False
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    connection = http.client.HTTPConnection(local, listener.port, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/_matrix/key/v2/server")
            answer = json.loads(connection.getresponse().read(LARGEST_ANSWER))
        except (OSError, http.client.HTTPException, ValueError, RecursionError):
            return False
    return isinstance(answer, dict) and answer.get("server_name") == server_name


def check_addresses(config: Config) -> Iterator[Finding]:
    """The addresses that clients and other servers are told make sense together."""
    server_name = config.server_name
    host = parse_server_name(server_name).host
    url = urlsplit(config.server.client_base_url)
    if _is_local(host):
        text = f"{server_name} is a name for this machine alone: no other server can reach it"
        yield Finding(State.REMARK, "server name", text)
        return
    if config.server.public_baseurl is None:
        text = f"not set: clients are told {config.server.client_base_url}"
        yield Finding(State.REMARK, "public_baseurl", text)
    elif url.scheme == "http" and not _is_local(url.hostname or ""):
        text = f"{config.server.public_baseurl} is not encrypted and clients refuse it: use https"
        yield Finding(State.FAILED, "public_baseurl", text)
    else:
        yield Finding(State.OK, "public_baseurl", config.server.public_baseurl)
    yield _delegation(config, host)


def _delegation(config: Config, host: str) -> Finding:
    """How other servers find this one."""
    name = parse_server_name(config.server_name)
    federated = any(Resource.FEDERATION in listener.resources for listener in config.listeners.listeners)
    if not federated:
        text = "no listener serves federation: other servers cannot reach this one"
    elif name.port is not None or name.is_ip_literal:
        text = f"other servers connect to {config.server_name} with TLS"
        if config.server.serve_server_wellknown:
            text += "; serve_server_wellknown has no effect where a server name has a port"
    elif config.server.serve_server_wellknown:
        text = (
            f"https://{host}/.well-known/matrix/server must be forwarded to this server, which sends other "
            f"servers to {host}:443"
        )
    else:
        text = (
            f"other servers look for https://{host}/.well-known/matrix/server, then for an SRV record of "
            f"_matrix-fed._tcp.{host}, then for {host}:8448: one of them must lead here"
        )
    return Finding(State.REMARK, "federation", text)


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
