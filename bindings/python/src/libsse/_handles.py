"""What holds something of C's, or waits for it."""

from __future__ import annotations

from typing import NoReturn


class Handle:
    """Has no copy: two would each get half of what comes, and the first to go would
    end the other."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """The modules `copy` and `pickle` both ask here."""
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")
