# SPDX-License-Identifier: Apache-2.0
"""`docs/specification.md`: how much of the specification is there, as a page.

    python -m tests.contract.specification_page

writes it anew from the extract and from `not_yet.py`. What is not listed there is routed: a test sees to
that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from homeserver.client_api.versions import SPECIFICATION_VERSIONS
from tests.contract.areas import AREAS, area_of
from tests.contract.not_yet import NOT_YET
from tests.contract.operations import Extract, Operation, specification

PAGE = Path(__file__).parents[2] / "docs" / "specification.md"

HEAD = """\
# The specification

How much of the Matrix specification is served: the operations of its OpenAPI data that the server routes.
This page is written by `python -m tests.contract.specification_page`; a test keeps it in step with the
server.

`tests/contract/` holds the server to the same data: every routed operation is asked for a success, whose
answer must fit the schema, and gets bad requests of every kind, which must be refused with an error code.
"""


def page(extract: Extract, not_yet: Mapping[str, Sequence[str]], versions: Sequence[str]) -> str:
    """Return the page as Markdown."""
    missing = {name for names in not_yet.values() for name in names}
    return "\n".join(
        [
            HEAD,
            *_areas(extract, missing),
            "",
            *_versions(extract, missing, versions),
            "",
            *_missing(not_yet),
            "",
        ]
    )


def _areas(extract: Extract, missing: Collection[str]) -> list[str]:
    rows = ["## By area", "", "| area | routed | not yet |", "| --- | ---: | ---: |"]
    for area in AREAS:
        names = [name for name, operation in extract.operations.items() if area_of(operation) == area]
        rows.append(f"| {area} | {len(set(names) - set(missing))} | {len(set(names) & set(missing))} |")
    total = len(extract.operations)
    return [*rows, f"| **all {total}** | **{total - len(missing)}** | **{len(missing)}** |"]


def _versions(extract: Extract, missing: Collection[str], versions: Sequence[str]) -> list[str]:
    rows = [
        "## By version",
        "",
        f"`GET /_matrix/client/versions` names {versions[0]} to {versions[-1]}. Of their",
        "client-server operations are missing, by the version that brought them (deprecated ones aside):",
        "",
        "| version | routed | missing |",
        "| --- | ---: | --- |",
    ]
    of_clients = [
        operation
        for operation in extract.operations.values()
        if operation.api == "client-server" and not operation.deprecated
    ]
    for version in versions:
        brought = [operation for operation in of_clients if version_of(operation) == version]
        lacking = [f"`{operation.name}`" for operation in brought if operation.name in missing]
        if brought:
            listed = ", ".join(lacking) if len(lacking) <= 8 else f"{len(lacking)}, see below"
            rows.append(f"| {version} | {len(brought) - len(lacking)} | {listed or 'nothing'} |")
    return rows


def version_of(operation: Operation) -> str:
    """Return the version that brought an operation; those older than version numbers count as v1.1."""
    return f"v{operation.added or '1.1'}"


def _missing(not_yet: Mapping[str, Sequence[str]]) -> list[str]:
    rows = ["## Not yet"]
    for area, names in not_yet.items():
        rows += ["", f"### {area}", "", *(f"- `{name}`" for name in names)]
    return rows


if __name__ == "__main__":
    PAGE.write_text(page(specification(), NOT_YET, SPECIFICATION_VERSIONS), "utf-8")
