# SPDX-License-Identifier: Apache-2.0
"""The specification's schemas with their `$ref`s followed across files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

KEPT = frozenset(
    {
        *("type", "enum", "const", "format", "pattern", "x-pattern-format"),
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("items", "allOf", "anyOf", "oneOf", "not"),
        *("minItems", "maxItems", "minProperties", "maxProperties"),
        *("minLength", "maxLength", "minimum", "maximum"),
    }
)
DROPPED = frozenset(
    {
        *("title", "description", "example", "examples", "default", "deprecated"),
        *("x-addedInMatrixVersion", "x-changedInMatrixVersion", "x-weight", "$schema", "externalDocs"),
    }
)
MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties"})
LISTS_OF_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf"})
SCHEMAS = frozenset({"items", "additionalProperties", "propertyNames", "not"})

Place = tuple[Path, str]
"""A file and the JSON pointer in it."""


class Schemas:
    """Reads YAML files once, and resolves schemas.

    What a schema refers to is kept once, in `definitions`, and the reference leads there: shared schemas stay
    small and may contain themselves.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._documents: dict[Path, Any] = {}
        self._places: dict[str, Place] = {}

    def load(self, file: Path) -> Any:
        """Return the document of a YAML or JSON file."""
        file = file.resolve()
        if file not in self._documents:
            self._documents[file] = yaml.safe_load(file.read_text("utf-8"))
        return self._documents[file]

    def follow(self, node: Mapping[str, Any], file: Path) -> tuple[Mapping[str, Any], Path]:
        """Return `node`, or what its `$ref` leads to, with the file that this stands in."""
        while "$ref" in node:
            file, pointer = self._target(node["$ref"], file)
            node = self._at(file, pointer)
        return node, file

    def resolve(self, node: Any, file: Path) -> Any:
        """Return the schema `node` of `file` without references to files, titles, descriptions and examples.

        Raises `ValueError` for a keyword that is neither known to matter nor known not to.
        """
        if isinstance(node, bool):
            return node
        if "$ref" in node:
            resolved = self._define(self._target(node["$ref"], file))
            siblings = self.resolve({key: value for key, value in node.items() if key != "$ref"}, file)
            return {"allOf": [resolved, siblings]} if siblings else resolved
        unknown = node.keys() - KEPT - DROPPED
        if unknown:
            raise ValueError(f"{file}: unknown keywords in a schema: {sorted(unknown)}")
        return {key: self._keyword(key, node[key], file) for key in node if key in KEPT}

    def _keyword(self, key: str, value: Any, file: Path) -> Any:
        if key in MAPS_OF_SCHEMAS:
            return {name: self.resolve(schema, file) for name, schema in value.items()}
        if key in LISTS_OF_SCHEMAS:
            return [self.resolve(schema, file) for schema in value]
        if key in SCHEMAS:
            return self.resolve(value, file)
        if key == "required":
            return sorted(value)
        return value

    def _define(self, place: Place) -> Any:
        name = _name_of(place)
        if self._places.setdefault(name, place) != place:
            raise ValueError(f"{name} names both {place} and {self._places[name]}")
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self.resolve(self._at(*place), place[0])
        return {"$ref": f"#/definitions/{name}"}

    def _target(self, reference: str, file: Path) -> Place:
        name, _, pointer = reference.strip().partition("#")
        return ((file.parent / name).resolve() if name else file.resolve()), pointer

    def _at(self, file: Path, pointer: str) -> Any:
        node = self.load(file)
        for part in pointer.split("/")[1:]:
            node = node[part.replace("~1", "/").replace("~0", "~")]
        return node


def _name_of(place: Place) -> str:
    file, pointer = place
    inside = file.with_suffix("").parts
    start = max((index for index, part in enumerate(inside) if part == "data"), default=-1) + 1
    parts = [part for part in inside[start:] if part not in ("api", "definitions")]
    parts += [part for part in pointer.split("/")[1:] if part not in ("components", "schemas")]
    return ".".join(parts)
