import unittest

from service import RateTable, load

ROWS = [("de", "letter", "100"), ("de", "parcel", "500"), ("at", "letter", "90")]


class Rates(unittest.TestCase):
    def setUp(self):
        self.table = load(ROWS)

    def test_a_rate_that_is_listed(self):
        self.assertEqual(self.table.rate("de", 300), 100)
        self.assertEqual(self.table.rate("de", 9000), 500)

    def test_what_is_too_heavy_is_not_shipped(self):
        self.assertIsNone(self.table.rate("de", 99999))

    def test_a_zone_that_is_not_listed_is_not_served(self):
        self.assertIsNone(self.table.rate("ch", 300))

    def test_a_class_that_is_not_listed_is_not_served(self):
        self.assertIsNone(self.table.rate("at", 9000))

    def test_nothing_is_shipped_for_the_surcharge_alone(self):
        table = RateTable({"de": {"letter": 100}}, surcharge=30)
        self.assertEqual(table.rate("de", 100), 130)
        self.assertIsNone(table.rate("fr", 100))

    def test_the_cheapest_zone_is_one_that_is_served(self):
        self.assertEqual(self.table.cheapest_zone(["de", "at", "ch"], 100), "at")
        self.assertIsNone(self.table.cheapest_zone(["ch"], 100))


if __name__ == "__main__":
    unittest.main()
