"""When a request that failed is sent again."""

import random


class Backoff:
    """Waits longer after each failure, up to a limit, with some chance against herds."""

    def __init__(self, base=0.5, limit=60.0, jitter=0.0, rng=None):
        if base <= 0 or limit < base:
            raise ValueError("expected 0 < base <= limit")
        self.base = base
        self.limit = limit
        self.jitter = jitter
        self.rng = rng or random.Random()

    def delay(self, attempt):
        """Seconds before the attempt of this number, from 0."""
        grown = self.base * 2.0 ** attempt
        delay = min(grown, self.limit)
        if self.jitter:
            delay -= delay * self.jitter * self.rng.random()
        return delay


class Retries:
    """The next attempt of each request."""

    def __init__(self, backoff):
        self.backoff = backoff
        self.failures = {}

    def failed(self, request, now):
        """Notes a failure; when the request is sent again."""
        n = self.failures.get(request, 0)
        self.failures[request] = n + 1
        return now + self.backoff.delay(n)

    def succeeded(self, request):
        self.failures.pop(request, None)
