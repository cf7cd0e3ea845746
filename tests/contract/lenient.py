# SPDX-License-Identifier: Apache-2.0
"""Bad requests that the server does not refuse, each for a reason."""

from __future__ import annotations

from collections.abc import Mapping

LENIENT: Mapping[str, frozenset[str]] = {}
"""The faults of cases by operation; they must still do no harm."""
