# SPDX-License-Identifier: Apache-2.0
"""Files into a configuration: what is right is read, what is wrong is named, and nothing is a traceback."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.config.config import Config, read_config, sections
from homeserver.config.keys import keys_of
from homeserver.config.listeners import Resource
from homeserver.config.load import LARGEST_FILE, default_config, load_config, parse_yaml
from homeserver.config.place import ConfigError, Level
from storage.notices.redis_line import RedisAddress, RedisTls

BASE = Path("/etc/trellis")


def read(text: str) -> Config:
    mapping = parse_yaml("server_name: example.org\n" + text)
    assert isinstance(mapping, dict)
    return read_config(mapping, base=BASE)


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    return caught.value


def test_without_a_file_the_server_is_for_this_machine_alone(tmp_path: Path) -> None:
    config = default_config(tmp_path / "trellis-data")
    assert config.server_name == "localhost"
    assert config.database.database.engine == "sqlite"
    assert config.database.database.path == str(tmp_path / "trellis-data" / "homeserver.db")
    assert config.database.database.synchronous == "FULL"
    assert config.signing_key_path == tmp_path / "trellis-data" / "localhost.signing.key"
    assert config.media.media_store_path == tmp_path / "trellis-data" / "media_store"
    (listener,) = config.listeners.listeners
    assert (listener.port, listener.bind_addresses, listener.tls) == (8008, ("127.0.0.1",), False)
    assert not config.registration.enable_registration
    assert config.signing.trusted_key_servers == ()
    assert config.notices == ()


def test_a_synapse_configuration_is_read() -> None:
    config = read(
        """
        pid_file: /data/homeserver.pid
        public_baseurl: https://matrix.example.org
        listeners:
          - port: 8008
            tls: false
            type: http
            x_forwarded: true
            bind_addresses: ['::1', '127.0.0.1']
            resources:
              - names: [client, federation]
                compress: false
        database:
          name: psycopg2
          txn_limit: 10000
          args: {user: synapse, password: "s3kret", database: synapse, host: localhost, cp_min: 5, cp_max: 10}
        log_config: "/data/example.org.log.config"
        media_store_path: /data/media_store
        registration_shared_secret: "abc"
        report_stats: false
        macaroon_secret_key: "def"
        form_secret: "ghi"
        signing_key_path: "/data/example.org.signing.key"
        trusted_key_servers:
          - server_name: "matrix.org"
            verify_keys: {"ed25519:auto": "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw"}
        max_upload_size: 100M
        session_lifetime: 24h
        refreshable_access_token_lifetime: 300000
        rc_login: {address: {per_second: 1}}
        presence: {enabled: false}
        """.replace("\n        ", "\n")
    )
    assert config.notices == ()
    assert config.server.public_baseurl == "https://matrix.example.org/"
    (listener,) = config.listeners.listeners
    assert listener.bind_addresses == ("::1", "127.0.0.1")
    assert listener.x_forwarded
    assert listener.resources == {Resource.CLIENT, Resource.FEDERATION, Resource.HEALTH}
    database = config.database.database
    assert database.engine == "postgresql"
    assert database.arguments == {
        "user": "synapse",
        "password": "s3kret",
        "dbname": "synapse",
        "host": "localhost",
    }
    assert database.readers == 9
    assert config.operation.log_config == Path("/data/example.org.log.config")
    assert config.media.max_upload_size == 100 * 1024 * 1024
    assert config.sessions.session_lifetime == 86_400_000
    assert config.sessions.access_token_lifetime(refreshable=True) == 300_000
    assert config.sessions.access_token_lifetime(refreshable=False) == 86_400_000
    assert config.rate_limits.rc_login.address.per_second == 1
    assert config.rate_limits.rc_login.address.burst_count == 5
    assert not config.presence.presence.enabled
    key_server = config.signing.trusted_key_servers[0]
    assert len(key_server.verify_keys["ed25519:auto"]) == 32


def test_secrets_are_not_shown_by_repr() -> None:
    config = read(
        "registration_shared_secret: xyzzy1\n"
        "password_config: {pepper: xyzzy2}\n"
        "database: {name: psycopg2, args: {password: xyzzy3}}\n"
    )
    assert config.registration.registration_shared_secret == "xyzzy1"
    assert config.passwords.password_config.pepper == "xyzzy2"
    assert config.database.database.arguments["password"] == "xyzzy3"
    assert "xyzzy" not in repr(config)


def refusal_of(reading: Callable[[], object]) -> ConfigError | None:
    """The error that `reading` ends with, in one line; None: it succeeds. Any other error is a failure."""
    try:
        reading()
    except ConfigError as error:
        if "\n" in str(error):
            raise AssertionError(str(error)) from error
        return error
    return None


WRONG = [
    ("listeners: 8008", "listeners", "found 8008, expected a list"),
    ("listeners: [{port: 70000}]", "listeners[0].port", "from 0 to 65535"),
    ("listeners: [{}]", "listeners[0]", "port or path"),
    ("listeners: [{port: 1, path: /x}]", "listeners[0]", "not both"),
    (
        "listeners: [{port: 8008, bind_addresses: [example.org]}]",
        "listeners[0].bind_addresses[0]",
        "IP address",
    ),
    (
        "listeners: [{port: 8008, resources: [{names: [clients]}]}]",
        "listeners[0].resources[0].names[0]",
        "client",
    ),
    (
        "listeners: [{port: 8008, resources: [{names: [media]}]}]",
        "listeners[0].resources",
        "nothing is served",
    ),
    ("listeners: [{port: 8008, type: manhole}]", "listeners[0].type", "http or metrics"),
    ("listeners: [{port: 8008}, {port: 8008}]", "listeners[1]", "already has port 8008"),
    ("listeners: [{port: 8448, tls: true}]", "tls_certificate_path", "is missing"),
    ("listeners: [{path: /x, mode: 999}]", "listeners[0].mode", '"660"'),
    ("listeners: [{path: /x, tls: true}]", "listeners[0].tls", "Unix socket"),
    ("redis: {enabled: 1}", "redis.enabled", "true or false"),
    ("redis: {port: 0}", "redis.port", "from 1 to 65535"),
    ("redis: {password: a, password_path: b}", "redis.password_path", "only one"),
    ("redis: {path: /x, use_tls: true}", "redis.use_tls", "UNIX socket"),
    ("redis: {private_key_file: x}", "redis.private_key_file", "certificate_file"),
    ("processes: {enabled: true}", "processes.enabled", "SQLite serves one process"),
    ("processes: {address: 0.0.0.0}", "processes.address", "expected one"),
    ("processes: {address: db.example.org}", "processes.address", "an IP address"),
    ("database: {name: mysql}", "database.name", "sqlite3 or psycopg2"),
    ("database: {name: psycopg2}", "database.args", "is missing"),
    ("database: {name: psycopg2, args: {host: [a]}}", "database.args.host", "a text or a whole number"),
    ("database: {args: {database: ':memory:'}}", "database.args.database", "loses everything"),
    ("database: {synchronous: off}", "database.synchronous", "full or normal"),
    ("database: {args: {cp_max: 1}}", "database.args.cp_max", "from 2 to 1000"),
    (
        "enable_registration: 'yes please'",
        "enable_registration",
        'found "yes please", expected true or false',
    ),
    ("enable_registration: true", "enable_registration", "without verification"),
    (
        "registration_shared_secret: a\nregistration_shared_secret_path: b",
        "registration_shared_secret_path",
        "one",
    ),
    ("registration_shared_secret: 5", "registration_shared_secret", "quotes"),
    ("max_upload_size: 50X", "max_upload_size", "50M"),
    ("max_upload_size: -1", "max_upload_size", "50M"),
    ("key_refresh_interval: 1.5d", "key_refresh_interval", "7d"),
    ("session_lifetime: 1 day", "session_lifetime", "7d"),
    ("session_lifetime: 1d\nrefresh_token_lifetime: 2d", "refresh_token_lifetime", "session_lifetime"),
    ("password_config: {enabled: sometimes}", "password_config.enabled", "only_for_reauth"),
    ("password_config: {enabled: 1}", "password_config.enabled", "true, false or only_for_reauth"),
    ("password_config: {policy: {minimum_length: ten}}", "password_config.policy.minimum_length", '"ten"'),
    ("password_config: []", "password_config", "a mapping"),
    ("rc_message: {per_second: -1}", "rc_message.per_second", "a number of at least 0"),
    ("rc_message: {per_second: .nan}", "rc_message.per_second", "a number of at least 0"),
    ("rc_login: {account: {burst_count: .inf}}", "rc_login.account.burst_count", "a number of at least 1"),
    ("rc_joins: 5", "rc_joins", "a mapping"),
    ("default_room_version: '99'", "default_room_version", "12"),
    ("auto_join_rooms: [lobby]", "auto_join_rooms[0]", "#lobby:example.org"),
    ("public_baseurl: matrix.example.org", "public_baseurl", "https://"),
    ("public_baseurl: https://example.org:99999/", "public_baseurl", "https://"),
    ("admin_contact: alice", "admin_contact", "mailto:"),
    ("ip_range_blacklist: [10.0.0.1/8]", "ip_range_blacklist[0]", "10.0.0.0/8"),
    ("federation_domain_whitelist: [exa_mple.org]", "federation_domain_whitelist[0]", "a server name"),
    ("federation_custom_ca_list: []", "federation_custom_ca_list", "not empty"),
    ("federation_client_minimum_tls_version: 2", "federation_client_minimum_tls_version", "1.2 or 1.3"),
    (
        "old_signing_keys: {'ed25519:old': {key: abc, expired_ts: 1}}",
        "old_signing_keys.ed25519:old.key",
        "base64",
    ),
    ("old_signing_keys: {old: {key: abc, expired_ts: 1}}", "old_signing_keys.old", "a key id"),
    ("trusted_key_servers: [{}]", "trusted_key_servers[0].server_name", "is missing"),
    ("thumbnail_sizes: [{width: 0, height: 1}]", "thumbnail_sizes[0].width", "from 1 to 4096"),
    (
        "server_notices: {system_mxid_localpart: Notices}",
        "server_notices.system_mxid_localpart",
        "lower-case",
    ),
    ('media_store_path: "a\\0b"', "media_store_path", "a path"),
    ('media_store_path: "\\ud800"', "media_store_path", "a path"),
    ("signing_key: ed25519 a_1 abc", "signing_key", "signing_key_path"),
    ("federation_ip_range_blacklist: []", "federation_ip_range_blacklist", "ip_range_blacklist"),
    ("use_presence: false", "use_presence", "presence.enabled"),
    ("soft_file_limit: 1e3", "soft_file_limit", "a whole number"),
    ("soft_file_limit: 99999999999999999999999999999999999999999", "soft_file_limit", "a very large number"),
]


@pytest.mark.parametrize(("text", "key", "words"), WRONG, ids=[text[:50] for text, _, _ in WRONG])
def test_a_wrong_value_names_its_key_and_what_is_expected(text: str, key: str, words: str) -> None:
    error = refusal(text)
    assert error.key == key
    assert words in error.problem


@pytest.mark.parametrize(
    "name",
    [
        "",
        "5",
        "true",
        "'@alice:example.org'",
        "'example.org:'",
        "example.org:0",
        "example.org:70000",
        "1.2.3.999",
        "'[::1'",
        "'[::1]x'",
        "exämple.org",
        "'a b'",
        "a" * 231,
    ],
)
def test_the_server_name_is_checked(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(parse_yaml(f"server_name: {name}"), base=BASE)  # type: ignore[arg-type]
    assert caught.value.key == "server_name"


@pytest.mark.parametrize("name", ["example.org", "example.org:8448", "1.2.3.4", "'[::1]:8448'", "localhost"])
def test_every_kind_of_server_name_is_taken(name: str) -> None:
    assert read_config(parse_yaml(f"server_name: {name}"), base=BASE).server_name == name.strip("'")  # type: ignore[arg-type]


def test_a_secret_is_not_shown_when_it_is_wrong() -> None:
    assert "xyzzy" not in str(refusal("password_config: {pepper: [xyzzy]}"))
    assert "xyzzy" not in str(refusal("database: {name: psycopg2, args: {password: [xyzzy]}}"))
    assert "xyzzy" not in str(refusal('password_config: {pepper: "xyzzy\\n"}'))


UNKNOWN = [
    ("enable_registraton: true", "enable_registraton", "did you mean enable_registration?"),
    (
        "listeners: [{port: 1, bind_adresses: []}]",
        "listeners[0].bind_adresses",
        "did you mean bind_addresses?",
    ),
    (
        "password_config: {policy: {minimal_length: 8}}",
        "password_config.policy.minimal_length",
        "minimum_length",
    ),
    ("rc_login: {adress: {per_second: 1}}", "rc_login.adress", "did you mean address?"),
    ("rc_login: {address: {persecond: 1}}", "rc_login.address.persecond", "did you mean per_second?"),
    ("database: {arg: {}}", "database.arg", "did you mean args?"),
    ("database: {name: psycopg2, args: {pasword: x}}", "database.args.pasword", "did you mean password?"),
    ("zzz: 1", "zzz", "unknown key"),
    ("enable_registraton:", "enable_registraton", "did you mean enable_registration?"),
]


@pytest.mark.parametrize(("text", "key", "words"), UNKNOWN)
def test_an_unknown_key_is_a_warning_with_the_nearest_known_name(text: str, key: str, words: str) -> None:
    (notice,) = read(text).notices
    assert (notice.level, notice.key) == (Level.WARNING, key)
    assert words in notice.text


def test_what_is_said_about_known_keys_that_are_not_read() -> None:
    config = read(
        "report_stats: true\nbcrypt_rounds: 12\nsentry: {dsn: x}\nhs_disabled: true\n"
        "presence: {sync_online_timeout: 30s}\nuse_presence:\n"
    )
    assert [(notice.level, notice.key) for notice in config.notices] == [
        (Level.INFORMATION, "sentry"),
        (Level.WARNING, "hs_disabled"),
        (Level.INFORMATION, "presence.sync_online_timeout"),
    ]


def test_a_key_without_a_value_is_absent_unless_null_turns_it_off() -> None:
    config = read("max_upload_size:\nauto_join_rooms:\npassword_config:\nredaction_retention_period: null\n")
    assert config.media.max_upload_size == 50 * 1024 * 1024
    assert config.rooms.auto_join_rooms == ()
    assert config.passwords.password_config.enabled is True
    assert config.rooms.redaction_retention_period is None
    assert config.rooms.forgotten_room_retention_period == 28 * 86_400_000


def test_listeners() -> None:
    config = read(
        """
