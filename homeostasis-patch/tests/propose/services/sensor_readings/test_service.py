import unittest

from service import mean, parse, summary


class Readings(unittest.TestCase):
    def test_readings_are_grouped(self):
        self.assertEqual(parse(["a;1.5", "b;2", "a;-3"]), {"a": [1.5, -3.0], "b": [2.0]})

    def test_a_sensor_that_says_it_is_being_serviced_has_no_reading(self):
        self.assertEqual(parse(["a;1", "a;n/a", "a;2"]), {"a": [1.0, 2.0]})
        self.assertEqual(parse(["b;n/a"]), {})

    def test_what_is_not_read_counts_nowhere(self):
        found = summary(["a;10", "a;n/a", "a;30", "# end"])
        self.assertEqual(found, {"a": {"mean": 20.0, "spikes": 1, "n": 2}})

    def test_nothing_has_no_mean(self):
        self.assertIsNone(mean([]))

    def test_a_line_that_is_no_text_is_still_an_error(self):
        with self.assertRaises(AttributeError):
            parse([7])


if __name__ == "__main__":
    unittest.main()
