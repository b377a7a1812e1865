"""How fast the kernels' peers in Python are, on a series like that of `benches/kernels.rs`.

    pip install numpy pandas river
    python3 benches/peers/kernels.py

Prints one line of samples a second for each: rolling z-scores and interquartile ranges of pandas over 100 samples, its
exponentially weighted z-score, the same EWMA as a loop over a numpy array, and river sample by sample. All on one thread,
the best of some runs; a library that is not installed is named and left out.
"""

import importlib
import math
import random
import time

N = 100_000


def series():
    rng = random.Random(7)
    for minute in range(N):
        wave = 3 * math.sin(2 * math.pi * minute / 1440)
        yield 100 + wave + rng.gauss(0, 1) + (40 if minute % 997 == 0 else 0)


def timed(name, run, n=N, times=5):
    best = math.inf
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    print(f"{name:32} {n / best / 1e6:10.3f} M/s", flush=True)


def library(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name:32} not installed, left out", flush=True)
        return None


def main():
    values = list(series())
    numpy, pandas, river = library("numpy"), library("pandas"), library("river")
    if numpy:
        array = numpy.array(values)

        def loop():
            mean, deviation, found = array[0], 1.0, 0
            for value in array:
                delta = value - mean
                found += abs(delta) > 3 * deviation
                mean += 0.3 * delta
                deviation += 0.05 * (abs(delta) - deviation)
            return found

        def vectorized():
            windows = numpy.lib.stride_tricks.sliding_window_view(array, 100)[:-1]
            return (array[100:] - windows.mean(axis=1)) / windows.std(axis=1, ddof=1)

        timed("numpy: EWMA in a loop", loop, times=2)
        timed("numpy: rolling z of 100", vectorized)
    if pandas:
        column = pandas.Series(values)

        def ewma():
            past = column.ewm(alpha=0.3, adjust=False)
            return (column - past.mean().shift()) / past.std().shift()

        def rolling():
            past = column.rolling(100)
            return (column - past.mean().shift()) / past.std().shift()

        def quartiles():
            past = column.rolling(100)
            return past.quantile(0.75) - past.quantile(0.25)

        timed("pandas: EWMA z", ewma)
        timed("pandas: rolling z of 100", rolling)
        timed("pandas: rolling IQR of 100", quartiles, times=2)
    if river:
        drift = importlib.import_module("river.drift")
        stats = importlib.import_module("river.stats")
        utils = importlib.import_module("river.utils")
        part = values[:20_000]

        def one_by_one(make):
            def run():
                model = make()
                for value in part:
                    model.update(value)

            return run

        timed("river: EWMean", one_by_one(lambda: stats.EWMean(0.3)), len(part), 3)
        timed("river: Rolling(Var, 100)", one_by_one(lambda: utils.Rolling(stats.Var, window_size=100)), len(part), 3)
        timed("river: RollingIQR(100)", one_by_one(lambda: stats.RollingIQR(100)), len(part), 3)
        timed("river: PageHinkley", one_by_one(drift.PageHinkley), len(part), 3)
        timed("river: ADWIN", one_by_one(drift.ADWIN), len(part), 3)


main()
