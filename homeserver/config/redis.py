# SPDX-License-Identifier: Apache-2.0
"""What carries notices between the processes of this server, beside the database."""

from __future__ import annotations

from pathlib import Path

import attrs

from homeserver.config.keys import RecordOf, key, optional
from homeserver.config.kinds import Boolean, Integer, PathName, Text, is_clean
from homeserver.config.place import ConfigError, Place
from storage.notices.redis_line import RedisAddress, RedisTls


@attrs.frozen(kw_only=True)
class RedisKeys:
    """Redis as the configuration writes it."""

    enabled: bool = key(Boolean(), """Whether Redis is used.""", default=False)
    host: str = key(Text(), """The host that it runs on.""", default="localhost")
    port: int = key(Integer(minimum=1, maximum=65535), """Its port.""", default=6379)
    path: Path | None = optional(
        PathName(), """Its UNIX socket, in place of host and port.""", example="/run/redis/redis-server.sock"
    )
    password: str | None = optional(Text(), """The password.""", example="secret", secret=True)
    password_path: Path | None = optional(
        PathName(), """A file that holds the password, in place of password.""", example="redis_password"
    )
    use_tls: bool = key(Boolean(), """Whether the connections are encrypted.""", default=False)
    certificate_file: Path | None = optional(
        PathName(), """The certificate that Redis is shown, in PEM.""", example="redis_client.crt"
    )
    private_key_file: Path | None = optional(
        PathName(), """Its private key, unless it is in the same file.""", example="redis_client.key"
    )
    ca_file: Path | None = optional(
        PathName(),
        """The certificates that may have signed that of Redis, in PEM. Without them, and without ca_path,
        those that the system trusts.""",
        example="redis_ca.crt",
    )
    ca_path: Path | None = optional(
        PathName(), """A directory of such certificates and nothing else.""", example="redis_ca"
    )

    def check(self, at: Place) -> None:
        """The password is given once, and TLS where it can be."""
        if self.password is not None and self.password_path is not None:
            raise at.child("password_path").error("password is given as well, expected only one of them")
        if self.path is not None and self.use_tls:
            raise at.child("use_tls").error("there is no TLS on the UNIX socket that path names")
        if self.private_key_file is not None and self.certificate_file is None:
            raise at.child("private_key_file").error("its certificate_file is missing")

    def address(self) -> RedisAddress:
        """Where Redis is, with the password from its file.

        Raises:
            ConfigError: the file of the password cannot be read or holds no text.
        """
        tls = None
        if self.use_tls:
            tls = RedisTls(
                certificate=self.certificate_file,
                private_key=self.private_key_file,
                authorities=self.ca_file,
                authorities_directory=self.ca_path,
            )
        return RedisAddress(
            host=self.host, port=self.port, path=self.path, password=self._password(), tls=tls
        )

    def _password(self) -> str | None:
        path = self.password_path
        if path is None:
            return self.password
        try:
            password = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            problem = f"cannot read {path}: {error.strerror or error}"
            raise ConfigError("redis.password_path", problem) from None
        except UnicodeDecodeError:
            password = ""
        if not password or not is_clean(password):
            raise ConfigError("redis.password_path", f"{path} holds no text, expected the password in UTF-8")
        return password


@attrs.frozen(kw_only=True)
class RedisConfig:
    """The section of Redis."""

    redis: RedisKeys = key(
        RecordOf(RedisKeys),
        """Carries what several processes of this server tell each other, a little sooner than PostgreSQL,
        which does it otherwise. Whoever may write to it can make them believe anything: guard it as the
        database.""",
        default={},
    )
