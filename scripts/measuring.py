"""Runs programs and says what they cost: time, processor, memory, on their side and on the server's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

MEGABYTE = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something could not be measured; its text is the reason."""


@dataclass
class Cost:
    """What one run cost. A pipeline's processor time is that of all its processes, its memory that of the largest."""

    wall: float  # seconds
    client_cpu: float  # seconds, user and system
    server_cpu: float  # seconds, user and system
    memory: float  # megabytes at the peak; nothing below this program's own 15 MB can be told apart
    stored: float = 0.0  # megabytes


def median(costs: list[Cost]) -> Cost:
    """Returns the median of each figure by itself."""
    return Cost(*(statistics.median(getattr(cost, field.name) for cost in costs) for field in fields(Cost)))


def measure(pipeline: list[list], server: Server, output: Path | None = None) -> Cost:
    """Runs a pipeline of commands, which find the server in MONGODB_URI; its output goes to a file, or nowhere."""
    os.sync()  # What was written before this run is not this run's to wait for.
    with tempfile.TemporaryFile() as errors, open(output or os.devnull, "wb") as sink:
        server_begin, begin = server.cpu(), time.monotonic()
        processes = spawn(pipeline, sink, errors, {**os.environ, "MONGODB_URI": server.uri})
        ended = [wait(process) for process in processes]
        wall, server_cpu = time.monotonic() - begin, server.cpu() - server_begin
        for command, process in zip(pipeline, processes):
            if process.returncode != 0:
                raise Failed(f"{Path(command[0]).name} ended with status {process.returncode}{last_words(errors)}")
    return Cost(
        wall=wall,
        client_cpu=sum(usage.ru_utime + usage.ru_stime for usage in ended),
        server_cpu=server_cpu,
        memory=max(usage.ru_maxrss for usage in ended) * 1024 / MEGABYTE,
    )


def spawn(pipeline: list[list], sink, errors, environment: dict) -> list[subprocess.Popen]:
    processes, source = [], subprocess.DEVNULL
    for position, command in enumerate(pipeline):
        target = sink if position == len(pipeline) - 1 else subprocess.PIPE
        process = subprocess.Popen(command, stdin=source, stdout=target, stderr=errors, env=environment)
        if processes:
            source.close()  # Only the reader may hold it, or the writer would never learn of the reader's end.
        processes.append(process)
        source = process.stdout
    return processes


def wait(process: subprocess.Popen):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def last_words(errors) -> str:
    errors.seek(0)
    lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    return ": " + " / ".join(lines[-3:]) if lines else ""


def run(command: list, server: Server | None = None) -> str:
    """Runs a command that isn't measured and returns what it prints."""
    environment = {**os.environ, "MONGODB_URI": server.uri} if server else None
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise Failed(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        words = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise Failed(f"{Path(command[0]).name} {command[1]} ended with status {done.returncode}: {words}")
    return done.stdout


def size(path: Path) -> float:
    """Returns the megabytes in a file, or in all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / MEGABYTE


@dataclass
class Server:
    """A replica set of this machine."""

    uri: str
    name: str
    pids: list[int]
    mongod: str  # the program

    def cpu(self) -> float:
        """Returns the seconds of processor time that its processes have used since they began."""
        return sum(cpu_of(pid) for pid in self.pids)


@contextlib.contextmanager
def new_server(*options: str) -> Iterator[Server]:
    """Starts an empty server, which ends and leaves nothing behind when the context ends."""
    sizes = ["--cache-gb", "1", "--oplog-mb", "2048"]
    command = [sys.executable, Path(__file__).with_name("servers.py"), "serve", *sizes, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as servers:
        described = servers.stdout.readline()
        if not described:
            raise Failed("no server to measure with")
        server = json.loads(described)
        hosts = server["hosts"]
        yield Server(server["uri"], server["replica_set"], [host["pid"] for host in hosts], hosts[0]["argv"][0])


def cpu_of(pid: int) -> float:
    # The program's name, in brackets, may hold anything; what follows are numbers: proc(5), fields 14 and 15.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def machine() -> str:
    """Describes the machine in a line."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024 / 1024
    name = processor[1] if processor else os.uname().machine
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {os.uname().release}"
