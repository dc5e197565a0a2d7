#!/usr/bin/env python3
"""Measures increments beside full backups of the same.

Backup: a full one of the shop, then increments, each after a share of all documents was changed at random places. What the
server sends and works for each is counted. Restore: the full backup with all its increments, beside one full backup of the same
state, alternating, each into an empty server. What came back is counted.

Start it by scripts/bench-increments.sh, which builds Regrow first.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import DATABASE, Regrow, common_options, in_a_folder, inspect, new_folder, restore, row, say, shop, shown
from measuring import MEGABYTE, Cost, Failed, Server, machine, measure, median, new_server, run

HEADINGS = ["wall s", "client CPU s", "client peak MB", "server CPU s", "server sent MB", "stored MB"]


@dataclass
class Taken:
    """What a backup cost, and how much the server has sent for it."""

    cost: Cost
    sent: float  # megabytes

    def figures(self) -> list[float]:
        cost = self.cost
        return [cost.wall, cost.client_cpu, cost.memory, cost.server_cpu, self.sent, cost.stored]


def back_up(regrow: Regrow, source: Server, *arguments: str) -> Taken:
    before = sent(source)
    cost = measure([regrow.command("backup", *arguments)], source)
    megabytes = (sent(source) - before) / MEGABYTE
    taken = json.loads(run(regrow.command("show", "latest", "--json"), source))
    if ("--incremental" in arguments) != (taken["parent"] is not None):
        raise Failed(f"{taken['id']} is not what was asked for")
    cost.stored = taken["bytes_stored"] / MEGABYTE
    return Taken(cost, megabytes)


def sent(server: Server) -> int:
    return int(shop(server, "--sent"))


def compare(folder: Path, options: argparse.Namespace) -> None:
    chain, single = Regrow(new_folder(folder, "chain")), Regrow(new_folder(folder, "single"))
    with new_server() as source:
        say(f"loading a shop of {options.size}")
        shop(source, f"--seed={options.seed}", f"--size={options.size}")
        for regrow in (single, chain):
            run(regrow.command("init"), source)
        # Warms up the server's cache and the machine's.
        back_up(single, source)
        full = back_up(chain, source)
        increments = []
        for number in range(options.increments):
            shop(source, "--size=0", f"--change={options.change}", f"--within={options.within}")
            increments.append(back_up(chain, source, "--incremental"))
            say(f"increment {number + 1}: {increments[-1].cost.wall:.1f} s")
        back_up(single, source)
        loaded = inspect(source)
    held = loaded[DATABASE]
    title = f"Shop: {held['documents']} documents, {held['bytes'] / MEGABYTE:.0f} MB, {options.change} changed each time, among the newest {options.within}"
    print("\n".join([row(title, HEADINGS), row("---", ["--:"] * len(HEADINGS))]))
    increment = Taken(median([taken.cost for taken in increments]), sum(taken.sent for taken in increments) / len(increments))
    for name, taken in (("full backup", full), (f"increment, median of {len(increments)}", increment)):
        print(row(name, [shown(figure) for figure in taken.figures()]))
    ratios = [f"**{ours / all_of_it:.3f} ×**" if all_of_it else "" for ours, all_of_it in zip(increment.figures(), full.figures())]
    print(row("**increment / full**", ratios), flush=True)
    if options.only != "backup":
        compare_restores(chain, single, loaded, options)


def compare_restores(chain: Regrow, single: Regrow, loaded: dict, options: argparse.Namespace) -> None:
    costs: dict[str, list[Cost]] = {"one full backup": [], f"full backup and {options.increments} increments": []}
    for _ in range(options.runs):
        for name, regrow in zip(costs, (single, chain)):
            costs[name].append(restore(regrow, loaded))
            say(f"restore: {name} {costs[name][-1].wall:.1f} s")
    headings = HEADINGS[:4]
    print("\n".join(["", row("Restore", headings), row("---", ["--:"] * len(headings))]))
    figures = [[cost.wall, cost.client_cpu, cost.memory, cost.server_cpu] for cost in map(median, costs.values())]
    for name, of in zip(costs, figures):
        print(row(name, [shown(figure) for figure in of]))
    print(row("**chain / one**", [f"**{ours / one:.2f} ×**" for one, ours in zip(*figures)]), flush=True)


def arguments() -> argparse.Namespace:
    program = argparse.ArgumentParser(
        prog="scripts/bench-increments.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    program.add_argument("size", nargs="?", default="2GiB", help="BSON in the shop (default: 2GiB)")
    program.add_argument("--change", default="1%", help="share of all documents that is changed each time (default: 1%%)")
    program.add_argument("--within", default="100%", help="share of the newest documents among which that is (default: 100%%)")
    program.add_argument("--increments", type=int, default=6, help="behind the full backup (default: 6)")
    program.add_argument("--runs", type=int, default=3, help="restores of which the median is shown (default: 3)")
    return common_options(program)


def main() -> int:
    options = arguments()
    print(f"{machine()}\n")
    return in_a_folder(lambda folder: compare(folder, options))


if __name__ == "__main__":
    sys.exit(main())
