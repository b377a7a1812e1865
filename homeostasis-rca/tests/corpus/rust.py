#!/usr/bin/env python3
"""Builds rust/, runs each of its cases and prints its error as a JSON line.

Usage: python3 rust.py > rust.jsonl. Needs rustc 1.95; RUSTC's own paths are made neutral.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent / "rust"


def neutral(text):
    text = re.sub(r"(?m)^\s+at \S*/rustlib/src/rust/", "             at /rustc/HASH/", text)
    text = re.sub(r"\S*/rustlib/src/rust/", "/rustc/HASH/", text)
    text = re.sub(r"/rustc/[0-9a-f]{40}", "/rustc/HASH", text)
    text = re.sub(r"(thread '[^']*') \(\d+\)", r"\1 (4242)", text)
    return text.replace(str(HERE), ".").strip()


def main():
    with tempfile.TemporaryDirectory() as target:
        environment = {**os.environ, "CARGO_TARGET_DIR": target}
        subprocess.run(["cargo", "build", "-q"], cwd=HERE, env=environment, check=True)
        program = f"{target}/debug/service"
        listed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        counts = {}
        for number, family, category in (line.split() for line in listed.splitlines()):
            counts[family] = counts.get(family, 0) + 1
            done = subprocess.run(
                [program, number], cwd=target, env={"RUST_BACKTRACE": "1"},
                capture_output=True, timeout=20,
            )
            text = neutral(done.stderr.decode(errors="replace"))
            name = f"rs_{family}_{counts[family]}"
            if not text:
                print(f"{name}: no error", file=sys.stderr)
                continue
            row = {"id": name, "family": f"rust_{family}", "language": "rust",
                   "category": category, "text": text}
            print(json.dumps(row, ensure_ascii=False))


main()
