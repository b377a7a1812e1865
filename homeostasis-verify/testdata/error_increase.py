"""Independent reference for `stats::ErrorIncrease`: python3 error_increase.py > error_increase.json

The mixture is multiplied up from its predictive probabilities (not through the beta function),
the null likelihood is maximized by golden-section search (not through the quadratic).
"""
import json
import math


def log_binomial_mixture(x, s):
    # B(x+1/2, s+1/2) / B(1/2, 1/2) as a product of the sequential predictive probabilities.
    total, seen_x, seen = 0.0, 0, 0
    for outcome in [1] * x + [0] * s:
        p = (seen_x + 0.5) / (seen + 1.0)
        total += math.log(p if outcome else 1.0 - p)
        seen_x += outcome
        seen += 1
    return total


def loglik(x, s, p):
    return (x * math.log(p) if x else 0.0) + (s * math.log1p(-p) if s else 0.0)


def log_null(b, a, ratio):
    rate_b = b[0] / sum(b)
    rate_a = a[0] / sum(a)
    if rate_a <= ratio * rate_b:
        return loglik(*b, rate_b) + loglik(*a, rate_a)
    f = lambda p: loglik(*b, p) + loglik(*a, ratio * p)
    lo, hi = 1e-15, (1 - 1e-15) / ratio
    g = (math.sqrt(5) - 1) / 2
    for _ in range(400):
        c, d = hi - g * (hi - lo), lo + g * (hi - lo)
        if f(c) > f(d):
            hi = d
        else:
            lo = c
    return f((lo + hi) / 2)


rows = []
for before in [(0, 10), (0, 60), (3, 57), (30, 30), (9, 1), (50, 4950)]:
    for after in [(4, 1), (1, 59), (20, 40), (200, 800)]:
        for ratio in [1.0, 1.5]:
            log_e = log_binomial_mixture(*before) + log_binomial_mixture(*after) - log_null(before, after, ratio)
            rows.append({"before": before, "after": after, "ratio": ratio, "log_e": log_e})
print(json.dumps(rows, indent=0))
