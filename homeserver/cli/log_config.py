# SPDX-License-Identifier: Apache-2.0
"""A `log_config` file: the dictionary for Python's `logging.config.dictConfig`, in YAML.

COMPAT: files that Synapse wrote name handlers and filters of its own. A handler of its own that passes
lines on to another stands for that other one; a filter of its own adds what every record here has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from homeserver.config.place import ConfigError

FOREIGN = "synapse."


def read_log_config(path: Path) -> dict[str, Any]:
    """The dictionary in the file `path`, without what only Synapse can provide.

    Raises:
        ConfigError: the file cannot be read, or holds no such dictionary.
    """
    try:
        settings = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError("log_config", f"cannot read {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError("log_config", f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict) or settings.get("version") != 1:
        raise ConfigError("log_config", f"{path} is no logging configuration, expected version: 1 in it")
    # Loggers exist before the file is read; Python would silence them.
    settings.setdefault("disable_existing_loggers", False)
    return _without_foreign_parts(settings)


def _without_foreign_parts(settings: dict[str, Any]) -> dict[str, Any]:
    filters, handlers = _mapping(settings.get("filters")), _mapping(settings.get("handlers"))
    gone = {name for name, part in filters.items() if _is_foreign(part)}
    targets = {
        name: part["target"]
        for name, part in handlers.items()
        if _is_foreign(part) and isinstance(part.get("target"), str)
    }
    result = dict(settings)
    for name in ("filters", "handlers", "loggers"):
        parts = _mapping(settings.get(name))
        result[name] = {
            key: _redirected(part, gone, targets)
            for key, part in parts.items()
            if not (name == "filters" and key in gone) and not (name == "handlers" and key in targets)
        }
    if "root" in settings:
        result["root"] = _redirected(settings["root"], gone, targets)
    return result


def _mapping(part: object) -> dict[Any, Any]:
    return part if isinstance(part, dict) else {}


def _is_foreign(part: object) -> bool:
    names = (_mapping(part).get("class"), _mapping(part).get("()"))
    return any(isinstance(name, str) and name.startswith(FOREIGN) for name in names)


def _redirected(part: Any, gone: set[Any], targets: Mapping[Any, str]) -> Any:
    """A handler or a logger whose filters and handlers are all there."""
    if not isinstance(part, dict):
        return part
    changed = dict(part)
    if isinstance(part.get("filters"), list):
        changed["filters"] = [
            name for name in part["filters"] if not (isinstance(name, str) and name in gone)
        ]
    if isinstance(part.get("handlers"), list):
        changed["handlers"] = [
            targets.get(name, name) if isinstance(name, str) else name for name in part["handlers"]
        ]
    return changed
