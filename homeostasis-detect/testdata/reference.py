"""Reference values for the EWMA and moving-average kernels, beside this script as reference.csv.

Run it with `python3 reference.py > reference.csv`; it needs nothing but the standard library.
Means and deviations are computed with 50 decimal digits (EWMA) and as exact fractions (moving average) from the
definitions in the documentation of the kernels, without incremental updates for the moving average.
Columns: seconds, value, and for each kernel the mean, the standard deviation and the surprise in nats with which the
value was judged before it was learned; empty while the kernel warms up.
"""

import math
import random
from decimal import Decimal, getcontext
from fractions import Fraction

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


def main():
    points = list(series())
    print("seconds,value,ewma_mean,ewma_spread,ewma_surprise,window_mean,window_spread,window_surprise")
    for (at, value), a, b in zip(points, ewma(points), moving_average(points)):
        cells = [at, repr(value)]
        for judged in (a, b):
            cells += [repr(x) for x in judged] if judged else ["", "", ""]
        print(",".join(map(str, cells)))


main()
