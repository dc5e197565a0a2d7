#!/usr/bin/env python3
"""Measures Regrow beside mongodump and mongorestore, alternating.

Backup: `regrow backup` into a directory, beside `mongodump --archive | zstd -3 -T2 | age`.
Restore: `regrow restore`, beside `mongorestore -j 4 --numInsertionWorkersPerCollection 4` of an archive that
is neither compressed nor encrypted, which spares the peer work. Each restore has an empty server of its own,
and what came back is counted.

Start it by scripts/bench.sh, which builds Regrow first. For the memory at a larger size, once is enough:
scripts/bench.sh 8GiB --runs 1.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from measuring import MEGABYTE, Cost, Failed, Server, machine, measure, median, new_server, run, size

ROOT = Path(__file__).resolve().parent.parent
REGROW = ROOT / "target/release/regrow"
SHOP = ROOT / "target/release/examples/shop"
DATABASE = "regrow_bench"
HEADINGS = ["wall s", "MB/s", "client CPU s", "client peak MB", "server CPU s", "stored MB"]


class Regrow:
    """Regrow as a contender: a new repository for each backup, of which the last is restored."""

    backup_name = "`regrow backup`"
    restore_name = "`regrow restore`"

    def __init__(self, folder: Path):
        self.repository = folder / "repository"
        self.config = folder / "regrow.toml"
        self.version = run([REGROW, "--version"]).strip()
        if not self.version:
            raise Failed(f"{REGROW.name} has no commands yet")
        identity = folder / "regrow-identity.txt"
        recipient = run([REGROW, "keygen", "-o", identity]).strip()
        self.config.write_text(
            '[source]\nname = "bench"\nuri = "env:MONGODB_URI"\n'
            f'[repository]\nurl = "file://{self.repository}"\n'
            f'[encryption]\nrecipients = ["{recipient}"]\nidentity_file = "{identity}"\n'
        )

    def backup(self, source: Server) -> Cost:
        shutil.rmtree(self.repository, ignore_errors=True)
        run(self.command("init"), source)
        cost = measure([self.command("backup")], source)
        cost.stored = size(self.repository)
        return cost

    def restore(self, target: Server) -> Cost:
        return measure([self.command("restore", "latest", "--to", target.uri, "--confirm", target.name)], target)

    def command(self, *arguments) -> list:
        return [REGROW, "--config", self.config, "--no-progress", *arguments]


class Drill:
    """A drill of Regrow's newest backup, into a server that it starts for itself."""

    restore_name = "`regrow drill`, from its server's start to its end"

    def __init__(self, regrow: Regrow, source: Server):
        folder = regrow.config.parent
        self.config = folder / "drill.toml"
        settings = f'[drill]\nmongod = "{source.mongod}"\nfolder = "{folder}"\n'
        self.config.write_text(regrow.config.read_text() + settings)

    def restore(self, target: Server) -> Cost:
        # What else it costs cannot be told from what its server does.
        wall = measure([[REGROW, "--config", self.config, "--no-progress", "drill", "latest"]], target).wall
        return Cost(wall=wall, client_cpu=0, server_cpu=0, memory=0)


