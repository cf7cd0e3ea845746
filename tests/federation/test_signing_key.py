# SPDX-License-Identifier: Apache-2.0
"""The file with the signing key: Synapse's form, made once, for its owner alone."""

from __future__ import annotations

import io
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import signedjson.key
import signedjson.sign

from federation.rules.signing import sign_json
from federation.signing_key import (
    SigningKeyError,
    create_signing_key,
    load_signing_keys,
    read_signing_keys,
    readable_by_others,
)


def test_a_missing_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "example.org.signing.key"
    (made,) = load_signing_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not readable_by_others(path)
    (again,) = load_signing_keys(path)
    assert (again.key_id, again.secret) == (made.key_id, made.secret)
    assert [file.name for file in tmp_path.iterdir()] == ["example.org.signing.key"]


def test_other_software_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    key = create_signing_key(path)
    (read,) = signedjson.key.read_signing_keys(path.read_text(encoding="ascii").splitlines(keepends=True))
    assert f"{read.alg}:{read.version}" == key.key_id
    signed = sign_json({"a": 1}, "example.org", key)
    signedjson.sign.verify_signed_json(signed, "example.org", signedjson.key.get_verify_key(read))


def test_what_other_software_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    theirs = [signedjson.key.generate_signing_key("a_abcd"), signedjson.key.generate_signing_key("old")]
    stream = io.StringIO()
    signedjson.key.write_signing_keys(stream, theirs)
    path.write_text(stream.getvalue(), encoding="ascii")
    first, second = read_signing_keys(path)
    assert (first.key_id, second.key_id) == ("ed25519:a_abcd", "ed25519:old")
    assert first.verify_key == bytes(theirs[0].verify_key)


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    create_signing_key(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        create_signing_key(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_processes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_signing_keys(tmp_path / "signing.key"), range(16)))
    assert len({key.secret for (key,) in keys}) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no signing key"),
        (b"\n\n", "holds no signing key"),
        (b"ed25519 a_abcd", "a line of a signing-key file reads"),
        (b"rsa a_abcd AAAA", "a line of a signing-key file reads"),
        (b"ed25519 a_abcd AAAA", "32 bytes"),
        (b"ed25519 a_abcd !!!!", "no base64"),
        (b"ed25519 a-b AAAA", "version"),
        (b"\xff\xfe", "not ASCII"),
    ],
)
def test_a_file_that_is_no_key_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(content)
    with pytest.raises(SigningKeyError) as caught:
        load_signing_keys(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match=r"cannot write the signing key .*No such file or directory"):
        load_signing_keys(tmp_path / "absent" / "signing.key")
    with pytest.raises(SigningKeyError, match=r"cannot read the signing key .*directory"):
        load_signing_keys(tmp_path)
