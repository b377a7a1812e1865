import random
import unittest

from service import Backoff, Retries


class Delays(unittest.TestCase):
    def test_delays_double_up_to_the_limit(self):
        backoff = Backoff(base=1.0, limit=10.0)
        self.assertEqual([backoff.delay(n) for n in range(6)], [1, 2, 4, 8, 10, 10])

    def test_after_very_many_failures_the_limit_still_holds(self):
        backoff = Backoff(base=1.0, limit=10.0)
        for n in (1000, 1024, 5000):
            self.assertEqual(backoff.delay(n), 10.0)

    def test_jitter_shortens_the_limit_too(self):
        backoff = Backoff(base=1.0, limit=10.0, jitter=0.5, rng=random.Random(1))
        for n in (3, 2000):
            self.assertTrue(4.0 <= backoff.delay(n) <= 10.0)

    def test_a_request_that_fails_for_weeks_is_still_sent(self):
        retries = Retries(Backoff(base=0.5, limit=60.0))
        retries.failures["a"] = 4000
        self.assertEqual(retries.failed("a", 100.0), 160.0)
        self.assertEqual(retries.failures["a"], 4001)

    def test_success_begins_anew(self):
        retries = Retries(Backoff(base=0.5))
        retries.failed("a", 0)
        retries.succeeded("a")
        self.assertEqual(retries.failed("a", 0), 0.5)

    def test_limits_that_make_no_sense_are_still_an_error(self):
        with self.assertRaises(ValueError):
            Backoff(base=0)


if __name__ == "__main__":
    unittest.main()
