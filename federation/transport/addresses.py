# SPDX-License-Identifier: Apache-2.0
"""Which addresses are connected to: `ip_range_blacklist` and `ip_range_whitelist`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import attrs

_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_IPV4_BITS = 2**32 - 1


@attrs.frozen
class AddressRules:
    """Addresses in `denied` are never connected to, unless `allowed` holds them."""

    denied: Sequence[IPv4Network | IPv6Network] = ()
    allowed: Sequence[IPv4Network | IPv6Network] = ()

    def permit(self, address: str) -> bool:
        """Whether `address`, an IP literal without brackets, may be connected to.

        An IPv6 address that stands for an IPv4 one must be permitted as both. What is no address is not.
        """
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            return False
        return all(self._permits(each) for each in _meanings(parsed))

    def _permits(self, address: IPv4Address | IPv6Address) -> bool:
        if not any(address in network for network in self.denied):
            return True
        return any(address in network for network in self.allowed)


def _meanings(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """`address`, and the IPv4 address that it leads to by mapping or translation."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        # The kernel makes an IPv4 connection of it, so only that counts.
        yield address.ipv4_mapped
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        elif address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
            yield IPv4Address(int(address) & _IPV4_BITS)
