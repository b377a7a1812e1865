#!/usr/bin/env python3
"""The peer of the suite `logs`: drain3, with its defaults, on the same lines, in the same measure.

usage: logs.py --data DIR --packages DIR [--rounds N]

Installs drain3 from PyPI into the folder of --packages unless it is there, reads the layout of loghub
(<System>/<System>_2k.log_structured.csv or <System>_full.log_structured.csv), and prints one JSON object:
grouping accuracy and F1 per system and their means, and lines a second over all systems (one core, median of
N rounds). What drain3 makes of a line is the cluster it names when all lines were read.
"""

import argparse
import collections
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time

PACKAGE = "drain3==0.9.11"


def drain3(folder):
    """The modules of drain3, installed into `folder`."""
    if not (folder / "drain3").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), PACKAGE]
        subprocess.run(command, check=True, stdout=sys.stderr)
    sys.path.insert(0, str(folder))
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    return lambda: TemplateMiner(config=TemplateMinerConfig())


def read(data):
    """Name, contents and true groups of every system."""
    csv.field_size_limit(10**9)
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        files = [folder / f"{folder.name}_{size}.log_structured.csv" for size in ("2k", "full")]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            continue
        with open(file, newline="", encoding="utf-8", errors="replace") as handle:
            rows = list(csv.DictReader(handle))
        yield folder.name, [row["Content"] for row in rows], [row["EventId"] for row in rows]


def score(truth, found):
    """Grouping accuracy and its F1."""
    true_groups, found_groups = collections.defaultdict(list), collections.defaultdict(list)
    for line, (one, other) in enumerate(zip(truth, found, strict=True)):
        true_groups[one].append(line)
        found_groups[other].append(line)
    exact = {tuple(lines) for lines in true_groups.values()}
    right = [lines for lines in found_groups.values() if tuple(lines) in exact]
    precision, recall = len(right) / len(found_groups), len(right) / len(true_groups)
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"grouping_accuracy": sum(map(len, right)) / len(truth), "f1": f1}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="labelled logs in the layout of loghub")
    parser.add_argument("--packages", type=pathlib.Path, required=True, help="where drain3 is, or is installed")
    parser.add_argument("--rounds", type=int, default=3, help="how often the lines are timed (default 3)")
    options = parser.parse_args()
    miner = drain3(options.packages)
    systems = list(read(options.data))
    if not systems:
        sys.exit(f"{options.data}: expected <System>/<System>_2k.log_structured.csv")
    by_system = {}
    for name, lines, truth in systems:
        one = miner()
        ids = [one.add_log_message(line)["cluster_id"] for line in lines]
        by_system[name] = score(truth, ids)
    everything = [line for _, lines, _ in systems for line in lines]
    speeds = []
    for _ in range(options.rounds):
        one, began = miner(), time.perf_counter()
        for line in everything:
            one.add_log_message(line)
        speeds.append(len(everything) / (time.perf_counter() - began))
    mean = {key: statistics.mean(found[key] for found in by_system.values()) for key in ("grouping_accuracy", "f1")}
    print(json.dumps({"peer": PACKAGE, **mean, "lines_per_second": statistics.median(speeds), "by_system": by_system}))


if __name__ == "__main__":
    main()
