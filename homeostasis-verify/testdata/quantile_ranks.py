"""Independent reference for `stats::quantile_ranks`: python3 quantile_ranks.py > quantile_ranks.json

scipy's betaln instead of ours, and a linear search from the outside instead of halving.
Rows: n, p, alpha, low, high.
"""
import json
import math

from scipy.special import betaln

W = 200.0
rows = []
for n in [1, 10, 60, 200, 1000, 5000, 20000]:
    for p in [0.5, 0.9, 0.95, 0.99]:
        for alpha in [0.05, 0.005]:
            a, b = W * p, W * (1 - p)

            def refuted(k):
                log_e = betaln(k + a, n - k + b) - betaln(a, b)
                log_e -= k * math.log(p) + (n - k) * math.log(1 - p)
                return log_e >= -math.log(alpha)

            low = high = None
            if refuted(0):
                low = 0
                while refuted(low):
                    low += 1
            if refuted(n):
                high = n
                while refuted(high - 1):
                    high -= 1
            rows.append([n, p, alpha, low, high])
print(json.dumps(rows))
