"""Starts, stops and watches the real servers: MongoDB (single node, replica set, standalone) and S3.

Invariants: every server listens on 127.0.0.1 only, keeps all its files below one folder, and is killed
by the kernel when this program ends, however it ends.
"""

from __future__ import annotations

import base64
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import prerequisites
from prerequisites import Failed

sys.path.insert(0, str(prerequisites.python_packages()))

from pymongo import MongoClient  # noqa: E402 (found in the folder above)
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError  # noqa: E402

REPLICA_SET = "rs0"
USER = "root"
PASSWORD = "root-password"
BUCKET = "regrow"
ACCESS_KEY = "regrow-access-key"
SECRET_KEY = "regrow-secret-key"

# Below the ports that the kernel gives to outgoing connections: a server that was stopped finds its port
# still free when it is started again.
PORTS = range(20000, 32000)
PORT_ATTEMPTS = 20
# A server is up in a second; a loaded machine may need far longer, a broken one says so at once.
START_SECONDS = 60
STOP_SECONDS = 30
POLL_SECONDS = 0.02
# Quicker than the defaults (2 s and 10 s), so that a set forms and survives a lost primary quickly, yet
# slow enough that a busy machine doesn't lose its primary.
REPLICATION_SETTINGS = {"heartbeatIntervalMillis": 500, "electionTimeoutMillis": 5000}
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # Loaded here: between fork and exec a process must do as little as possible.
THIS_PROGRAM = os.getpid()


class Server:
    """One server process: its port stays the same when it is started again."""

    def __init__(self, name: str, command: Callable[[int], list], ready: str, log: Path, environment=None):
        self.name = name
        self.command = command
        self.ready = ready
        self.log = log
        self.environment = environment
        self.port = free_port()
        self.process = None
        self.log_begin = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def argv(self) -> list[str]:
        return [str(part) for part in self.command(self.port)]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def spawn(self) -> None:
        with open(self.log, "ab") as log:
            self.log_begin = log.tell()
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environment,
                # Its own session: Ctrl-C is for the command under test, which may still need its server.
                start_new_session=True, preexec_fn=die_with_this_program,
            )

    def wait_until_ready(self) -> None:
        """Waits for the server's own word: a port that answers could be another program's."""
        end = time.monotonic() + START_SECONDS
        attempts = PORT_ATTEMPTS
        while self.ready not in self.said():
            if not self.running and "Address already in use" in self.said() and attempts > 0:
                attempts -= 1
                self.port = free_port()
                self.spawn()
            elif not self.running:
                raise Failed(f"{self.name} ended with status {self.process.returncode}\n{self.last_words()}")
            elif time.monotonic() > end:
                raise Failed(f"{self.name} is not up after {START_SECONDS} s\n{self.last_words()}")
            time.sleep(POLL_SECONDS)

    def start(self) -> None:
        if not self.running:
            self.spawn()
            self.wait_until_ready()

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ends the server cleanly."""
        self.signal(signal.SIGTERM)
        self.wait_until_ended()

    def wait_until_ended(self) -> None:
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not stop\n{self.last_words()}") from None

    def pause(self) -> None:
        """Freezes the server: connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        if not self.running:
            raise Failed(f"{self.name} is not running")
        self.process.send_signal(number)

    def said(self) -> str:
        with open(self.log, "rb") as log:
            log.seek(self.log_begin)
            return log.read().decode(errors="replace")

    def last_words(self) -> str:
        return "\n".join(self.said().splitlines()[-10:])


