import unittest

from service import SessionCache


class Cache(unittest.TestCase):
    def test_a_session_is_kept_as_long_as_it_is_used(self):
        cache = SessionCache(2, 10)
        cache.put("a", "ada", 0)
        self.assertEqual([cache.get("a", at) for at in (5, 14, 30)], ["ada", "ada", None])

    def test_all_that_has_ended_is_evicted_and_nothing_else(self):
        cache = SessionCache(9, 10)
        for number, key in enumerate("abcd"):
            cache.put(key, key, number)
        self.assertEqual(cache.evict(12), 2)
        self.assertEqual(sorted(cache.sessions), ["c", "d"])
        self.assertEqual(cache.n_evicted, 2)

    def test_nothing_is_evicted_of_what_is_fresh(self):
        cache = SessionCache(9, 10)
        cache.put("a", "ada", 0)
        self.assertEqual(cache.evict(5), 0)

    def test_a_full_cache_makes_room(self):
        cache = SessionCache(2, 10)
        for number, key in enumerate("abc"):
            cache.put(key, key, number)
        self.assertEqual(sorted(cache.sessions), ["b", "c"])

    def test_a_full_cache_of_ended_sessions_is_emptied(self):
        cache = SessionCache(2, 10)
        cache.put("a", "ada", 0)
        cache.put("b", "bo", 1)
        cache.put("c", "cy", 50)
        self.assertEqual(sorted(cache.sessions), ["c"])


if __name__ == "__main__":
    unittest.main()