class MongoTools:
    """mongodump and mongorestore with the flags that serve them best."""

    backup_name = "`mongodump`, `zstd -3 -T2`, `age`"
    restore_name = "`mongorestore`, 4 × 4 workers"

    def __init__(self, folder: Path):
        for tool in ("mongodump", "mongorestore", "zstd", "age", "age-keygen"):
            if not shutil.which(tool):
                raise Failed(f"{tool} is not on PATH")
        self.stored = folder / "mongodump.zst.age"
        self.archive = folder / "mongodump.archive"
        versions = [("mongo-tools", "mongodump"), ("zstd", "zstd"), ("age", "age")]
        self.version = ", ".join(f"{name} {first_number(tool)}" for name, tool in versions)
        identity = folder / "age-identity.txt"
        run(["age-keygen", "-o", identity])
        self.recipient = re.search(r"age1\w+", identity.read_text())[0]

    def backup(self, source: Server) -> Cost:
        dump = ["mongodump", f"--uri={source.uri}", "--archive"]
        pipeline = [dump, ["zstd", "-3", "-T2", "-q"], ["age", "-r", self.recipient]]
        cost = measure(pipeline, source, output=self.stored)
        cost.stored = size(self.stored)
        return cost

    def restore(self, target: Server) -> Cost:
        flags = [f"--archive={self.archive}", "-j", "4", "--numInsertionWorkersPerCollection", "4"]
        return measure([["mongorestore", f"--uri={target.uri}", *flags]], target)

    def make_archive(self, source: Server) -> None:
        """Makes what the restore reads."""
        run(["mongodump", f"--uri={source.uri}", f"--archive={self.archive}"])


def first_number(tool: str) -> str:
    found = re.search(r"\d+(\.\d+)+", run([tool, "--version"]))
    return found[0] if found else "?"


class Benchmark:
    """The contenders that can run here, measured on one kind of data after the other."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.options = options
        made = [attempt(kind, folder, name=kind.__name__) for kind in (Regrow, MongoTools)]
        self.contenders = [tools for tools in made if tools]

    def introduce(self) -> None:
        versions = "; ".join(tools.version for tools in self.contenders)
        print(f"{machine()}\n{versions}\nMedian of {self.options.runs}, alternating.\n", flush=True)

    def compare(self, title: str, database: str, *make: str) -> None:
        """Loads the data that `make` asks for, then measures the backup of it and the restore."""
        with new_server() as source:
            say(f"loading {title}")
            shop(source, f"--seed={self.options.seed}", *make)
            loaded = inspect(source)
            # Warms up the server's cache and the machine's; who can't do it is left out.
            self.contenders = [
                tools for tools in self.contenders if attempt(tools.backup, source, name=tools.backup_name)
            ]
            costs = {}
            if self.options.only != "restore":
                costs = self.alternate("backup", lambda tools: tools.backup(source))
            for tools in self.contenders:
                if isinstance(tools, MongoTools) and self.options.only != "backup":
                    tools.make_archive(source)
            with_drill = self.contenders if self.options.drill else []
            drills = [Drill(tools, source) for tools in with_drill if isinstance(tools, Regrow)]
        if self.options.only != "backup":
            costs |= self.alternate("restore", lambda tools: restore(tools, loaded), drills)
        held = loaded[database]
        title = f"{title}: {held['documents']} documents, {held['bytes'] / MEGABYTE:.0f} MB, mongod {loaded['server']}"
        print(table(title, held["bytes"], costs), flush=True)

    def alternate(self, work: str, do, others=()) -> dict[tuple[str, str], Cost]:
        """Measures the contenders in turn, and others with them; who fails is left out from then on."""
        costs = {tools: [] for tools in [*self.contenders, *others]}
        for number in range(self.options.runs):
            for tools in list(costs):
                name = getattr(tools, f"{work}_name")
                cost = attempt(do, tools, name=name)
                if cost:
                    say(f"{work} {number + 1}: {name} {cost.wall:.1f} s")
                    costs[tools].append(cost)
                else:
                    del costs[tools]
        return {(work, getattr(tools, f"{work}_name")): median(several) for tools, several in costs.items()}


def restore(tools, loaded: dict) -> Cost:
    """Restores into an empty server, in which dropped data doesn't linger, and compares the counts."""
    with new_server() as target:
        cost = tools.restore(target)
        restored = inspect(target)
    if restored != loaded and not isinstance(tools, Drill):
        raise Failed(f"what came back is not what was there: {restored} instead of {loaded}")
    return cost


def shop(server: Server, *arguments: str) -> str:
    return run([SHOP, "--database", DATABASE, *arguments], server)


def inspect(server: Server) -> dict:
    return json.loads(shop(server, "--inspect"))


