# SPDX-License-Identifier: Apache-2.0
"""Where log lines go: readable lines on standard error, or what a `log_config` file says."""

from __future__ import annotations

import logging
import logging.config
import sys
from pathlib import Path
from typing import Any

from twisted.logger import STDLibLogObserver, globalLogBeginner

from federation.http.access_log import request_id
from homeserver.cli.log_config import read_log_config
from homeserver.config.place import ConfigError

FORMAT = "%(asctime)s %(levelname)-7s %(name)s [%(request)s] %(message)s"
FORMAT_OF_SEVERAL = "%(asctime)s %(levelname)-7s [p{process}] %(name)s [%(request)s] %(message)s"
"""For several processes that log to one place: each line names the process, 0 being their parent."""


class _Record(logging.LogRecord):
    """A log record that names the request it belongs to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request_id.get()


def install_logging(log_config: Path | None, *, process: int | None = None) -> None:
    """Send the log where the file `log_config` says, or as readable lines to standard error.

    `process` is the number of this process where there are several.

    Raises:
        ConfigError: the file cannot be read or used.
    """
    logging.setLogRecordFactory(_Record)
    logging.captureWarnings(True)
    if log_config is None:
        form = FORMAT if process is None else FORMAT_OF_SEVERAL.format(process=process)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(form))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        # Twisted tells at INFO of each port and thread that starts and stops.
        logging.getLogger("twisted").setLevel(logging.WARNING)
    else:
        _use(read_log_config(log_config), log_config)
    observer: Any = STDLibLogObserver()  # declares its interface in a way that mypy does not see
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _use(settings: dict[str, Any], path: Path) -> None:
    try:
        logging.config.dictConfig(settings)
    except (ValueError, TypeError, AttributeError, ImportError, OSError, KeyError) as error:
        reasons = [" ".join(str(reason).split()) for reason in (error, error.__cause__) if reason is not None]
        raise ConfigError("log_config", f"{path} cannot be used: {': '.join(reasons)}") from None
