"""What holds something of C's, or waits for it."""

from __future__ import annotations

from typing import Dict, Generic, NoReturn, Optional, TypeVar

T = TypeVar("T")


class Handle:
    """Has no copy: two would each get half of what comes, and the first to go would
    end the other."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """The modules `copy` and `pickle` both ask here."""
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")


class First(Generic[T]):
    """One for all, made at its first use. When several threads come at once, the first
    stays, and the others drop what they have made.

    It has no lock: an exception out of a signal's handler may leave one locked (Python
    3.9 even in a `with`), and a finalizer or a handler that comes here would wait for
    the one that its own thread holds. Each step is one call of a dict's."""

    def __init__(self) -> None:
        self._made: Dict[None, T] = {}

    def get(self) -> Optional[T]:
        return self._made.get(None)

    def keep(self, made: T) -> T:
        """Gives the first."""
        return self._made.setdefault(None, made)

    def clear(self) -> None:
        self._made.clear()
