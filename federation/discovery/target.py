# SPDX-License-Identifier: Apache-2.0
"""Where a server may be found."""

from __future__ import annotations

import attrs


@attrs.frozen
class Target:
    """One place to connect to.

    `host` is a name or an IP literal without brackets; `host_header` the bytes of the Host header; `tls_name`
    what the certificate must be valid for (a name or an IP literal without brackets), and what SNI says where
    it is no IP.
    """

    host: str
    port: int
    host_header: bytes
    tls_name: str
