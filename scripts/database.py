#!/usr/bin/env python3
"""Looks at a database through MongoDB itself, so that the quick start need not take Regrow's word.

  database.py show NAME    prints what each collection holds, and a fingerprint of all of it
  database.py drop NAME    drops the database

The server is the one that `$MONGODB_URI` names. The fingerprint is a SHA-256 over the server's own hash of
the documents (its command `dbHash`), the options and the indexes of every collection. It is the last line.
"""

from __future__ import annotations

import hashlib
import os
import sys

import prerequisites

sys.path.insert(0, str(prerequisites.python_packages()))

from bson import encode  # noqa: E402 (found in the folder above)
from pymongo import MongoClient  # noqa: E402
from pymongo.errors import PyMongoError  # noqa: E402


def show(database) -> None:
    hashes = database.command("dbHash")["collections"]
    everything = hashlib.sha256()
    names = []
    for entry in sorted(database.list_collections(), key=lambda entry: entry["name"]):
        entry["info"].pop("uuid", None)  # A new collection has a new one, whatever it holds.
        name = entry["name"]
        indexes = [] if entry["type"] == "view" else list(database[name].list_indexes())
        everything.update(encode({"entry": entry, "indexes": indexes, "documents": hashes.get(name)}))
        if not name.startswith("system."):
            names.append((name, entry["type"], database[name].count_documents({}), len(indexes)))
    print(f"{'COLLECTION':<16}  {'KIND':<10}  {'DOCUMENTS':>9}  {'INDEXES':>7}")
    for name, kind, documents, indexes in names:
        print(f"{name:<16}  {kind:<10}  {documents:>9}  {indexes:>7}")
    print(f"fingerprint {everything.hexdigest()}")


def drop(database) -> None:
    database.client.drop_database(database.name)
    left = [name for name in database.client.list_database_names() if name not in ("admin", "config", "local")]
    print(f"{database.name} is gone; databases left: {', '.join(left) or 'none'}")


def main() -> None:
    commands = {"show": show, "drop": drop}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        raise SystemExit("usage: database.py show|drop NAME")
    uri = os.environ.get("MONGODB_URI")
    if not uri:
        raise SystemExit("database: MONGODB_URI is not set")
    try:
        with MongoClient(uri, serverSelectionTimeoutMS=15_000) as client:
            commands[sys.argv[1]](client[sys.argv[2]])
    except PyMongoError as error:
        raise SystemExit(f"database: {error}") from error


if __name__ == "__main__":
    try:
        main()
    except prerequisites.Failed as failed:
        raise SystemExit(f"database: {failed}") from failed
