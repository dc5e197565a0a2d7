#!/usr/bin/env python3
"""Measures the capture of the oplog and its replay, with two busy writers on a server of their own.

What capturing costs the writers: they write with and without `regrow capture` beside them, alternating. Whether it
keeps up: how long `regrow capture --once` takes for what they have written. How fast a replay is: `regrow restore --at`
into an empty server, beside the same entries sent one per applyOps command. What came back is counted.

Start it by scripts/bench-oplog.sh, which builds Regrow first.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import DATABASE, ROOT, Regrow, in_a_folder, inspect, row, say
from measuring import MEGABYTE, Failed, Server, machine, measure, new_server, run, wait

WRITERS = ROOT / "target/release/examples/writers"


class Capturing:
    """`regrow capture` beside whatever happens in this context; afterwards its cost is known."""

    def __init__(self, regrow: Regrow, source: Server):
        self.command = [str(part) for part in regrow.command("capture", "--quiet")]
        self.environment = {"MONGODB_URI": source.uri}
        self.cpu = self.memory = 0.0

    def __enter__(self) -> Capturing:
        self.process = subprocess.Popen(self.command, env=self.environment)
        time.sleep(1)  # It tails by then.
        return self

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        usage = wait(self.process)
        self.cpu, self.memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MEGABYTE


def write(source: Server, documents: int, *arguments: str) -> dict:
    done = run([WRITERS, f"--database={DATABASE}", f"--documents={documents}", *arguments], source)
    return json.loads(done)


def drop(source: Server) -> None:
    run([WRITERS, f"--database={DATABASE}", "--drop"], source)


def rate(written: dict) -> float:
    return written["operations"] / written["seconds"]


def impact(regrow: Regrow, source: Server, options: argparse.Namespace) -> list[str]:
    """Lets the writers write alone and beside a capture, in turn, and returns the table's rows."""
    alone, beside, shares, memory = [], [], [], []
    for number in range(options.runs):
        for captured in (False, True) if number % 2 == 0 else (True, False):
            drop(source)
            if captured:
                with Capturing(regrow, source) as capture:
                    written = write(source, options.documents)
                beside.append(rate(written))
                shares.append(capture.cpu / written["seconds"])
                memory.append(capture.memory)
            else:
                alone.append(rate(write(source, options.documents)))
        say(f"writers {number + 1}: alone {alone[-1]:.0f}/s, beside a capture {beside[-1]:.0f}/s")
    slower = statistics.median(1 - with_it / without for without, with_it in zip(alone, beside))
    return [
        row("two writers alone, operations/s", [f"{statistics.median(alone):.0f}"]),
        row("beside a capture, operations/s", [f"{statistics.median(beside):.0f}"]),
        row("**the writers' loss, median of pairs**", [f"**{slower:.1%}**"]),
        row("the capture's processor time, of one core", [f"{statistics.median(shares):.1%}"]),
        row("the capture's peak memory", [f"{max(memory):.0f} MB"]),
    ]


def catching_up(regrow: Regrow, source: Server, written: dict) -> list[str]:
    """Captures what was written all at once, and returns the table's rows."""
    cost = measure([regrow.command("capture", "--once")], source)
    return [
        row("what the writers wrote, operations", [str(written["operations"])]),
        row("they took", [f"{written['seconds']:.1f} s"]),
        row("capturing it took", [f"{cost.wall:.1f} s"]),
        row("**capture is faster than the writers**", [f"**{written['seconds'] / cost.wall:.1f} ×**"]),
        row("its peak memory", [f"{cost.memory:.0f} MB"]),
    ]


def replay(regrow: Regrow, source: Server, folder: Path, written: dict, options: argparse.Namespace) -> list[str]:
    """Replays everything into an empty server, and a part of it singly into another; returns the table's rows."""
    window = json.loads(run(regrow.command("list", "--json")))["recovery_window"]
    at, expected = "{t},{i}".format(**window[-1]["end"]), inspect(source)
    answer = folder / "restore.json"
    with new_server() as target:
        restore = ["restore", "--json", "--at", at, "--to", target.uri, "--confirm", target.name]
        cost = measure([regrow.command(*restore)], source, output=answer)
        if inspect(target) != expected:
            raise Failed("what was replayed is not what was written")
    restored = json.loads(answer.read_text())
    ours = restored["replayed"] / restored["phases"]["replay"]
    with new_server() as target:
        singly = rate(write(source, 0, f"--apply-to={target.uri}", f"--limit={options.singly}"))
    return [
        row("`regrow restore --at`, all of it", [f"{cost.wall:.1f} s"]),
        row("its replay alone, operations/s", [f"{ours:.0f}"]),
        row("one per applyOps, operations/s", [f"{singly:.0f}"]),
        row("**replay against one per applyOps**", [f"**{ours / singly:.1f} ×**"]),
        row("**replay against the writers**", [f"**{ours / rate(written):.1f} ×**"]),
        row("its peak memory", [f"{cost.memory:.0f} MB"]),
    ]


def arguments() -> argparse.Namespace:
    program = argparse.ArgumentParser(
        prog="scripts/bench-oplog.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    program.add_argument("--documents", type=int, default=60_000, help="that each writer inserts (default: 60000)")
    program.add_argument("--runs", type=int, default=5, help="pairs with and without a capture (default: 5)")
    program.add_argument("--singly", type=int, default=20_000, help="entries sent one by one (default: 20000)")
    return program.parse_args()


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    regrow = Regrow(folder)
    print(f"{machine()}\n{regrow.version}\n", flush=True)
    with new_server() as source:
        for command in ("init", "capture --once"):
            run(regrow.command(*command.split()), source)
        rows = impact(regrow, source, options)
        drop(source)
        for command in ("capture --once", "backup"):
            run(regrow.command(*command.split()), source)
        say("writing what is captured at once and replayed")
        written = write(source, options.documents * 2)
        rows += catching_up(regrow, source, written)
        rows += replay(regrow, source, folder, written, options)
    print("\n".join([row("", [""]), row("---", ["--:"]), *rows]))


def main() -> int:
    options = arguments()
    return in_a_folder(lambda folder: benchmark(folder, options))


if __name__ == "__main__":
    sys.exit(main())