listeners:
- {port: 8008}
- {port: 9000, type: metrics, bind_address: 127.0.0.1}
- {path: run/main.sock, mode: "660", resources: [{names: [client]}, {names: [federation, keys]}]}
- {port: 8448, tls: true, bind_addresses: ["0:0:0:0:0:0:0:1"]}
tls_certificate_path: cert.pem
tls_private_key_path: /etc/key.pem
"""
    )
    first, metrics, socket, tls = config.listeners.listeners
    assert first.bind_addresses == ("::", "0.0.0.0")
    assert metrics.bind_addresses == ("127.0.0.1",)
    assert metrics.resources == {Resource.METRICS}
    assert (socket.path, socket.mode, socket.bind_addresses) == (BASE / "run/main.sock", 0o660, ())
    assert socket.resources == {Resource.CLIENT, Resource.FEDERATION, Resource.HEALTH}
    assert tls.bind_addresses == ("::1",)
    assert config.listeners.tls_certificate_path == BASE / "cert.pem"
    assert config.listeners.tls_private_key_path == Path("/etc/key.pem")
    assert [notice.level for notice in config.notices] == [Level.INFORMATION]


METRICS = "{port: 9000, type: metrics}"
BOTH = "{port: 8008, resources: [{names: [client, metrics]}]}"


@pytest.mark.parametrize(
    ("text", "served", "notices"),
    [
        (f"listeners: [{METRICS}]", [{"metrics"}], []),
        (f"listeners: [{METRICS}]\nenable_metrics: true", [{"metrics"}], []),
        (
            "listeners: [{port: 9000, resources: [{names: [metrics]}]}, {port: 9001, type: metrics}]",
            [{"metrics", "health"}, {"metrics"}],
            [],
        ),
        (
            f"listeners: [{METRICS}]\nenable_metrics: false",
            [set()],
            [(Level.WARNING, "listeners[0]")],
        ),
        (
            f"listeners: [{BOTH}]\nenable_metrics: false",
            [{"client", "health"}],
            [(Level.WARNING, "listeners[0]")],
        ),
        (
            f"listeners: [{BOTH}, {METRICS}]",
            [{"client", "health", "metrics"}, {"metrics"}],
            [(Level.INFORMATION, "listeners[0]")],
        ),
        ("enable_metrics: true", [{"client", "federation", "health"}], [(Level.WARNING, "enable_metrics")]),
        ("enable_metrics: false", [{"client", "federation", "health"}], []),
    ],
)
def test_where_metrics_are_served(
    text: str, served: list[set[str]], notices: list[tuple[Level, str]]
) -> None:
    config = read(text)
    section = config.listeners
    resources = [{resource.value for resource in section.resources_of(one)} for one in section.listeners]
    assert resources == served
    assert [(notice.level, notice.key) for notice in config.notices] == notices


@pytest.mark.parametrize(("mode", "bits"), [('"666"', 0o666), ("0660", 0o660), ("432", 0o660)])
def test_the_mode_of_a_socket(mode: str, bits: int) -> None:
    assert read(f"listeners: [{{path: /x, mode: {mode}}}]").listeners.listeners[0].mode == bits


def test_addresses_that_are_not_public_are_never_asked() -> None:
    blacklist = read("").federation.ip_range_blacklist
    for address in (
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "192.168.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "0.0.0.0",
    ):
        assert any(ipaddress.ip_address(address) in network for network in blacklist), address
    for address in ("1.1.1.1", "2606:4700:4700::1111"):
        assert not any(ipaddress.ip_address(address) in network for network in blacklist), address


def test_rate_limits_by_name() -> None:
    limits = read("rc_message: {per_second: 7}").rate_limits.by_name()
    assert limits["rc_message"].per_second == 7
    assert limits["rc_admin_redaction"] == limits["rc_message"]
    assert limits["rc_login.failed_attempts"].burst_count == 3
    assert limits["rc_joins.remote"].per_second == 0.01
    assert (
        read("rc_admin_redaction: {burst_count: 50}").rate_limits.by_name()["rc_admin_redaction"].burst_count
        == 50
    )


def test_where_redis_is(tmp_path: Path) -> None:
    assert not read("").redis.redis.enabled
    assert read("redis: {enabled: true}").redis.redis.address() == RedisAddress(host="localhost", port=6379)
    config = read("redis: {enabled: true, host: r.example.org, port: 1, dbid: 3, password: xyzzy}")
    assert config.notices == ()
    assert config.redis.redis.address() == RedisAddress(host="r.example.org", port=1, password="xyzzy")
    assert "xyzzy" not in repr(config)
    assert read("redis: {path: r.sock}").redis.redis.address().path == BASE / "r.sock"
    tls = "use_tls: true, certificate_file: c, private_key_file: k, ca_file: a, ca_path: /p"
    assert read(f"redis: {{{tls}}}").redis.redis.address().tls == RedisTls(
        certificate=BASE / "c",
        private_key=BASE / "k",
        authorities=BASE / "a",
        authorities_directory=Path("/p"),
    )
    secret = tmp_path / "secret"
    keys = read(f"redis: {{password_path: {secret}}}").redis.redis
    with pytest.raises(ConfigError, match=r"redis\.password_path: cannot read .*/secret"):
        keys.address()
    secret.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="holds no text"):
        keys.address()
    secret.write_text("open sesame\n", encoding="utf-8")
    assert keys.address().password == "open sesame"


def test_the_shared_secret_comes_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    registration = read(f"registration_shared_secret_path: {secret}").registration
    with pytest.raises(ConfigError, match=r"registration_shared_secret_path: cannot read .*/secret"):
        registration.shared_secret()
    secret.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no text"):
        registration.shared_secret()
    secret.write_text("xyzzy\n", encoding="utf-8")
    assert registration.shared_secret() == "xyzzy"
    assert read("").registration.shared_secret() is None


def test_files_are_merged_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "homeserver.yaml").write_text(
        "server_name: example.org\nmax_upload_size: 1M\n", encoding="utf-8"
    )
    (tmp_path / "conf.d" / "b.yaml").write_text("max_upload_size: 3M\n", encoding="utf-8")
    (tmp_path / "conf.d" / "a.yaml").write_text("max_upload_size: 2M\n", encoding="utf-8")
    (tmp_path / "conf.d" / "ignored.txt").write_text("max_upload_size: 4M\n", encoding="utf-8")
    config = load_config(tmp_path / "homeserver.yaml", tmp_path / "conf.d")
    assert config.media.max_upload_size == 3 * 1024 * 1024
    assert config.base == tmp_path
    assert [source.name for source in config.sources] == ["homeserver.yaml", "a.yaml", "b.yaml"]


UNUSABLE = [
    ("- a\n- b\n", "found no mapping"),
    ("server_name: [", "line 1, column"),
    ("server_name: a.org\nserver_name: b.org\n", "line 2: the key 'server_name' stands here a second time"),
    ("5: a\n", "line 1: a key must be a text"),
    ("[a, b]: c\n", "line 1: a key must be a text"),
    ("a: !!python/object:os.system x\n", "not valid YAML"),
    ("a: !!int x\n", "not valid YAML"),
    ("a: " + "[" * 5000, "not"),
    ("", "server_name: is missing"),
]


@pytest.mark.parametrize(("text", "words"), UNUSABLE, ids=range(len(UNUSABLE)))
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "homeserver.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot read it: No such file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"no \*\.yaml file there"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "binary.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        load_config(tmp_path / "large.yaml")


KEYS = sorted({declared.name for _, _, _, record in sections() for declared in keys_of(record)})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["8008", "1d", "50M", "psycopg2", "sqlite3", "http", "client", "example.org", "::1"])
)
NAMES = st.sampled_from(
    ["name", "args", "port", "path", "resources", "names", "enabled", "policy", "per_second"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=8), inner, max_size=4)
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_random_values_are_read_or_refused_by_name(values: dict[str, object]) -> None:
    refused = refusal_of(lambda: read_config({"server_name": "example.org"} | values, base=BASE))
    if refused:
        assert refused.key.split(".")[0].split("[")[0] in KEYS


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=200)
    | st.text(alphabet=" \n-:[]{}&*!?|>'\"%@`,#ab01<=", max_size=60)
    | st.binary(max_size=60)
)
def test_random_text_is_yaml_or_refused(text: str | bytes) -> None:
    refusal_of(lambda: parse_yaml(text))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_what_yaml_writes_is_what_is_read(values: dict[str, object]) -> None:
    text = yaml.safe_dump(values, allow_unicode=True)
    refused = refusal_of(lambda: parse_yaml(text))
    if refused is None:
        assert repr(parse_yaml(text)) == repr(yaml.safe_load(text))
    else:
        # Names that YAML does not read as text, such as the empty one.
        assert "a key must be a text" in str(refused)
