# SPDX-License-Identifier: Apache-2.0
"""Which listeners several processes share, and which each of them has for itself.

What clients connect to is shared. A listener for metrics alone tells of one process, so each has its own: the
first process the port of the configuration, each further one the next port. The same holds for the port at
which the processes reach each other.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.protocol import Factory

from federation.http.ports import Listener, open_ports
from homeserver.cli.problem import Problem
from homeserver.config.config import Config
from homeserver.config.listeners import Listener as ConfiguredListener
from homeserver.config.listeners import Resource

logger = logging.getLogger(__name__)

_LARGEST_PORT = 65535


def is_own(listener: ConfiguredListener) -> bool:
    """Whether each process has this listener for itself."""
    return Resource.METRICS in listener.resources and listener.resources <= {
        Resource.METRICS,
        Resource.HEALTH,
    }


def config_of_process(config: Config, number: int) -> Config:
    """The configuration as it is for the process `number`, which counts from 1."""
    listeners = tuple(
        _own(listener, number) if is_own(listener) else listener for listener in config.listeners.listeners
    )
    link = config.processes.processes
    if link.port:
        link = attrs.evolve(link, port=link.port + number - 1)
    return attrs.evolve(
        config,
        listeners=attrs.evolve(config.listeners, listeners=listeners),
        processes=attrs.evolve(config.processes, processes=link),
    )


def _own(listener: ConfiguredListener, number: int) -> ConfiguredListener:
    if listener.path is not None:
        path = listener.path
        return attrs.evolve(listener, path=path if number == 1 else path.with_name(f"{path.name}.{number}"))
    return attrs.evolve(listener, port=listener.port and listener.port + number - 1)


def check_own_ports(config: Config, processes: int) -> None:
    """Raises Problem where a port of a further process is none, or is taken by the configuration."""
    taken = {listener.port for listener in config.listeners.listeners if not is_own(listener)}
    link = config.processes.processes.port
    wanted = [("listeners", "listener for metrics on", ports) for ports in own_ports(config, processes)]
    if link:
        wanted.append(("processes", "link between them on", range(link, link + processes)))
    for key, what, ports in wanted:
        clash = next((port for port in ports if port in taken or port > _LARGEST_PORT), None)
        if clash is not None:
            raise Problem(
                f"{key}: with {processes} processes the {what} port {ports[0]} "
                f"takes the ports {ports[0]} to {ports[-1]}, but {clash} is not free; choose another port"
            )
        taken.update(ports)


def own_ports(config: Config, processes: int) -> Sequence[range]:
    """The ports of all processes, for each listener that they do not share; not of those on any free port."""
    return [
        range(listener.port, listener.port + processes)
        for listener in config.listeners.listeners
        if listener.port and is_own(listener) and config.listeners.resources_of(listener)
    ]


def shared_listeners(config: Config) -> Mapping[int, ConfiguredListener]:
    """The listeners that all processes accept from, by their index in the configuration."""
    return {
        index: listener
        for index, listener in enumerate(config.listeners.listeners)
        if config.listeners.resources_of(listener) and not is_own(listener)
    }


def check_passed_sockets(config: Config, sockets: Mapping[int, tuple[int, ...]]) -> None:
    """Raises Problem where the parent has opened sockets for other listeners than these."""
    if shared_listeners(config).keys() != sockets.keys():
        raise Problem("listeners: they have changed since Trellis was started; stop it and start it again")


class SharedSockets:
    """The sockets that processes share: opened here, where nothing is accepted, and passed on to them."""

    def __init__(self, config: Config, *, reactor: Any) -> None:
        """Raises ListenerError."""
        self._ports: dict[int, list[Any]] = {}
        for index, listener in shared_listeners(config).items():
            if Resource.METRICS in listener.resources:
                logger.warning("listeners[%d]: which process tells its metrics here is left to chance", index)
            self._ports[index] = _open(listener, reactor)

    def descriptors(self) -> Mapping[int, tuple[int, ...]]:
        """The descriptors of the sockets, by the index of their listener."""
        return {index: tuple(port.fileno() for port in ports) for index, ports in self._ports.items()}

    def close(self) -> None:
        """Give them up; as soon as no process has them either, nobody can connect."""
        for ports in self._ports.values():
            for port in ports:
                port.stopListening().addErrback(_note_failure)
        self._ports.clear()


def _open(listener: ConfiguredListener, reactor: Any) -> list[Any]:
    where = Listener(
        port=listener.port, bind_addresses=listener.bind_addresses, path=listener.path, mode=listener.mode
    )
    ports = open_ports(where, Factory(), reactor=reactor)
    for port in ports:
        port.stopReading()  # before the reactor could accept the first
    return ports


def _note_failure(failure: Any) -> None:
    logger.warning("A listener did not close properly: %s", failure.getErrorMessage())
