# SPDX-License-Identifier: Apache-2.0
"""Which addresses are connected to."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from federation.transport.addresses import AddressRules

RULES = AddressRules(
    denied=tuple(map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "::1/128", "fe80::/10"))),
    allowed=(ip_network("10.1.0.0/16"),),
)


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("1.2.3.4", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("10.1.0.1", True),
        ("::1", False),
        ("2a00::1", True),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.1.0.1", True),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::102:304", True),
        ("2002:7f00:1::", False),
        ("2002:102:304::", True),
        ("fe80::1", False),
        ("2a00::1%eth0", False),
        ("localhost", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_addresses(address, permitted) -> None:
    assert RULES.permit(address) is permitted
