#!/usr/bin/env python3
"""Turns results into the table: for a terminal, or as Markdown into a file.

    bench/report.py build/bench/results.json
    bench/report.py build/bench/results.json --update docs/benchmarks.md

The file has marks for all tables together and, behind them, for a table that was
measured by itself later, which a run of everything empties again."""

import argparse
import json
from pathlib import Path
from statistics import median

BEGIN = "<!-- {}: written by bench/report.py -->"
END = "<!-- end of {} -->"
TABLES = {
    "lines": ("raw", "nchan"),
    "client": ("node", "fetch"),
    "store": ("rpush", "plain", "evalsha"),
    "python": ("sse-starlette", "fastapi"),
}


def values(line, server):
    return [v for v in line["values"].get(server, []) if v is not None]


def middle(line, server):
    found = values(line, server)
    return median(found) if found else None


def ratio(line, server):
    """The median of the ratios within each round."""
    pairs = zip(line["values"].get("ours", []), line["values"].get(server, []))
    found = [a / b for a, b in pairs if a is not None and b]
    return median(found) if found else None


def verdict(line, limits):
    """`ok` or `MISSED`; `?` while something it needs was not measured."""
    if not limits:
        return ""
    said = []
    for limit in limits:
        value = ratio(line, limit["to"]) if limit["to"] else middle(line, "ours")
        if value is None:
            said.append("?")
        elif limit["least"]:
            said.append("ok" if value >= limit["bound"] else "MISSED")
        else:
            said.append("ok" if value <= limit["bound"] else "MISSED")
    return "MISSED" if "MISSED" in said else "?" if "?" in said else "ok"


def number(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def columns(peers):
    return [
        "row",
        "what",
        "ours",
        *peers,
        *(f"x {peer}" for peer in peers),
        "must",
        "",
        "goal",
        "",
    ]


def cells(line, peers):
    digits = line["digits"]
    middles = [middle(line, server) for server in ("ours", *peers)]
    return [
        line["row"],
        line["what"],
        *(number(value, digits) for value in middles),
        *(number(ratio(line, peer), 2) for peer in peers),
        ", ".join(limit["text"] for limit in line["must"]),
        verdict(line, line["must"]),
        ", ".join(limit["text"] for limit in line["goal"]),
        verdict(line, line["goal"]),
    ]


def heading(results):
    return (
        f"{results['when']}, {results['machine']}; "
        f"{results['rounds']} rounds"
        f"{', quick: for orientation only' if results['quick'] else ''}"
    )


def tables(results):
    """Those that have lines: the names of the columns, and the cells."""
    return [
        [columns(peers)] + [cells(line, peers) for line in results[name]]
        for name, peers in TABLES.items()
        if results.get(name)
    ]


def is_left(table, column):
    """The columns of words: what is measured, and the four of the bounds."""
    return column == 1 or column >= len(table[0]) - 4


def table_as_text(table):
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [""] + [
        "  ".join(
            cell.ljust(width) if is_left(table, i) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    ]


def table_as_markdown(table):
    names, *rest = table
    return [
        "",
        "| " + " | ".join(names) + " |",
        "|---|---" + "|--:" * (len(names) - 6) + "|---" * 4 + "|",
    ] + ["| " + " | ".join(row) + " |" for row in rest]


def as_text(results):
    lines = [heading(results)]
    for table in tables(results):
        lines += table_as_text(table)
    return "\n".join(lines + notes(results)) + "\n"


def as_markdown(results):
    lines = [heading(results) + "."]
    for table in tables(results):
        lines += table_as_markdown(table)
    for name, text in results.get("parser", {}).items():
        lines += ["", f"`{name}`:", "", "```", text.rstrip(), "```"]
    return "\n".join(lines + notes(results)) + "\n"


def notes(results):
    return [""] + results["notes"] if results["notes"] else []


def put(text, name, inside):
    """The text with something else between the marks of that name."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{inside}{end}{after}"


def update(path, results):
    """Puts the tables between their marks in the file."""
    text = path.read_text()
    measured = [name for name in TABLES if results.get(name)]
    alone = len(measured) == 1 and BEGIN.format(measured[0]) in text
    text = put(text, measured[0] if alone else "results", f"\n{as_markdown(results)}\n")
    for name in () if alone else measured:
        if BEGIN.format(name) in text:
            text = put(text, name, "")
    path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--update", type=Path, metavar="FILE")
    args = parser.parse_args()
    results = json.loads(args.results.read_text())
    if args.update:
        update(args.update, results)
    else:
        print(as_text(results), end="")


if __name__ == "__main__":
    main()
