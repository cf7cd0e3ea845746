# SPDX-License-Identifier: Apache-2.0
"""Requests between servers: the header that proves who asks.

spec: server-server-api, "Request Authentication".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from federation.rules.errors import InvalidSignature
from federation.rules.signing import SigningKey, sign_json, verify_json

_PARAMETER = re.compile(r'([a-z_]+)="?([^",]*)"?')


def authorization(origin: str, destination: str, method: str, uri: str, content: Any, key: SigningKey) -> str:
    """The header `Authorization` of a request; `content` None: it has no body."""
    signed = sign_json(_signed(origin, destination, method, uri, content), origin, key)
    signature = signed["signatures"][origin][key.key_id]
    return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


def origin_of(
    header: str,
    destination: str,
    method: str,
    uri: str,
    content: Any,
    keys: Mapping[str, Mapping[str, bytes]],
) -> str:
    """Who made a request, by one of the `keys` of that server. Raises `InvalidSignature`."""
    scheme, _, rest = header.partition(" ")
    parameters = dict(_PARAMETER.findall(rest))
    origin = parameters.get("origin", "")
    if scheme != "X-Matrix" or parameters.get("destination") != destination:
        raise InvalidSignature(origin, "the request is not signed for this server")
    signed = _signed(origin, destination, method, uri, content)
    signed["signatures"] = {origin: {parameters.get("key", ""): parameters.get("sig", "")}}
    verify_json(signed, origin, keys.get(origin, {}))
    return origin


def _signed(origin: str, destination: str, method: str, uri: str, content: Any) -> dict[str, Any]:
    signed = {"origin": origin, "destination": destination, "method": method, "uri": uri}
    return signed if content is None else {**signed, "content": content}
