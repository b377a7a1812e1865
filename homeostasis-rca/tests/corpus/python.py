#!/usr/bin/env python3
"""Runs each program of python.cases and prints its error as a JSON line.

Usage: python3 python.py [CASES] > python.jsonl. Needs CPython 3.11 and, for the cases "as nobody",
root. Each program runs in a temporary folder of its own and keeps its files there. What differs between
machines and runs is made neutral: paths, addresses of objects, ports, ids of threads.
"""
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile

LIBRARY = sysconfig.get_paths()["stdlib"]
NOBODY = 65534


def cases(text):
    head, body = None, []
    for line in text.splitlines():
        if line.startswith("## "):
            if head:
                yield head, "\n".join(body).strip() + "\n"
            head, body = line[3:].split(), []
        elif head:
            body.append(line)
    yield head, "\n".join(body).strip() + "\n"


def neutral(text, folder):
    text = text.replace(str(folder), "/srv/app").replace(LIBRARY, "/usr/lib/python3.11")
    text = re.sub(r"0x[0-9a-f]{8,}", "0x7f0000000000", text)
    text = re.sub(r"'127\.0\.0\.1', \d{4,5}", "'127.0.0.1', 40000", text)
    text = re.sub(r"thread id \d{6,}", "thread id 140000000000000", text)
    text = re.sub(r"/tmp/tmp\w+", "/tmp/tmp00000000", text)
    return re.sub(r"after 0\.\d+ seconds", "after 0.05 seconds", text).strip()


def prepare(options):
    def run():
        if options[:1] == ["limit"]:
            limit = int(options[2])
            resource.setrlimit(getattr(resource, options[1]), (limit, limit))
        if options[:1] == ["as"]:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)

    return run


def main():
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).with_suffix(".cases")
    counts = {}
    for (family, category, *options), source in cases(path.read_text()):
        counts[family] = counts.get(family, 0) + 1
        name = f"py_{family}_{counts[family]}"
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            program = pathlib.Path(folder) / "service.py"
            program.write_text(source)
            environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(
                [sys.executable, str(program)], cwd=folder, env=environment,
                capture_output=True, timeout=20, preexec_fn=prepare(options),
            )
            text = neutral(done.stderr.decode(errors="replace"), folder)
        if not text:
            print(f"{name}: no error", file=sys.stderr)
            continue
        row = {"id": name, "family": family, "language": "python", "category": category, "text": text}
        print(json.dumps(row, ensure_ascii=False))


main()
