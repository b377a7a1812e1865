"""Reference values for the EWMA, moving-average, IQR and MAD kernels, beside this script as reference.csv.

Run it with `python3 reference.py > reference.csv`; it needs nothing but the standard library.
Means and deviations are computed with 50 decimal digits (EWMA) and as exact fractions (the others) from the
definitions in the documentation of the kernels, without incremental updates for the windows.
Columns: seconds, value, and for each kernel the middle of what it expects (for IQR that of the fences), a sixth of the
width of what it expects, and the surprise in nats with which the value was judged before it was learned; empty while the
kernel warms up.
"""

import math
import random
from decimal import Decimal, getcontext
from fractions import Fraction
from statistics import NormalDist

getcontext().prec = 50

ALPHA, DEVIATION_ALPHA, K, WARM_UP = Decimal("0.3"), Decimal("0.05"), 3, 20
WINDOW, WINDOW_WARM_UP = 100, 30
PI = Decimal("3.14159265358979323846264338327950288419716939937511")
SIGMA = (PI / 2).sqrt()
FLOOR, RELATIVE_FLOOR = Decimal("1e-6"), Decimal("1e-9")


def series():
    """Noise, an outlier, a constant stretch, a level shift, large values, a pause of ten minutes, noise again."""
    rng = random.Random(20261122)
    at = 0
    for i in range(500):
        value = rng.gauss(10, 1)
        if i == 120:
            value = 60.0
        if 150 <= i < 180:
            value = 10.5
        if 200 <= i < 260:
            value += 25
        if 300 <= i < 310:
            value = 1e9 + rng.random()
        at += 600 if i == 350 else 10
        yield at, value


def nats(z):
    return 2 * math.log(math.hypot(1, z))


def ewma(points):
    mean = deviation = last = interval = None
    for n, (at, value) in enumerate(points):
        x = Decimal(value)
        steps = Decimal(1)
        if interval is not None and at - last > 2 * interval:
            steps = Decimal(at - last) / interval
        out = None
        if n >= WARM_UP:
            spread = max(SIGMA * deviation, FLOOR, RELATIVE_FLOOR * abs(mean))
            spread *= (1 + (steps - 1) * ALPHA**2).sqrt()
            out = (float(mean), float(spread), nats(float((x - mean) / spread)))
        if n == 0:
            mean, deviation = x, Decimal(0)
        else:
            passed = Decimal(at - last)
            if interval is None:
                interval = passed
            else:
                interval += Decimal("0.1") * (min(passed, 2 * interval) - interval)
            delta = x - mean
            if n >= WARM_UP:
                delta = max(-K * spread, min(K * spread, delta))
            alpha = 1 - (1 - ALPHA) ** steps
            mean += max(alpha, Decimal(1) / (n + 1)) * delta
            deviation += max(DEVIATION_ALPHA, Decimal(1) / n) * (abs(delta) - deviation)
        last = at
        yield out


def moving_average(points):
    values = [Fraction(value) for _, value in points]
    for n, value in enumerate(values):
        window = values[max(0, n - WINDOW):n]
        if len(window) < WINDOW_WARM_UP:
            yield None
            continue
        mean = sum(window) / len(window)
        variance = sum((x - mean) ** 2 for x in window) / (len(window) - 1)
        exact = Decimal(variance.numerator) / Decimal(variance.denominator)
        spread = max(float(exact.sqrt()), 1e-6, 1e-9 * abs(float(mean)))
        yield float(mean), spread, nats(float(value - mean) / spread)


def quantile(ordered, share):
    """Definition 7 of Hyndman and Fan, as an exact fraction."""
    place = share * (len(ordered) - 1)
    below = place.numerator // place.denominator
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def windows(points):
    values = [Fraction(value) for _, value in points]
    for n, value in enumerate(values):
        window = sorted(values[max(0, n - WINDOW):n])
        yield value, window if len(window) >= WINDOW_WARM_UP else None


def iqr(points):
    for value, window in windows(points):
        if window is None:
            yield None
            continue
        first, median, third = (quantile(window, Fraction(part, 4)) for part in (1, 2, 3))
        spread = max(float(third - first), 1e-6, 1e-9 * abs(float(median)))
        low, high = float(first) - 1.5 * spread, float(third) + 1.5 * spread
        sigma = spread / (2 * NormalDist().inv_cdf(0.75))
        yield (low + high) / 2, (high - low) / 6, nats(float(value - median) / sigma)


def mad(points):
    for value, window in windows(points):
        if window is None:
            yield None
            continue
        half = Fraction(1, 2)
        median = quantile(window, half)
        distance = quantile(sorted(abs(x - median) for x in window), half)
        spread = max(float(distance) / NormalDist().inv_cdf(0.75), 1e-6, 1e-9 * abs(float(median)))
        yield float(median), spread, nats(float(value - median) / spread)


def main():
    points = list(series())
    kernels = {"ewma": ewma, "window": moving_average, "iqr": iqr, "mad": mad}
    print("seconds,value," + ",".join(f"{name}_{part}" for name in kernels for part in ("mean", "spread", "surprise")))
    rows = zip(*(kernel(points) for kernel in kernels.values()))
    for (at, value), row in zip(points, rows):
        cells = [at, repr(value)]
        for judged in row:
            cells += [repr(x) for x in judged] if judged else ["", "", ""]
        print(",".join(map(str, cells)))


main()
