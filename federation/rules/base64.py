# SPDX-License-Identifier: Apache-2.0
"""Unpadded base64. spec: appendices, "Unpadded Base64"."""

from __future__ import annotations

import binascii

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = str.maketrans("-_", "+/")


def encode_base64(data: bytes) -> str:
    """`data` in the standard alphabet without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_base64_url(data: bytes) -> str:
    """`data` in the URL-safe alphabet without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL_SAFE).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The bytes of `text`, in either alphabet, with or without padding. Raises `ValueError`."""
    data = text.rstrip("=").translate(_TO_STANDARD)
    return binascii.a2b_base64(data + "=" * (-len(data) % 4), strict_mode=True)
