# SPDX-License-Identifier: Apache-2.0
"""Accounts of the users of this server. A user who has none may still be known as a sender of events."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import INTEGER, TEXT, Batch, Row
from storage.writing import Indexed, Writing, each, last_of_each

_COLUMNS = (
    "account, password_hash, created_ts, user_type,"
    " is_admin, is_guest, is_locked, is_suspended, is_deactivated"
)
_INSERT = Batch(
    f"INSERT INTO accounts ({_COLUMNS}) SELECT {_COLUMNS} FROM v",
    columns={
        "account": INTEGER,
        "password_hash": TEXT,
        "created_ts": INTEGER,
        "user_type": TEXT,
        "is_admin": INTEGER,
        "is_guest": INTEGER,
        "is_locked": INTEGER,
        "is_suspended": INTEGER,
        "is_deactivated": INTEGER,
    },
)
_REHASH = Batch(
    "UPDATE accounts SET password_hash = v.password_hash FROM v"
    " WHERE accounts.account = v.account AND accounts.password_hash = v.replaces",
    columns={"account": INTEGER, "password_hash": TEXT, "replaces": TEXT},
)
_CHANGE_PASSWORD = Batch(
    "UPDATE accounts SET password_hash = v.password_hash FROM v WHERE accounts.account = v.account",
    columns={"account": INTEGER, "password_hash": TEXT},
)
_CHANGE = Batch(
    "UPDATE accounts SET is_admin = coalesce(v.is_admin, accounts.is_admin),"
    " is_locked = coalesce(v.is_locked, accounts.is_locked),"
    " is_suspended = coalesce(v.is_suspended, accounts.is_suspended),"
    " is_deactivated = coalesce(v.is_deactivated, accounts.is_deactivated)"
    " FROM v WHERE accounts.account = v.account",
    columns={
        "account": INTEGER,
        "is_admin": INTEGER,
        "is_locked": INTEGER,
        "is_suspended": INTEGER,
        "is_deactivated": INTEGER,
    },
)
_GET = f"SELECT {_COLUMNS} FROM accounts WHERE account = ?"


@attrs.frozen
class Account:
    """An account; `account` is the number of the user id, `created_ts` in milliseconds.

    As a record it makes the account. A second one for the same user is a `DataError`.
    """

    account: int
    created_ts: int
    password_hash: str | None = attrs.field(default=None, repr=False)
    user_type: str | None = None
    is_admin: bool = False
    is_guest: bool = False
    is_locked: bool = False
    is_suspended: bool = False
    is_deactivated: bool = False


@attrs.frozen
class ChangedAccount:
    """What changes of an account; None leaves it as it is."""

    account: int
    is_admin: bool | None = None
    is_locked: bool | None = None
    is_suspended: bool | None = None
    is_deactivated: bool | None = None


@attrs.frozen
class ChangedPassword:
    """A new password, or None for none."""

    account: int
    password_hash: str | None = attrs.field(repr=False)


@attrs.frozen
class RehashedPassword:
    """Another hash of the same password; a password that was changed meanwhile stays."""

    account: int
    password_hash: str = attrs.field(repr=False)
    replaces: str = attrs.field(repr=False)


def _account_row(record: Account) -> Row:
    return (
        record.account,
        record.password_hash,
        record.created_ts,
        record.user_type,
        int(record.is_admin),
        int(record.is_guest),
        int(record.is_locked),
        int(record.is_suspended),
        int(record.is_deactivated),
    )


def _change_rows(records: Sequence[Indexed[ChangedAccount]]) -> list[Row]:
    """One row for each account, whose later changes go before earlier ones."""
    merged: dict[int, ChangedAccount] = {}
    for _, record in records:
        before = merged.get(record.account, record)
        given = attrs.asdict(record, filter=lambda _field, value: value is not None)
        merged[record.account] = attrs.evolve(before, **given)
    return [
        tuple(None if value is None else int(value) for value in attrs.astuple(record))
        for record in merged.values()
    ]


# A rehash of the old password comes before a new password, whichever was asked for first.
WRITINGS = (
    Writing(Account, _INSERT, each(_account_row)),
    Writing(
        RehashedPassword,
        _REHASH,
        last_of_each(lambda r: r.account, lambda _i, r: (r.account, r.password_hash, r.replaces)),
    ),
    Writing(
        ChangedPassword,
        _CHANGE_PASSWORD,
        last_of_each(lambda r: r.account, lambda _i, r: (r.account, r.password_hash)),
    ),
    Writing(ChangedAccount, _CHANGE, _change_rows),
)


class Accounts:
    """Reads accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: int) -> Account | None:
        """The account of the user with this number, or None."""
        return await self._database.read("account", lambda txn: self.get_txn(txn, account))

    def get_txn(self, txn: Transaction, account: int) -> Account | None:
        """As `get`, inside a transaction of the caller's."""
        row = txn.row(_GET, (account,))
        if row is None:
            return None
        number, password_hash, created_ts, user_type, *switches = row
        is_admin, is_guest, is_locked, is_suspended, is_deactivated = map(bool, switches)
        return Account(
            account=number,
            created_ts=created_ts,
            password_hash=password_hash,
            user_type=user_type,
            is_admin=is_admin,
            is_guest=is_guest,
            is_locked=is_locked,
            is_suspended=is_suspended,
            is_deactivated=is_deactivated,
        )
