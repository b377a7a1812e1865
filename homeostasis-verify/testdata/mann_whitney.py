"""Independent reference for `rules::KayentaMetric`: python3 mann_whitney.py > mann_whitney.json

The roots of the tie-corrected statistic with continuity correction are found by bisection on the
shift itself, with scipy.stats.rankdata; ours picks them among the sorted differences. Points are
drawn without ties between the arms, so that the roots are jumps.
"""
import json

import numpy as np
from scipy.stats import norm, rankdata

rng = np.random.default_rng(20261122)


def statistic(x, y, shift):
    ranks = rankdata(np.concatenate([x - shift, y]))
    n, m = len(x), len(y)
    off = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
    _, counts = np.unique(ranks, return_counts=True)
    tied = (counts.astype(float) ** 3 - counts).sum()
    sigma = np.sqrt(n * m / 12 * ((n + m + 1) - tied / ((n + m) * (n + m - 1))))
    return (off - np.sign(off) * 0.5) / sigma


def root(x, y, quantile):
    low, high = x.min() - y.max() - 1e-6, x.max() - y.min() + 1e-6
    # Where it comes down to the quantile, and where it leaves it: the middle of both.
    ends = []
    for above in (lambda z: z > quantile, lambda z: z >= quantile):
        a, b = low, high
        for _ in range(60):
            middle = (a + b) / 2
            if above(statistic(x, y, middle)):
                a = middle
            else:
                b = middle
        ends.append(a)
    return sum(ends) / 2


rows = []
for k in range(24):
    n, m = rng.integers(5, 31, 2)
    x = rng.lognormal(0.1 * (k % 5), 0.5, n)
    y = rng.lognormal(0, 0.5, m)
    if k % 4 == 0:
        x[: n // 3] = x[0]
    z = norm.ppf(0.99)
    rows.append(
        dict(
            canary=[round(v, 9) for v in x],
            baseline=[round(v, 9) for v in y],
            low=root(x, y, z),
            high=root(x, y, -z),
            estimate=root(x, y, 0.0),
        )
    )
print(json.dumps(rows))
