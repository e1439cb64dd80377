"""scikit-build-core, with one step before an sdist: it must hold the C sources,
which in a checkout are two levels up. They are copied in, packed, and removed."""

import shutil
from pathlib import Path
from typing import Any

from scikit_build_core import build as _build
from scikit_build_core.build import *  # noqa: F403 - the hooks are its own

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
COPY = HERE / "core"
PARTS = ["CMakeLists.txt", "LICENSE", "cmake", "libsse"]


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    copied = _copy_core()
    try:
        return _build.build_sdist(sdist_directory, config_settings)
    finally:
        if copied:
            shutil.rmtree(COPY)


def _copy_core() -> bool:
    """False in an unpacked sdist, which has it already."""
    if not (ROOT / "libsse" / "include" / "sse.h").exists():
        return False
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, COPY / part)
        else:
            shutil.copy2(source, COPY / part)
    return True
