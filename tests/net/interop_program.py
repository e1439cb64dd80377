"""The TypeScript program in tests/interop: built once, driven line by line."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "interop"
BUILT = ROOT / "build" / "interop"


def npm(*words: str) -> None:
    done = subprocess.run(
        ["npm", *words], cwd=BUILT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build() -> None:
    """In a copy, so that nothing made lies among the sources; and once, since
    another process may run what was built."""
    BUILT.mkdir(parents=True, exist_ok=True)
    stamp = BUILT / "built"
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = digest_of_sources()
        if stamp.exists() and stamp.read_text() == digest:
            return
        stamp.unlink(missing_ok=True)
        shutil.copytree(SOURCE, BUILT, dirs_exist_ok=True, ignore=without_made)
        install()
        npm("run", "--silent", "build")
        stamp.write_text(digest)


def without_made(*_: object) -> set[str]:
    return {"node_modules", "dist"}


def digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*")):
        name = path.relative_to(SOURCE)
        if path.is_file() and not without_made() & set(name.parts):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def install() -> None:
    described = (SOURCE / "package.json").read_bytes()
    stamp = BUILT / "node_modules" / "installed.json"
    if not stamp.exists() or stamp.read_bytes() != described:
        npm("install", "--silent", "--no-audit", "--no-fund", "--no-package-lock")
        stamp.write_bytes(described)


class Program:
    """Each method of the program is a method here: program.open("s", ...)."""

    def __init__(self, url: str, prefix: str) -> None:
        self.process = subprocess.Popen(
            ["node", str(BUILT / "dist" / "main.js"), url, prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "NODE_OPTIONS": ""},
        )

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            assert self.process.stdin and self.process.stdout
            self.process.stdin.write(json.dumps([name, *args]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            assert line, f"it ended with status {self.process.wait()}"
            answer = json.loads(line)
            assert "error" not in answer, answer["error"]
            return answer["result"]

        return call

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()


@pytest.fixture(scope="session")
def interop_built() -> None:
    build()