class Mongods:
    """The nodes of one replica set, or a standalone server; `options` is the command line of servers.py."""

    def __init__(self, options, folder: Path):
        self.options = options
        self.folder = folder
        self.has_user = False
        self.program = prerequisites.mongod()
        if options.auth:
            self.write_key_file()
        self.nodes = [self.node(number) for number in range(1 if options.standalone else options.nodes)]

    def start(self) -> None:
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.wait_until_ready()
        try:
            self.set_up()
        except PyMongoError as error:
            raise Failed(f"{self.nodes[0].name}: {error}\n{self.nodes[0].last_words()}") from error

    def set_up(self) -> None:
        if not self.options.standalone:
            self.initiate()
        if self.options.auth:
            self.create_user()
        if not self.options.standalone:
            wait_for("the replica set is healthy", self.is_healthy, self.nodes[0])

    def stop(self, node: Server) -> None:
        """Shuts a node down cleanly, without the 15 s that a primary waits after a signal."""
        if not node.running:
            raise Failed(f"{node.name} is not running")
        try:
            self.ask(node, "shutdown", force=True, timeoutSecs=1)
        except ConnectionFailure:
            pass  # It closes the connection instead of answering.
        except PyMongoError as error:
            raise Failed(f"{node.name} does not stop: {error}") from error
        node.wait_until_ended()

    @property
    def uri(self) -> str:
        user = f"{USER}:{PASSWORD}@" if self.options.auth else ""
        settings = ["directConnection=true"] if self.options.standalone else [f"replicaSet={REPLICA_SET}"]
        settings += ["authSource=admin"] if self.options.auth else []
        settings += ["tls=true", f"tlsCAFile={self.options.tls / 'ca.pem'}"] if self.options.tls else []
        return f"mongodb://{user}{','.join(node.address for node in self.nodes)}/?{'&'.join(settings)}"

    def describe(self) -> dict:
        return {
            "uri": self.uri,
            "hosts": [
                {
                    "host": "127.0.0.1", "port": node.port, "pid": node.process.pid,
                    "dbpath": str(self.dbpath(number)), "argv": node.argv,
                }
                for number, node in enumerate(self.nodes)
            ],
            "user": USER if self.options.auth else None,
            "password": PASSWORD if self.options.auth else None,
            "replica_set": None if self.options.standalone else REPLICA_SET,
        }

    def node(self, number: int) -> Server:
        self.dbpath(number).mkdir()
        return Server(
            f"mongod {number}",
            lambda port: self.command(number, port),
            ready="Waiting for connections",
            log=self.folder / f"mongod-{number}.log",
        )

    def dbpath(self, number: int) -> Path:
        return self.folder / f"mongod-{number}"

    @property
    def key_file(self) -> Path:
        return self.folder / "key-file"

    def write_key_file(self) -> None:
        self.key_file.write_bytes(base64.b64encode(os.urandom(256)))
        self.key_file.chmod(0o600)  # mongod refuses a key that others can read.

    def command(self, number: int, port: int) -> list:
        command = [self.program, "--dbpath", self.dbpath(number), "--port", port, "--bind_ip", "127.0.0.1"]
        command += ["--nounixsocket", "--wiredTigerCacheSizeGB", self.options.cache_gb]
        command += ["--syncdelay", self.options.checkpoint_seconds]
        if not self.options.standalone:
            command += ["--replSet", REPLICA_SET, "--oplogSize", self.options.oplog_mb]
        if self.options.auth:
            command += ["--keyFile", self.key_file]
        if self.options.tls:
            command += ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", self.options.tls / "server.pem"]
            command += ["--tlsCAFile", self.options.tls / "ca.pem", "--tlsAllowConnectionsWithoutCertificates"]
        # Without the diagnostic recorder the server writes nothing while nobody asks it anything.
        for parameter in ["diagnosticDataCollectionEnabled=false", *self.options.set_parameter]:
            command += ["--setParameter", parameter]
        return command

    def ask(self, node: Server, command: str, value=1, **arguments) -> dict:
        """Returns the answer to an administrative command sent to this very node."""
        account = {"username": USER, "password": PASSWORD} if self.has_user else {}
        tls = {"tls": True, "tlsCAFile": str(self.options.tls / "ca.pem")} if self.options.tls else {}
        with MongoClient("127.0.0.1", node.port, directConnection=True, **account, **tls) as client:
            return client.admin.command(command, value, **arguments)

    def initiate(self) -> None:
        members = [{"_id": number, "host": node.address} for number, node in enumerate(self.nodes)]
        config = {"_id": REPLICA_SET, "members": members, "settings": REPLICATION_SETTINGS}
        self.ask(self.nodes[0], "replSetInitiate", config)
        wait_for("there is a primary", self.has_primary, self.nodes[0])

    def has_primary(self) -> bool:
        """Asks the first node to stand for election, which by itself it would at the election timeout."""
        try:
            if self.primary() is None:
                self.ask(self.nodes[0], "replSetStepUp")
        except OperationFailure:
            pass  # Too early to be elected, or not allowed before there is a user: then the timeout elects.
        return self.primary() is not None

    def primary(self) -> Server | None:
        return next((node for node in self.nodes if self.ask(node, "hello")["isWritablePrimary"]), None)

    def create_user(self) -> None:
        """Makes the first user, which a server without any allows to whoever connects from its own machine."""
        node = self.nodes[0] if self.options.standalone else self.primary()
        self.ask(node, "createUser", USER, pwd=PASSWORD, roles=["root"])
        self.has_user = True

    def is_healthy(self) -> bool:
        """Returns whether all nodes follow one primary, which sees all of them up."""
        try:
            greetings = [self.ask(node, "hello") for node in self.nodes]
            following = all(greeting["isWritablePrimary"] or greeting["secondary"] for greeting in greetings)
            primary = self.primary()
            if not following or {greeting.get("primary") for greeting in greetings} != {primary and primary.address}:
                return False
            status = self.ask(primary, "replSetGetStatus")
        except OperationFailure:
            return False  # A node that has not received the user yet.
        return all(member["health"] == 1 and member["state"] in (1, 2) for member in status["members"])


