"""Independent reference for `stats::FailureSplit`: python3 failure_split.py > failure_split.json

Moments by adaptive integration (scipy.integrate.quad) instead of nine nodes; likelihoods by
scipy.stats.betabinom instead of our own beta function, without the binomial coefficient.
"""
import json
import math

from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import betabinom, norm

rows = []
for requests in [(300, 300), (20, 80), (300, 2700), (5000, 1000)]:
    for failures in [(0, 1), (3, 2), (15, 40)]:
        for ratio, noise in [(1.0, 0.09), (1.0, 0.36), (2.5, 0.02), (6.0, 0.36)]:
            odds = requests[0] * ratio / requests[1]
            sd = math.sqrt(2 * noise)

            def share(s):
                return odds * math.exp(s) / (1 + odds * math.exp(s))

            mean = quad(lambda s: share(s) * norm.pdf(s, 0, sd), -12 * sd, 12 * sd)[0]
            square = quad(lambda s: share(s) ** 2 * norm.pdf(s, 0, sd), -12 * sd, 12 * sd)[0]
            variance = square - mean**2
            precision = mean * (1 - mean) / variance - 1
            n, x = sum(failures), failures[0]
            choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
            law = betabinom(n, mean * precision, (1 - mean) * precision)
            rows.append(
                dict(
                    requests=requests,
                    failures=failures,
                    ratio=ratio,
                    noise=noise,
                    mean=mean,
                    correlation=1 / (1 + precision),
                    log_likelihood=law.logpmf(x) - choose,
                )
            )
print(json.dumps(rows, indent=0))
