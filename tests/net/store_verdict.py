"""Whether what readers have is what was written, although the store failed.

A record is what a writer knows: `[id, type, data, sure]`. The log is what is
left at the end: entries `[id, type, data]`, as a reader from the start gets
them. No two records of a stream have the same data, but for the last.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from transcripts import Entry, is_gap

Record = list[Any]


@dataclass
class Verdict:
    """Of one reader, or of many together."""

    expected: int = 0  # events that were surely written
    delivered: int = 0  # of these
    announced: int = 0  # of the others: the reader was told of a gap
    lost: int = 0  # with the store, before this reader came to them
    missing: int = 0  # although they are there
    repeated: int = 0
    gaps: int = 0
    wrong: list[str] = field(default_factory=list)  # everything else

    def add(self, other: "Verdict") -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def assert_honest(self) -> None:
        """Who had something that is gone, or lacks what is there, was told."""
        assert not self.wrong, self.wrong[:5]
        assert (self.missing, self.repeated) == (0, 0), self

    def assert_whole(self) -> None:
        """Nothing had to be announced."""
        self.assert_honest()
        assert (self.gaps, self.delivered) == (0, self.expected), self


def seq_of(entry: Entry) -> int:
    return int((entry[0] or "").split("-")[0])


def judge(records: list[Record], log: list[Entry], read: list[Entry]) -> Verdict:
    """One reader against its writer, and against what is left."""
    verdict = Verdict(expected=sum(bool(record[3]) for record in records))
    verdict.gaps = sum(is_gap(entry) for entry in read)
    parts = split(read, verdict)
    for part in parts:
        check_order(part, records, verdict)
    check_end(parts[-1], log, verdict)
    seen = {entry[2] for part in parts for entry in part if not is_gap(entry)}
    left = {entry[2] for entry in log}
    for _, _, data, sure in records:
        if not sure:
            continue
        if data in seen:
            verdict.delivered += 1
        elif verdict.gaps:
            verdict.announced += 1
        elif data in left:
            verdict.missing += 1
        else:
            verdict.lost += 1
    return verdict


def split(read: list[Entry], verdict: Verdict) -> list[list[Entry]]:
    """A reader that was told `diverged` begins again with another log."""
    parts: list[list[Entry]] = [[]]
    for entry in read:
        if is_gap(entry) and json.loads(entry[2] or "")["reason"] == "diverged":
            parts.append([])
        parts[-1].append(entry)
    for part in parts:
        ids = Counter(entry[0] for entry in part if not is_gap(entry))
        verdict.repeated += sum(count - 1 for count in ids.values())
    return parts


def check_order(part: list[Entry], records: list[Record], verdict: Verdict) -> None:
    """Numbers have no holes but those announced, and the content is what was
    written, in that order."""
    written = {record[2]: place for place, record in enumerate(records)}
    place, last_seq = -1, 0
    for entry in part:
        if is_gap(entry):
            last_seq = json.loads(entry[2] or "")["to"]
            continue
        if seq_of(entry) != last_seq + 1:
            verdict.wrong.append(f"{entry} behind number {last_seq}")
        last_seq = seq_of(entry)
        now = place_of(entry, records, written)
        if now is None:
            verdict.wrong.append(f"{entry} was never written")
        elif now <= place:
            verdict.wrong.append(f"{entry} is out of order")
        else:
            place = now


def place_of(
    entry: Entry, records: list[Record], written: dict[str, int]
) -> int | None:
    """Its place among the records, if it is what that says."""
    place = written.get(entry[2] or "")
    if place is None:
        return None
    id, type, _, _ = records[place]
    return place if type == entry[1] and id in (None, entry[0]) else None


def check_end(part: list[Entry], log: list[Entry], verdict: Verdict) -> None:
    """Behind the last gap comes what is left, and nothing before it in this
    part is anything else."""
    behind, before = part, []
    for place, entry in enumerate(part):
        if is_gap(entry):
            before, behind = part[:place], part[place + 1 :]
    if not behind or behind != log[len(log) - len(behind) :]:
        verdict.wrong.append(f"{behind[-1:]} is not the end, {log[-1:]}")
    for entry in before:
        if is_gap(entry) or seq_of(entry) < seq_of(log[0]):
            continue
        if entry not in log:
            verdict.wrong.append(f"nobody said that {entry} is gone")


def judge_log(records: list[Record], log: list[Entry]) -> Verdict:
    """What is left, as one more reader, who came at the end."""
    events = [entry for entry in log if not is_gap(entry)]
    return judge(records, events, log)
