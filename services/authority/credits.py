"""Books what nodes shared, as the seed's health exporter observed it; docs/credits.md says why that is believed.

An entry belongs to the node that had the mesh address which its peer was connected from; Nebula gives an address to
one node alone. Entries are booked once whatever ends in between, for the exporter repeats them until it reads that
they are, and an observer with its number is the key of the ledger.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from services.authority.store import Store
from services.authority.store_database import Database
from services.common.credits import ACCOUNT, LEDGER, Account, Entry, Ledger, NodeCredits, read_document
from services.common.files import replace_file

logger = logging.getLogger("authority")

KINDS = ("block_seconds", "tokens", "token_blocks")


class Bookkeeper:
    """Takes entries from a folder that it shares with the exporter, and writes there what it booked.

    Args:
        database: has the ledger.
        folder: where none is, nothing is counted.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._database, self._folder, self._clock = database, folder, clock
        self._told: tuple[str | None, int] | None = None

    def settle(self) -> None:
        """Book what is new, and tell.

        Raises:
            Unavailable: the database does not answer; nothing is booked then.
            Broken: a file cannot be read or written.
        """
        if not self._folder.is_dir():
            return
        account = read_document(self._folder / ACCOUNT, Account)
        entries = account.entries if account else []
        told = (account.observer if account else None, entries[-1].number if entries else 0)
        if self._told is not None and (told == self._told or not entries):
            return
        with self._database.write() as store:
            if account is not None:
                self._book(store, account)
            nodes = sums(store)
        ledger = Ledger(observer=told[0], booked=told[1], nodes=nodes)
        replace_file(self._folder / LEDGER, ledger.model_dump_json())
        self._told = told

    def _book(self, store: Store, account: Account) -> None:
        rows: list[dict[str, Any]] = []
        strangers = 0
        for entry in account.entries:
            if store.is_booked(account.observer, entry.number):
                continue
            found = list(self._rows(store, account.observer, entry))
            strangers += not found
            rows += found
        if rows:
            store.book(rows)
        if rows or strangers:
            logger.info("booked what nodes shared", extra={"rows": len(rows), "of_no_node": strangers})

    def _rows(self, store: Store, observer: str, entry: Entry) -> Iterator[dict[str, Any]]:
        node = store.holder(entry.address, entry.begins_at)
        if node is None:
            return
        for kind in KINDS:
            if amount := getattr(entry, kind):
                yield {
                    "observer": observer,
                    "number": entry.number,
                    "kind": kind,
                    "node_id": node.id,
                    "node_name": node.name,
                    "public_name": entry.public_name,
                    "peer_id": entry.peer_id,
                    "model": entry.model,
                    "begins_at": entry.begins_at,
                    "ends_at": entry.ends_at,
                    "amount": amount,
                    "booked_at": int(self._clock()),
                }


def sums(store: Store) -> list[NodeCredits]:
    """Return what each node shared in all its time, those that shared most first."""
    by_node: dict[str, list[Mapping[str, Any]]] = {}
    for row in store.credit_sums():
        by_node.setdefault(row["node_id"], []).append(row)
    nodes = [_node(node_id, rows) for node_id, rows in by_node.items()]
    return sorted(nodes, key=lambda one: (-one.block_seconds, -one.token_blocks, one.name, one.node_id))


def _node(node_id: str, rows: list[Mapping[str, Any]]) -> NodeCredits:
    last = max(rows, key=lambda row: (row["ends_at"], row["public_name"] or ""))
    amounts = dict.fromkeys(KINDS, 0)
    for row in rows:
        amounts[row["kind"]] += int(row["amount"])
    return NodeCredits(node_id=node_id, name=last["node_name"], public_name=last["public_name"], **amounts)
