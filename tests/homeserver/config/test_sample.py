# SPDX-License-Identifier: Apache-2.0
"""`sample_config.yaml` is what the records say, and what it shows can be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeserver.config.config import read_config, sections
from homeserver.config.keys import Key, RecordOf, keys_of
from homeserver.config.known import IGNORED, NOT_YET, NOT_YET_ENFORCED, REFUSED
from homeserver.config.load import load_config, parse_yaml
from homeserver.config.place import Place
from homeserver.config.sample import first_values, render

ROOT = Path(__file__).parents[3]


def every_key() -> Iterator[tuple[str, Key]]:
    def below(prefix: str, record: type) -> Iterator[tuple[str, Key]]:
        for declared in keys_of(record):
            yield prefix + declared.name, declared
            if isinstance(declared.kind, RecordOf):
                yield from below(f"{prefix}{declared.name}.", declared.kind.record)

    for _, _, _, record in sections():
        yield from below("", record)


KEYS = dict(every_key())

ALTERNATIVES = ("registration_shared_secret_path", "password_path")
"""Keys that may not stand beside those whose place they take."""


def test_the_committed_sample_is_what_the_records_say() -> None:
    generated = render(first_values("example.org"))
    assert (ROOT / "sample_config.yaml").read_text(encoding="utf-8") == generated, (
        "run python -m homeserver.config.sample > sample_config.yaml"
    )


def test_the_sample_is_a_configuration_without_remarks() -> None:
    config = load_config(ROOT / "sample_config.yaml")
    assert config.server_name == "example.org"
    assert config.notices == ()
    assert not config.registration.enable_registration


def test_every_line_of_the_sample_can_be_uncommented() -> None:
    lines = render(first_values("example.org"), live=True).splitlines()
    mapping = parse_yaml("\n".join(line for line in lines if not line.strip().startswith(ALTERNATIVES)))
    assert isinstance(mapping, dict)
    assert set(mapping) == {name for name in KEYS if "." not in name} - {"registration_shared_secret_path"}
    assert read_config(mapping, base=ROOT).notices == ()


@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_documented_and_its_default_and_example_can_be_used(path: str) -> None:
    declared = KEYS[path]
    assert len(declared.doc) > 5
    assert declared.doc.endswith(".")
    assert declared.doc.replace("\n", " ").split()[0] in " ".join(
        render(first_values("example.org")).replace("#", " ").split()
    )
    for value in (declared.default, declared.example):
        if value is not None:
            declared.kind.read(value, Place.top(ROOT))
    assert declared.default is not None or declared.example is not None


def test_no_key_is_declared_twice() -> None:
    names = [declared.name for _, _, _, record in sections() for declared in keys_of(record)]
    assert sorted(names) == sorted(set(names))


def test_a_key_is_read_or_known_but_not_both() -> None:
    tables = [KEYS.keys(), IGNORED, NOT_YET, NOT_YET_ENFORCED, REFUSED.keys()]
    for number, table in enumerate(tables):
        for other in tables[number + 1 :]:
            assert not set(table) & set(other)


def test_the_documentation_names_every_key_that_is_known_and_not_read() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    missing = [name for name in (*IGNORED, *NOT_YET, *NOT_YET_ENFORCED, *REFUSED) if f"`{name}`" not in text]
    assert missing == []
