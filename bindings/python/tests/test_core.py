"""The extension module is what its stub says: a typemap that does not match shows
as an argument too many."""

from __future__ import annotations

import ast
import re
from importlib import resources

import pytest

from libsse import _core

STUB = ast.parse((resources.files("libsse") / "_core.pyi").read_text())
FUNCTIONS = {f.name: f for f in STUB.body if isinstance(f, ast.FunctionDef)}


def test_all_functions_are_in_the_stub() -> None:
    there = {name for name in dir(_core) if name.startswith("sse_")}
    assert there == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments(name: str) -> None:
    count = len(FUNCTIONS[name].args.args)
    with pytest.raises(TypeError) as raised:
        getattr(_core, name)(*range(20))
    told = re.search(r"(\d+|no|one) arguments?", str(raised.value))
    assert told is not None, raised.value
    assert told.group(1) in (str(count), {0: "no", 1: "one"}.get(count)), raised.value
