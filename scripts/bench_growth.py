#!/usr/bin/env python3
"""Measures backups and restores of a shop that grows, and backups of the same data in more and more collections.

Prints a table and draws a plot, docs/growth.svg: time should grow as the data does, memory should not grow, and
neither should care how many collections the data lies in.

Start it by scripts/bench-growth.sh, which builds Regrow first.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import DATABASE, ROOT, Regrow, in_a_folder, inspect, new_folder, row, say, shop, shown
from measuring import MEGABYTE, Cost, machine, measure, median, new_server, run
from plot import Panel, Series, draw

GIGABYTE = 1000 * MEGABYTE
SIZES = ["0.5", "1", "2", "4", "8"]
COLLECTIONS = [1, 2, 4, 8, 16]
# What part of a shop's bytes lies in its largest collection.
LARGEST = ("events", 0.44)
SPLIT = f"{DATABASE}_split"


@dataclass
class Point:
    """What was measured at one size, or with one number of collections."""

    at: float
    work: str
    cost: Cost


def grow(folder: Path, options: argparse.Namespace) -> list[Point]:
    """Measures a shop of each size: its backup, and the restore into an empty server."""
    points = []
    for gigabytes in options.sizes:
        regrow = Regrow(new_folder(folder, f"{gigabytes} GB"))
        with new_server() as source:
            say(f"loading {gigabytes} GB")
            shop(source, f"--size={int(float(gigabytes) * GIGABYTE)}")
            held = inspect(source)[DATABASE]["bytes"] / GIGABYTE
            points.append(Point(held, "backup", repeat(options.runs, lambda: regrow.backup(source))))
        if not options.only:
            points.append(Point(held, "restore", repeat(options.runs, lambda: restore(regrow))))
    return points


def restore(regrow: Regrow) -> Cost:
    with new_server() as target:
        return regrow.restore(target)


def split(folder: Path, options: argparse.Namespace) -> list[Point]:
    """Measures backups of one gigabyte of the same documents in more and more collections."""
    points = []
    name, share = LARGEST
    for number in options.collections:
        regrow = Regrow(new_folder(folder, f"{number} collections"))
        with new_server() as source:
            say(f"loading {number} collections")
            shop(source, f"--size={int(options.split_gigabytes * GIGABYTE / number / share)}")
            regrow.backup(source)
            for copy in range(number):
                renamed = f"--map={DATABASE}.{name}={SPLIT}.{name}_{copy}"
                chosen = ["restore", "latest", f"--ns={DATABASE}.{name}", renamed, "--confirm", source.name]
                run(regrow.command(*chosen), source)
            whole = regrow.command("backup", "--ns", SPLIT)
            points.append(Point(number, "backup", repeat(options.runs, lambda: measure([whole], source))))
    return points


def repeat(runs: int, work) -> Cost:
    return median([work() for _ in range(runs)])


def table(title: str, points: list[Point]) -> str:
    lines = [row(title, ["wall s", "client CPU s", "client peak MB"]), row("---", ["--:"] * 3)]
    for point in points:
        cost = point.cost
        figures = [shown(figure) for figure in (cost.wall, cost.client_cpu, cost.memory)]
        lines.append(row(f"{point.work}, {point.at:.3g}", figures))
    return "\n".join(lines) + "\n"


def panel(title: str, across: str, points: list[Point], unit: str, figure) -> Panel:
    works = list(dict.fromkeys(point.work for point in points))
    series = [Series(work, [(point.at, figure(point.cost)) for point in points if point.work == work]) for work in works]
    return Panel(title, across, unit, series)


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    print(f"{machine()}\nMedian of {options.runs}.\n", flush=True)
    grown = grow(folder, options)
    print(table("GB of documents", grown), flush=True)
    in_collections = split(folder, options)
    print(table(f"collections of {options.split_gigabytes:g} GB in all", in_collections), flush=True)
    panels = [
        panel("time", "GB of documents", grown, "s", lambda cost: cost.wall),
        panel("peak memory", "GB of documents", grown, "MB", lambda cost: cost.memory),
        panel("time", "collections", in_collections, "s", lambda cost: cost.wall),
        panel("peak memory", "collections", in_collections, "MB", lambda cost: cost.memory),
    ]
    options.output.write_text(draw(panels))
    say(f"drawn: {options.output}")


def main() -> int:
    program = argparse.ArgumentParser(
        prog="scripts/bench-growth.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    program.add_argument("--sizes", nargs="+", default=SIZES, metavar="GB", help=f"default: {' '.join(SIZES)}")
    program.add_argument("--collections", nargs="+", type=int, default=COLLECTIONS, metavar="N")
    program.add_argument("--split-gigabytes", type=float, default=1.0, metavar="GB", help="in all of them (default: 1)")
    program.add_argument("--runs", type=int, default=3, help="runs of which the median is shown (default: 3)")
    program.add_argument("--only", choices=["backup"], help="leave out the restores")
    program.add_argument("-o", "--output", type=Path, default=ROOT / "docs/growth.svg")
    options = program.parse_args()
    return in_a_folder(lambda folder: benchmark(folder, options))


if __name__ == "__main__":
    sys.exit(main())
