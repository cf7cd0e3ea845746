# SPDX-License-Identifier: Apache-2.0
"""Whose certificates are checked, and the authorities that are trusted."""

from __future__ import annotations

import pytest

from federation.transport.tls import CertificateAuthoritiesError, PeerTls, TlsRules
from tests.support.certificates import write_certificate


@pytest.mark.parametrize(
    ("name", "checked"),
    [
        ("a.onion", False),
        ("A.B.ONION", False),
        ("a.onion.test", True),
        ("s1.test", False),
        ("s12.test", True),
        ("s1xtest", True),
        ("10.0.0.1", False),
    ],
)
def test_the_whitelist_is_of_globs(name, checked) -> None:
    tls = PeerTls(TlsRules(unverified=("*.onion", "s?.test", "10.*")))
    assert tls.verifies(name) is checked


def test_authorities_that_cannot_be_used(tmp_path) -> None:
    empty, missing = tmp_path / "empty.pem", tmp_path / "missing.pem"
    empty.write_text("nothing\n")
    for path in (empty, missing):
        with pytest.raises(CertificateAuthoritiesError, match=path.name):
            PeerTls(TlsRules(authorities=[path]))


def test_a_file_may_hold_several_authorities(tmp_path) -> None:
    for name in ("a", "b"):
        write_certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key", f"{name}.test")
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "a.pem").read_bytes() + (tmp_path / "b.pem").read_bytes())
    assert PeerTls(TlsRules(authorities=[both])).verifies("a.test")