class S3:
    """An S3 server with one bucket, kept in a directory."""

    def __init__(self, folder: Path):
        self.root = folder / "s3"
        self.bucket = self.root / BUCKET
        self.bucket.mkdir(parents=True)
        program = prerequisites.s3s_fs()
        account = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
        self.server = Server(
            "s3s-fs",
            lambda port: [program, "--host", "127.0.0.1", "--port", port, *account, self.root],
            ready="server is running at",
            log=folder / "s3.log",
            environment=dict(os.environ, RUST_LOG="s3s_fs=info"),
        )

    @property
    def endpoint(self) -> str:
        return f"http://{self.server.address}"

    def describe(self) -> dict:
        return {
            "endpoint": self.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY,
            "bucket": BUCKET, "directory": str(self.bucket), "pid": self.server.process.pid,
        }


class LockingS3:
    """An S3 server with one bucket that has versions and Object Lock, kept in memory. It checks no signatures."""

    def __init__(self, folder: Path):
        self.python = prerequisites.moto() / "bin" / "python"
        self.server = Server(
            "moto",
            lambda port: [self.python, "-m", "moto.server", "-H", "127.0.0.1", "-p", port],
            ready="Running on",
            log=folder / "moto.log",
        )

    def make_bucket(self) -> None:
        make = (
            "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], aws_access_key_id=sys.argv[2], "
            "aws_secret_access_key=sys.argv[3], region_name='us-east-1')"
            ".create_bucket(Bucket=sys.argv[4], ObjectLockEnabledForBucket=True)"
        )
        account = [f"http://{self.server.address}", ACCESS_KEY, SECRET_KEY, BUCKET]
        subprocess.run([self.python, "-c", make, *account], check=True)

    def describe(self) -> dict:
        return {
            "endpoint": f"http://{self.server.address}", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY,
            "bucket": BUCKET, "directory": None, "pid": self.server.process.pid,
        }


def free_port() -> int:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(what: str, condition: Callable[[], bool], server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"after {START_SECONDS} s it is still not so that {what}\n{server.last_words()}")
        time.sleep(POLL_SECONDS)


def die_with_this_program() -> None:
    """Runs in the new process: asks Linux to kill it with its parent, and leaves if that is gone already."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != THIS_PROGRAM:
        os._exit(1)
