#!/usr/bin/env python3
"""Peers of the detectors of rows, on the same data in one run.

Needs numpy and scikit-learn; river is measured too where it is installed.

    cargo build --release -p homeostasis-quality
    python3 benches/peers/multivariate.py --data DIR [--suite target/release/homeostasis-quality]

DIR holds entities in the layout of ASD and SMD: DIR[/set]/entity/{train,test}.csv.gz, test_label.csv.
With --suite ours is run before and after the peers, with the same data, so that a busy machine shows.
The last line is one JSON object: mean area under the ROC curve, and rows a second on 100,000 rows of six features.
"""
import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

SEEDS = 5
ROUNDS = 5
ROWS_ONE_BY_ONE = 50


def table(folder, name):
    packed = folder / f"{name}.csv.gz"
    source = gzip.open(packed, "rt") if packed.exists() else open(folder / f"{name}.csv")
    with source:
        return np.genfromtxt(source, delimiter=",", skip_header=1)


def entities(data):
    found = sorted({path.parent for pattern in ("*/test.csv*", "*/*/test.csv*") for path in Path(data).glob(pattern)})
    if not found:
        sys.exit(f"{data}: expected <entity>/test.csv.gz")
    return found


def forest(seed):
    return IsolationForest(n_estimators=100, max_samples=256, random_state=seed, n_jobs=1)


def area(data):
    """The mean over entities of the mean over seeds, and the spread between seeds."""
    areas = []
    for folder in entities(data):
        train, test, labels = (table(folder, name) for name in ("train", "test", "test_label"))
        if 0 < labels.sum() < len(labels):
            areas.append([roc_auc_score(labels, -forest(seed).fit(train).score_samples(test)) for seed in range(SEEDS)])
    by_seed = np.mean(areas, axis=0)
    return {"auc_roc": float(by_seed.mean()), "auc_roc_by_seed": [round(float(value), 4) for value in by_seed]}


def speed():
    rows = np.random.default_rng(6).normal(size=(100_000, 6))
    at_once = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        fitted = forest(0).fit(rows)
        fitted.score_samples(rows)
        at_once.append(len(rows) / (time.perf_counter() - began))
    began = time.perf_counter()
    for row in rows[:ROWS_ONE_BY_ONE]:
        fitted.score_samples(row[None])
    one_by_one = ROWS_ONE_BY_ONE / (time.perf_counter() - began)
    return {
        "fit_and_score_rows_per_second": float(np.median(at_once)),
        "row_by_row_rows_per_second": one_by_one,
    }


def half_space_trees():
    try:
        from river.anomaly import HalfSpaceTrees
    except ImportError:
        return None
    model = HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=0)
    rows = [dict(enumerate(row)) for row in np.random.default_rng(6).uniform(size=(2_000, 6))]
    began = time.perf_counter()
    for row in rows:
        model.score_one(row)
        model.learn_one(row)
    return {"row_by_row_rows_per_second": len(rows) / (time.perf_counter() - began)}


def ours(suite, data):
    command = [suite, "multivariate", "--data", data, "--detector", "isolation_forest"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    report = json.loads(lines.stdout.splitlines()[-1])
    return {"auc_roc": report["auc_roc"], **report["speed_100000_x_6"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--suite")
    options = parser.parse_args()
    report = {}
    if options.suite:
        report["ours_before"] = ours(options.suite, options.data)
    report["scikit-learn IsolationForest"] = {**area(options.data), **speed()}
    report["river HalfSpaceTrees"] = half_space_trees()
    if options.suite:
        report["ours_after"] = ours(options.suite, options.data)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
