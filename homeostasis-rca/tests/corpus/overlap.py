#!/usr/bin/env python3
"""Tells which messages of the corpus other labelled errors have, too.

Usage: python3 overlap.py OTHER.jsonl. Of Python the last line counts as the message, of Rust what is
said of the panic; numbers, addresses and names of threads do not matter.
"""
import json
import pathlib
import re
import sys

PYTHON_FRAME = re.compile(r"File |Traceback|[~^]|During |The above")
RUST_FRAME = re.compile(r"\d+: |at |note: |stack backtrace")


def message(row):
    lines = [line.strip() for line in row["text"].splitlines() if line.strip()]
    if row["language"] == "python":
        lines = [line for line in lines if not PYTHON_FRAME.match(line)][-1:]
    else:
        lines = [line for line in lines if not RUST_FRAME.match(line)]
    text = re.sub(r"panicked at \S+", "panicked", "\n".join(lines))
    text = re.sub(r"thread '[^']*' \(\d+\)", "thread", text)
    return row["language"], re.sub(r"\d+", "0", re.sub(r"0x[0-9a-f]+", "0", text))


def rows(path):
    lines = pathlib.Path(path).read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def main():
    here = pathlib.Path(__file__).parent
    ours = rows(here / "python.jsonl") + rows(here / "rust.jsonl")
    others = rows(sys.argv[1])
    both = {message(row) for row in ours} & {message(row) for row in others}
    of = [row["id"] for row in ours if message(row) in both]
    hit = [row["id"] for row in others if message(row) in both]
    print(f"{len(both)} messages in both: {len(of)} of {len(ours)} of the corpus, "
          f"{len(hit)} of {len(others)} others")
    for language, text in sorted(both):
        print(f"{language}: {text!r}")


main()
