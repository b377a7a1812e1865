"""Sessions in memory, which end after a while."""


class SessionCache:
    """Keeps at most `size` sessions, each for `ttl` seconds after its last use."""

    def __init__(self, size, ttl):
        self.size = size
        self.ttl = ttl
        self.sessions = {}
        self.n_evicted = 0

    def put(self, key, user, now):
        if len(self.sessions) >= self.size:
            self.evict(now)
        if key not in self.sessions and len(self.sessions) >= self.size:
            self.drop_oldest()
        self.sessions[key] = (user, now)

    def get(self, key, now):
        found = self.sessions.get(key)
        if found is None:
            return None
        user, used = found
        if now - used > self.ttl:
            del self.sessions[key]
            return None
        self.sessions[key] = (user, now)
        return user

    def evict(self, now):
        """Removes what has ended; how many."""
        before = self.n_evicted
        for key, (_, used) in self.sessions.items():
            if now - used > self.ttl:
                del self.sessions[key]
                self.n_evicted += 1
        return self.n_evicted - before

    def drop_oldest(self):
        oldest = min(self.sessions, key=lambda key: self.sessions[key][1])
        del self.sessions[oldest]
