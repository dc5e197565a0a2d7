#!/usr/bin/env python3
"""Measures what a backup costs those who use the server meanwhile.

Writers write at a steady pace, alone and then beside one backup after the other until it ends: as it is, within each of
the limits that the configuration knows, and beside mongodump where that is on PATH. Shown is how long the slowest of a hundred of
their operations takes, as a ratio to what it takes without a backup in the same run.

Start it by scripts/bench-impact.sh, which builds Regrow first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import DATABASE, ROOT, MongoTools, Regrow, attempt, in_a_folder, row, say, shop
from measuring import Server, machine, new_server, run

WRITERS = ROOT / "target/release/examples/writers"
WRITTEN = f"{DATABASE}_written"

# More than any backup takes time for.
ENDLESS = 1_000_000_000


class Limited:
    """`regrow backup` with settings of `[source]`."""

    def __init__(self, regrow: Regrow, settings: str):
        self.regrow, self.settings = regrow, settings
        self.plain = regrow.config.read_text()
        self.backup_name = f"`regrow backup`{', ' + settings if settings else ''}"

    def backup(self, source: Server):
        self.regrow.config.write_text(self.plain.replace("[source]\n", f"[source]\n{self.settings}\n"))
        try:
            return self.regrow.backup(source)
        finally:
            self.regrow.config.write_text(self.plain)


class Nobody:
    """No backup at all, for a while."""

    backup_name = "nobody"

    def __init__(self, seconds: float):
        self.seconds = seconds

    def backup(self, _source: Server) -> None:
        time.sleep(self.seconds)


def beside(work, source: Server, options: argparse.Namespace) -> dict:
    """Lets the writers write while the work is done, and returns what they say."""
    run([WRITERS, f"--database={WRITTEN}", "--drop"], source)
    command = [WRITERS, f"--database={WRITTEN}", f"--documents={ENDLESS}", "--until-input-ends"]
    command += [f"--writers={options.writers}", f"--pace={options.pace}"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={"MONGODB_URI": source.uri}, **streams) as writers:
        time.sleep(1)  # They are at it by then.
        begin = time.monotonic()
        try:
            work.backup(source)
        finally:
            took = time.monotonic() - begin
            said, _ = writers.communicate()
    return json.loads(said) | {"took": took}


def compare(contenders: list, source: Server, options: argparse.Namespace) -> str:
    """Measures in turn, and returns a table of medians."""
    measured = {contender: [] for contender in contenders}
    for number in range(options.runs):
        for contender in list(measured):
            said = attempt(beside, contender, source, options, name=contender.backup_name)
            if said:
                say(f"{number + 1}: beside {contender.backup_name}: p99 {said['p99_ms']:.1f} ms, {said['took']:.1f} s")
                measured[contender].append(said)
            else:
                del measured[contender]
    median = lambda contender, key: statistics.median(said[key] for said in measured[contender])
    alone = contenders[0]
    lines = [row("beside", ["p50 ms", "p99 ms", "p99, ratio", "backup s"]), row("---", ["--:"] * 4)]
    for contender in measured:
        slowest, took = median(contender, "p99_ms"), median(contender, "took")
        cells = [f"{median(contender, 'p50_ms'):.2f}", f"{slowest:.1f}", f"**{slowest / median(alone, 'p99_ms'):.2f} ×**"]
        lines.append(row(contender.backup_name, [*cells, "" if contender is alone else f"{took:.1f}"]))
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    program = argparse.ArgumentParser(
        prog="scripts/bench-impact.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    program.add_argument("size", nargs="?", default="1GiB", help="BSON in the shop (default: 1GiB)")
    program.add_argument("--runs", type=int, default=3, help="runs of which the median is shown (default: 3)")
    program.add_argument("--writers", type=int, default=4, help="writers at once (default: 4)")
    program.add_argument("--pace", type=int, default=100, help="operations a second of each (default: 100)")
    program.add_argument("--rate", default="100MiB", help="the max_rate to try (default: 100MiB)")
    return program.parse_args()


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    regrow = Regrow(folder)
    print(f"{machine()}\n{regrow.version}\nMedian of {options.runs}, in turn.\n", flush=True)
    settings = ["", "max_parallel = 1", f'max_rate = "{options.rate}"']
    contenders = [Nobody(10), *[Limited(regrow, setting) for setting in settings]]
    if shutil.which("mongodump"):
        contenders.append(MongoTools(folder))
    with new_server() as source:
        say(f"loading a shop of {options.size}")
        shop(source, f"--size={options.size}")
        print(compare(contenders, source, options))


def main() -> int:
    options = arguments()
    return in_a_folder(lambda folder: benchmark(folder, options))


if __name__ == "__main__":
    sys.exit(main())
