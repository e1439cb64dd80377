"""What was written against what was read.

An entry is `[id, type, data]`. A gap event is an entry without an id.
"""

import json
from collections.abc import Iterator
from typing import Any

Entry = list[str | None]
Life = dict[str, list[Entry]]


def assert_whole(written: list[Entry], read: list[Entry]) -> None:
    """Every event, once, in order."""
    for place, (sent, got) in enumerate(zip(written, read)):
        assert got == sent, f"at place {place}"
    assert len(read) == len(written)


def assert_whole_but_gaps(written: list[Entry], read: list[Entry]) -> int:
    """Every event that no gap event announced as missing; gives their number."""
    place = missed = 0
    for entry in read:
        if is_gap(entry):
            gap = json.loads(entry[2] or "")
            assert gap["reason"] in ("trimmed", "lagged"), gap
            assert gap["from"] == place + 1, gap
            assert gap["missed"] == gap["to"] - place, gap
            assert gap["missed"] > 0, gap
            missed += gap["missed"]
            place = gap["to"]
        else:
            assert entry == written[place], f"at place {place}"
            place += 1
    assert place == len(written)
    return missed


def assert_lives(lives: list[Life], read: list[Entry]) -> bool:
    """A part of the first life, then all of the second.

    Gives whether the reader was told that the log diverged; it must be when it
    had read anything of the first life.
    """
    first, second = lives
    gaps = [place for place, entry in enumerate(read) if is_gap(entry)]
    if not gaps:
        assert_whole(second["events"], read)
        return False
    assert len(gaps) == 1, [read[place] for place in gaps]
    before, gap, after = read[: gaps[0]], read[gaps[0]], read[gaps[0] + 1 :]
    assert before
    assert_start(first, before)
    told = json.loads(gap[2] or "")
    assert told["reason"] == "diverged" and told["missed"] is None, told
    assert_whole(second["events"], after)
    return True


def assert_start(life: Life, read: list[Entry]) -> None:
    """Nothing but the first events of a life that was cut short.

    The writer does not know the ids of the last ones: no answer came.
    """
    sure = len(life["events"])
    assert_whole(life["events"][: len(read)], read[:sure])
    rest = read[sure:]
    unsure = life["unsure"][: len(rest)]
    assert_whole([entry[1:] for entry in unsure], [entry[1:] for entry in rest])


def assert_other_tags(lives: list[Life]) -> None:
    """No id of one life is an id of the other."""
    ids = [{entry[0] for entry in life["events"]} for life in lives]
    assert ids[0] and ids[1]
    assert not ids[0] & ids[1]


def is_gap(entry: Entry) -> bool:
    return entry[0] is None and entry[1] == "gap"


def halves(items: list[Any]) -> Iterator[list[Any]]:
    yield items[::2]
    yield items[1::2]
