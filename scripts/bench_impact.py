#!/usr/bin/env python3
"""Measures what a backup costs those who use the server meanwhile.

Writers write at a steady pace, alone and beside backups that follow each other, phase after phase: as they are, within each of
the limits that the configuration knows, and beside mongodump where that is on PATH. Shown is how long the slowest of a hundred of
their operations takes in all phases of a kind, as a ratio to what it takes without a backup. Checkpoints hold everybody up, so the
server takes them often, and each phase has as many.

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
    """No backup at all."""

    backup_name = "nobody"

    def backup(self, _source: Server) -> None:
        time.sleep(1)


def compare(contenders: list, source: Server, options: argparse.Namespace) -> str:
    """Measures phase after phase, and returns a table."""
    run([WRITERS, f"--database={WRITTEN}", "--drop"], source)
    command = [WRITERS, f"--database={WRITTEN}", f"--documents={ENDLESS}", "--phases"]
    command += [f"--writers={options.writers}", f"--pace={options.pace}"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    took = {contender: [] for contender in contenders}
    with subprocess.Popen(command, env={"MONGODB_URI": source.uri}, **streams) as writers:
        for number in range(options.runs):
            for contender in list(took):
                writers.stdin.write(f"{contender.backup_name}\n")
                writers.stdin.flush()
                once = attempt(repeat, contender, source, options.seconds, name=contender.backup_name)
                if once:
                    say(f"{number + 1}: beside {contender.backup_name}: {once:.1f} s")
                    took[contender].append(once)
                else:
                    del took[contender]
        phases = json.loads(writers.communicate()[0])["phases"]
    alone = contenders[0]
    lines = [row("beside", ["operations", "p50 ms", "p99 ms", "p99, ratio", "backup s"]), row("---", ["--:"] * 5)]
    for contender, times in took.items():
        phase, slowest = phases[contender.backup_name], phases[contender.backup_name]["p99_ms"]
        ratio = slowest / phases[alone.backup_name]["p99_ms"]
        cells = [str(phase["operations"]), f"{phase['p50_ms']:.2f}", f"{slowest:.1f}", f"**{ratio:.2f} ×**"]
        lines.append(row(contender.backup_name, [*cells, "" if contender is alone else f"{statistics.median(times):.1f}"]))
    return "\n".join(lines)


def repeat(contender, source: Server, seconds: float) -> float:
    """Works for so long at least; returns how long it takes once."""
    begin, times = time.monotonic(), 0
    while (took := time.monotonic() - begin) < seconds:
        contender.backup(source)
        times += 1
    return took / times


def arguments() -> argparse.Namespace:
    program = argparse.ArgumentParser(
        prog="scripts/bench-impact.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    program.add_argument("size", nargs="?", default="512MiB", help="BSON in the shop (default: 512MiB)")
    program.add_argument("--runs", type=int, default=5, help="phases of each kind (default: 5)")
    program.add_argument("--writers", type=int, default=4, help="writers at once (default: 4)")
    program.add_argument("--pace", type=int, default=100, help="operations a second of each (default: 100)")
    program.add_argument("--rate", default="10MiB", help="the max_rate to try (default: 10MiB)")
    program.add_argument("--seconds", type=int, default=20, help="time of a phase, at least (default: 20)")
    return program.parse_args()


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    regrow = Regrow(folder)
    print(f"{machine()}\n{regrow.version}\n{options.runs} phases of each kind, in turn.\n", flush=True)
    rate = f'max_rate = "{options.rate}"'
    settings = ["", "max_parallel = 1", rate]
    contenders = [Nobody(), *[Limited(regrow, setting) for setting in settings]]
    if shutil.which("mongodump"):
        contenders.append(MongoTools(folder))
    with new_server("--checkpoint-seconds=5") as source:
        say(f"loading a shop of {options.size}")
        shop(source, f"--size={options.size}")
        print(compare(contenders, source, options))


def main() -> int:
    options = arguments()
    return in_a_folder(lambda folder: benchmark(folder, options))


if __name__ == "__main__":
    sys.exit(main())
