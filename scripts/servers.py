#!/usr/bin/env python3
"""Real servers for everyone: MongoDB and S3 on free local ports, for tests, measurements and a first try.

  servers.py fetch                        fetches what is not there yet
  servers.py where TOOL                   prints where a tool is: mongod, promtool, kubectl, hadolint, axe
  servers.py serve [OPTIONS]              prints one JSON line, serves until stdin ends
  servers.py run [OPTIONS] -- COMMAND…    runs a command with the servers in its environment

While it serves, each line on stdin is an order, answered by one JSON line with the process id or an
error: `kill N`, `stop N`, `start N`, `pause N`, `resume N`, where N is a node's number or `s3`. When it
ends, the servers end with it and nothing of them is left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import prerequisites
from prerequisites import Failed

REGION = "us-east-1"


class Installation:
    """The servers that were asked for, in a folder of their own; a context that starts and removes them."""

    def __init__(self, options: argparse.Namespace):
        self.folder = Path(tempfile.mkdtemp(prefix="regrow-servers-"))
        self.options = options
        self.mongods = None
        self.s3 = None

    def __enter__(self) -> Installation:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.remove()

    def start(self) -> None:
        from processes import S3, LockingS3, Mongods  # Needs what `prerequisites` fetches.

        if self.options.s3 or self.options.object_lock:
            self.s3 = (LockingS3 if self.options.object_lock else S3)(self.folder)
            self.s3.server.spawn()
        if self.options.mongod:
            self.mongods = Mongods(self.options, self.folder)
            self.mongods.start()
        if self.s3:
            self.s3.server.wait_until_ready()
        if self.options.object_lock:
            self.s3.make_bucket()

    def remove(self) -> None:
        """Kills the servers rather than stop them: their files go as well."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for server in self.servers().values():
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def servers(self) -> dict:
        nodes = self.mongods.nodes if self.mongods else []
        servers = {str(number): node for number, node in enumerate(nodes)}
        return {**servers, "s3": self.s3.server} if self.s3 else servers

    def describe(self) -> dict:
        mongods = {"uri": None, "hosts": [], "user": None, "password": None, "replica_set": None}
        if self.mongods:
            mongods = self.mongods.describe()
        return {**mongods, "s3": self.s3.describe() if self.s3 else None}

    def environment(self) -> dict:
        """Returns the variables by which a command finds the servers."""
        variables = {}
        if self.mongods:
            variables["MONGODB_URI"] = self.mongods.uri
        if self.s3:
            s3 = self.s3.describe()
            variables["REGROW_S3_ENDPOINT"] = s3["endpoint"]
            variables["REGROW_S3_BUCKET"] = s3["bucket"]
            variables["AWS_ACCESS_KEY_ID"] = s3["access_key"]
            variables["AWS_SECRET_ACCESS_KEY"] = s3["secret_key"]
            variables["AWS_REGION"] = REGION
        return variables

    def obey(self, order: str) -> dict:
        verb, _, name = order.strip().partition(" ")
        server = self.servers().get(name)
        if server is None or verb not in ("kill", "stop", "start", "pause", "resume"):
            return {"error": f"unknown order '{order.strip()}'"}
        try:
            if verb == "stop" and name != "s3":
                self.mongods.stop(server)
            else:
                getattr(server, verb)()
        except Failed as error:
            return {"error": str(error)}
        return {"pid": server.process.pid}


def serve(options: argparse.Namespace) -> int:
    with Installation(options) as installation:
        answer(installation.describe())
        for order in sys.stdin:
            answer(installation.obey(order))
    return 0


def run(options: argparse.Namespace) -> int:
    if not options.command:
        raise SystemExit("servers: run what? servers.py run [OPTIONS] -- COMMAND…")
    with Installation(options) as installation:
        # Ctrl-C reaches the command by itself; the servers stay for as long as it needs to end.
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            command = subprocess.Popen(options.command, env={**os.environ, **installation.environment()})
        except OSError as error:
            raise SystemExit(f"servers: cannot run {options.command[0]}: {error.strerror}") from error
        try:
            status = command.wait()
        finally:
            command.terminate()
    return status if status >= 0 else 128 - status


def fetch(_: argparse.Namespace) -> int:
    prerequisites.fetch()
    return 0


def where(options: argparse.Namespace) -> int:
    print(getattr(prerequisites, options.tool)())
    return 0


def answer(value: dict) -> None:
    print(json.dumps(value), flush=True)


def end_by_signal(number: int, _frame) -> None:
    raise SystemExit(128 + number)


def arguments() -> argparse.Namespace:
    servers = argparse.ArgumentParser(add_help=False)
    servers.add_argument(
        "--nodes", type=int, default=1, choices=range(1, 8), metavar="N", help="nodes of the replica set (default: 1)"
    )
    servers.add_argument("--standalone", action="store_true", help="one mongod that is no replica set")
    servers.add_argument("--auth", action="store_true", help="access control, with a user that may do everything")
    servers.add_argument("--tls", type=Path, metavar="DIR", help="requires TLS, with DIR/server.pem and DIR/ca.pem")
    servers.add_argument("--no-mongod", dest="mongod", action="store_false", help="no MongoDB")
    servers.add_argument("--s3", action="store_true", help="an S3 server with a bucket")
    servers.add_argument("--object-lock", action="store_true", help="an S3 server whose bucket has Object Lock, instead")
    servers.add_argument("--set-parameter", action="append", default=[], metavar="NAME=VALUE", help="given to mongod")
    servers.add_argument("--cache-gb", type=float, default=0.5, help="mongod's cache (default: 0.5; at least 0.25)")
    servers.add_argument("--oplog-mb", type=int, default=256, help="size of the oplog (default: 256)")
    servers.add_argument(
        "--checkpoint-seconds", type=int, default=60, help="how often mongod writes a checkpoint (default: 60)"
    )

    program = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = program.add_subparsers(required=True, metavar="fetch|where|serve|run")
    commands.add_parser("fetch").set_defaults(do=fetch)
    finder = commands.add_parser("where")
    finder.add_argument("tool", choices=["mongod", "promtool", "kubectl", "hadolint", "axe"])
    finder.set_defaults(do=where)
    commands.add_parser("serve", parents=[servers]).set_defaults(do=serve)
    runner = commands.add_parser("run", parents=[servers])
    runner.add_argument("command", nargs="*", metavar="COMMAND")
    runner.set_defaults(do=run)
    return program.parse_args()


def main() -> int:
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end_by_signal)
    try:
        return options.do(options)
    except Failed as error:
        raise SystemExit(f"servers: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
