# SPDX-License-Identifier: Apache-2.0
"""Bad requests that the server does not refuse, each for a reason."""

from __future__ import annotations

from collections.abc import Mapping

LENIENT: Mapping[str, frozenset[str]] = {
    # A parameter that is not read yet is not checked either.
    "GET /_matrix/client/v3/sync": frozenset({"use_state_after is a word", "use_state_after is a number"}),
}
"""The faults of cases by operation; they must still do no harm."""
