# SPDX-License-Identifier: Apache-2.0
"""The addresses that the server listens on."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from homeserver.config.addresses import BindAddress
from homeserver.config.collections import ListOf
from homeserver.config.keys import RecordOf, key, keys_of, optional, read_keys
from homeserver.config.kinds import Boolean, Integer, OneOf, PathName
from homeserver.config.place import ConfigError, Place
from homeserver.config.unknown import note_unknown

LARGEST_MODE = 0o777


class Resource(enum.Enum):
    """What a listener serves."""

    CLIENT = "client"
    FEDERATION = "federation"
    HEALTH = "health"
    METRICS = "metrics"


# COMPAT: Synapse can serve these apart; in Trellis they belong to the client and the federation resource.
PARTS = ("consent", "keys", "media", "openid", "replication", "static")


@attrs.frozen
class ResourceName:
    """The name of a resource, or of a part of one, which is read as None."""

    expected: str = attrs.field(default="client, federation, health or metrics", init=False)

    def read(self, value: object, at: Place) -> Resource | None:
        if value in PARTS:
            at.inform(f"{value} is not served apart, it belongs to client and federation")
            return None
        if not isinstance(value, str) or value not in {resource.value for resource in Resource}:
            raise at.wrong(value, self.expected)
        return Resource(value)


@attrs.frozen(kw_only=True)
class ListenerResources:
    """A group of resources of a listener."""

    names: tuple[Resource | None, ...] = key(
        ListOf(ResourceName(), minimum=1),
        """What is served: client (the client-server API with media), federation (the server-server API with
        keys), health (/health, which every http listener answers) and metrics (/_synapse/metrics and
        /metrics for Prometheus, which ask nobody for a token).""",
        default=["client", "federation"],
    )


@attrs.frozen
class FileMode:
    """Permission bits of a file, in octal digits."""

    expected: str = attrs.field(default='a file mode in octal such as "660"', init=False)

    def read(self, value: object, at: Place) -> int:
        try:
            mode = int(value, 8) if isinstance(value, str) and len(value) <= 5 else value
        except ValueError:
            mode = None
        if isinstance(mode, bool) or not isinstance(mode, int) or not 0 <= mode <= LARGEST_MODE:
            raise at.wrong(value, self.expected)
        return mode


@attrs.frozen(kw_only=True)
class ListenerKeys:
    """A listener as the configuration writes it."""

    port: int | None = optional(
        Integer(maximum=65535), """The TCP port to listen on; 0 takes any free one.""", example=8008
    )
    bind_addresses: tuple[str, ...] = key(
        ListOf(BindAddress(), minimum=1),
        """The addresses of this machine to listen on; by default all of them.""",
        default=["::", "0.0.0.0"],
    )
    path: Path | None = optional(
        PathName(), """A Unix socket to listen on in place of a port.""", example="/run/trellis/main.sock"
    )
    mode: int = key(FileMode(), """The permissions of the Unix socket.""", default="666")
    type: str = key(
        OneOf(("http", "metrics")),
        """http, or metrics for a listener that serves metrics alone: bind it to the loopback or to a
        private address, since whoever reaches it may read them.""",
        default="http",
    )
    tls: bool = key(
        Boolean(),
        """Whether to speak TLS, with tls_certificate_path and tls_private_key_path.""",
        default=False,
    )
    x_forwarded: bool = key(
        Boolean(),
        """Whether a reverse proxy stands before this listener, whose X-Forwarded-For names the client's
        address. Never set it for a listener that clients can reach directly.""",
        default=False,
    )
    resources: tuple[ListenerResources, ...] = key(
        ListOf(RecordOf(ListenerResources), minimum=1),
        """What is served here: a list of mappings with the key names.""",
        default=[{"names": ["client", "federation"]}],
    )

    def check(self, at: Place) -> None:
        """A listener has either a port or a path, and serves something."""
        if (self.port is None) == (self.path is None):
            raise at.error("a listener needs either port or path" + (", not both" if self.path else ""))
        if self.path is not None and self.tls:
            raise at.child("tls").error("a Unix socket does not speak TLS")
        if self.type == "http" and not self.served():
            raise at.child("resources").error(
                "nothing is served, expected client, federation, health or metrics"
            )

    def served(self) -> frozenset[Resource]:
        """The resources of all groups together."""
        return frozenset(name for group in self.resources for name in group.names if name is not None)


@attrs.frozen(kw_only=True)
class Listener:
    """One listener: TCP (`port`, `bind_addresses`) or a Unix socket (`path`, `mode`)."""

    port: int | None
    bind_addresses: tuple[str, ...]
    path: Path | None
    mode: int
    tls: bool
    x_forwarded: bool
    resources: frozenset[Resource]


@attrs.frozen
class ListenerKind:
    """A listener in the list of listeners."""

    record: type[ListenerKeys] = attrs.field(default=ListenerKeys, init=False)
    expected: str = attrs.field(default="a mapping with port or path", init=False)

    def read(self, value: object, at: Place) -> Listener:
        if not isinstance(value, dict):
            raise at.wrong(value, self.expected)
        # COMPAT: one address may stand under the singular.
        mapping = dict(value)
        if "bind_address" in mapping:
            mapping.setdefault("bind_addresses", [mapping.pop("bind_address") or "0.0.0.0"])
        note_unknown(mapping, [declared.name for declared in keys_of(ListenerKeys)], at)
        keys = read_keys(ListenerKeys, mapping, at)
        resources = {Resource.METRICS} if keys.type == "metrics" else keys.served() | {Resource.HEALTH}
        return Listener(
            port=keys.port,
            bind_addresses=keys.bind_addresses if keys.path is None else (),
            path=keys.path,
            mode=keys.mode,
            tls=keys.tls,
            x_forwarded=keys.x_forwarded,
            resources=frozenset(resources),
        )


@attrs.frozen(kw_only=True)
class ListenersConfig:
    """Where the server listens, and its TLS certificate."""

    listeners: tuple[Listener, ...] = key(
        ListOf(ListenerKind(), minimum=1),
        """The addresses to listen on. A server that others reach over the internet stands behind a reverse
        proxy that speaks TLS, or has a listener with tls.""",
        default=[
            {
                "port": 8008,
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client", "federation", "health"]}],
            }
        ],
        example=[
            {
                "port": 8008,
                "bind_addresses": ["127.0.0.1"],
                "x_forwarded": True,
                "resources": [{"names": ["client", "federation"]}],
            },
            {"port": 9000, "bind_addresses": ["127.0.0.1"], "type": "metrics"},
        ],
    )
    enable_metrics: bool | None = optional(
        Boolean(),
        """Whether metrics for Prometheus are served; without this key they are, by each listener that has the
        resource metrics or the type metrics. With false a listener for metrics alone is not opened.""",
        example=False,
    )
    tls_certificate_path: Path | None = optional(
        PathName(),
        """The certificate of the listeners with tls, in PEM with its chain.""",
        example="/etc/ssl/example.org/fullchain.pem",
    )
    tls_private_key_path: Path | None = optional(
        PathName(),
        """The private key of that certificate, in PEM.""",
        example="/etc/ssl/example.org/privkey.pem",
    )

    def resources_of(self, listener: Listener) -> frozenset[Resource]:
        """What is served at one of `listeners`; nothing where it is not to be opened."""
        without = {Resource.METRICS} if self.enable_metrics is False else set()
        return listener.resources - without

    def check(self, at: Place) -> None:
        """TLS has a certificate, and no two listeners share an address."""
        self._remark_on_metrics(at)
        for name in ("tls_certificate_path", "tls_private_key_path"):
            if getattr(self, name) is None and any(listener.tls for listener in self.listeners):
                raise at.child(name).error("is missing, expected a path because a listener has tls: true")
        taken: set[tuple[str, int]] = set()
        for index, listener in enumerate(self.listeners):
            addresses = {(address, listener.port) for address in listener.bind_addresses if listener.port}
            if taken & addresses:
                raise _taken_twice(at.child("listeners").item(index), min(taken & addresses))
            taken |= addresses

    def _remark_on_metrics(self, at: Place) -> None:
        """Synapse serves metrics only where the key and a listener say so."""
        with_metrics = [
            (at.child("listeners").item(index), listener)
            for index, listener in enumerate(self.listeners)
            if Resource.METRICS in listener.resources
        ]
        if self.enable_metrics and not with_metrics:
            at.child("enable_metrics").warn("no listener has the resource metrics, so none serves them")
        for place, listener in with_metrics:
            if self.enable_metrics is False:
                place.warn("this listener does not serve metrics, because enable_metrics is false")
            elif Resource.CLIENT in listener.resources:
                place.inform("metrics are served to everybody who can reach this listener")


def _taken_twice(at: Place, address: tuple[str, int]) -> ConfigError:
    return at.error(f"another listener already has port {address[1]} of {address[0]}")
