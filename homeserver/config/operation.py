# SPDX-License-Identifier: Apache-2.0
"""What the server writes into its log, and how much memory it gives to caches."""

from __future__ import annotations

from pathlib import Path

import attrs

from homeserver.config.keys import RecordOf, key, optional
from homeserver.config.kinds import Number, PathName


@attrs.frozen(kw_only=True)
class CachesConfig:
    """Caches."""

    global_factor: float = key(
        Number(), """What the size of every cache is multiplied with, relative to the default.""", default=0.5
    )


@attrs.frozen(kw_only=True)
class OperationConfig:
    """Log and caches."""

    log_config: Path | None = optional(
        PathName(),
        """A YAML file for Python's logging.config.dictConfig. Without it, readable lines on standard
        error.""",
        example="log.yaml",
    )
    caches: CachesConfig = key(RecordOf(CachesConfig), """How much memory goes into caches.""", default={})
