"""Independent reference for `kpi::wilson_interval`: python3 wilson.py > wilson.json

The bounds are found by bisection of the score equation (p - p0)^2 = z^2 p0 (1 - p0) / n, not
through the closed form of the library.
"""
import json
from statistics import NormalDist

z = NormalDist().inv_cdf(0.975)


def bound(x, n, side):
    p = x / n
    f = lambda p0: (p - p0) ** 2 - z * z * p0 * (1 - p0) / n
    inside, outside = p, float(side)
    if f(outside) <= 0:
        return outside
    for _ in range(200):
        middle = (inside + outside) / 2
        if f(middle) <= 0:
            inside = middle
        else:
            outside = middle
    return inside


rows = []
for x, n in [(0, 10), (8, 10), (10, 10), (1, 3), (1, 1), (95, 100), (50, 5000), (12345, 54321)]:
    rows.append({"part": x, "whole": n, "low": bound(x, n, 0), "high": bound(x, n, 1)})
print(json.dumps(rows, indent=0))
