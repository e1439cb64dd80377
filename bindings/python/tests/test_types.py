"""The hints, from within and as a user's program meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "typed_program.py"
BIN = Path(sys.executable).parent  # whose packages Pyright looks for
STRICT = {"typeCheckingMode": "strict", "include": [str(PROGRAM)]}


def run(*command: object, at: Path = HERE.parent) -> str:
    """Its output; the test fails with it when the command does."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=at,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_mypy_of_the_sources() -> None:
    assert "no issues found" in run("-m", "mypy")


def test_pyright_of_the_sources() -> None:
    assert "0 errors" in run("-m", "pyright")


def test_every_public_name_has_its_type(tmp_path: Path) -> None:
    """Of the package that is installed, as an editor meets it."""
    options = ["--verifytypes", "libsse", "--ignoreexternal"]
    told = run("-m", "pyright", *options, at=tmp_path)
    assert "Type completeness score: 100%" in told


def test_mypy_of_a_program(tmp_path: Path) -> None:
    told = run("-m", "mypy", "--strict", PROGRAM, at=tmp_path)
    assert "no issues found" in told


def test_pyright_of_a_program(tmp_path: Path) -> None:
    """Strictly. That mypy's comments on what is wrong are needed, mypy says."""
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(STRICT))
    told = run("-m", "pyright", at=tmp_path)
    assert "0 errors" in told


def test_the_program_runs() -> None:
    run("-W", "error", PROGRAM)