def attempt(do, *arguments, name: str):
    """Returns what `do` returns; when it fails says so and returns None."""
    try:
        return do(*arguments)
    except Failed as error:
        say(f"not measured: {name}: {error}")
        return None


def table(title: str, bson: int, costs: dict[tuple[str, str], Cost]) -> str:
    """Returns a table in Markdown, with the ratio of each pair: below 1 is less than the peer."""
    lines = [row(title, HEADINGS), row("---", ["--:"] * len(HEADINGS))]
    for work in ("backup", "restore"):
        rows = [(name, figures(bson, cost)) for (of, name), cost in costs.items() if of == work]
        pair = [(name, figures_of) for name, figures_of in rows if name != Drill.restore_name]
        lines += [row(name, [shown(figure) for figure in figures_of]) for name, figures_of in pair]
        if len(pair) == 2:
            lines.append(ratios(f"{work}, ratio", pair[0][1], pair[1][1]))
        for name, figures_of in rows:
            if name == Drill.restore_name:
                lines.append(row(name, [shown(figure) for figure in figures_of]))
                lines.append(ratios("drill / restore", figures_of, rows[0][1]))
    return "\n".join(lines) + "\n"


def ratios(name: str, ours: list[float], theirs: list[float]) -> str:
    return row(f"**{name}**", [f"**{our / their:.2f} ×**" if our and their else "" for our, their in zip(ours, theirs)])


def figures(bson: int, cost: Cost) -> list[float]:
    return [cost.wall, bson / MEGABYTE / cost.wall, cost.client_cpu, cost.memory, cost.server_cpu, cost.stored]


def shown(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure else ""


def row(name: str, cells: list[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    program = argparse.ArgumentParser(
        prog="scripts/bench.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    program.add_argument("size", nargs="?", default="2GiB", help="BSON in the shop, 0 for none (default: 2GiB)")
    program.add_argument("--runs", type=int, default=3, help="runs of which the median is shown (default: 3)")
    program.add_argument(
        "--small", nargs="?", type=int, const=5000, default=0, metavar="N",
        help="then also N small collections (5000 when no number is given)",
    )
    program.add_argument(
        "--large", nargs="?", type=int, const=3, default=0, metavar="N",
        help="then also the shop with N documents of 15.5 MB (3 when no number is given)",
    )
    program.add_argument("--drill", action="store_true", help="measure drills beside restores")
    program.add_argument("--no-indexes", action="store_true", help="then also the shop without secondary indexes")
    return common_options(program, only=("backup", "restore"))


def new_folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def in_a_folder(work) -> int:
    """Does the work in a folder that is gone afterwards; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as folder:
        try:
            work(Path(folder))
        except Failed as error:
            raise SystemExit(f"bench: {error}") from error
    return 0


def benchmark(folder: Path, options: argparse.Namespace) -> None:
    benchmark = Benchmark(folder, options)
    benchmark.introduce()
    if options.size != "0":
        benchmark.compare(f"Shop of {options.size}", DATABASE, f"--size={options.size}")
    if options.large:
        title = f"Shop of {options.size} and {options.large} documents of 15.5 MB"
        benchmark.compare(title, DATABASE, f"--size={options.size}", f"--large-documents={options.large}")
    if options.no_indexes:
        benchmark.compare(f"Shop of {options.size} without indexes", DATABASE, f"--size={options.size}", "--no-indexes")
    if options.small:
        many = f"--small-collections={options.small}"
        benchmark.compare(f"{options.small} collections", f"{DATABASE}_small", "--size=0", many)


def common_options(program: argparse.ArgumentParser, only: tuple[str, ...] = ("backup",)) -> argparse.Namespace:
    program.add_argument("--only", choices=only, help="leave out everything else")
    program.add_argument("--seed", type=int, default=1, help="of the shop (default: 1)")
    return program.parse_args()


def main() -> int:
    options = arguments()
    return in_a_folder(lambda folder: benchmark(folder, options))


if __name__ == "__main__":
    sys.exit(main())
