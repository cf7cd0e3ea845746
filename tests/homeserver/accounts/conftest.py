# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.engine.database import Database
from tests.support.accounts import AccountParts, account_parts


@pytest.fixture
def parts(database: Database) -> Iterator[AccountParts]:
    """The parts of a server of accounts, over a fresh database of each engine."""
    with account_parts(database) as made:
        yield made
