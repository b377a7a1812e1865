import unittest

from service import alert, alerts


def item(sku, stock, sold_per_day):
    return {"sku": sku, "stock": stock, "sold_per_day": sold_per_day}


class Alerts(unittest.TestCase):
    def test_enough_stock_needs_no_alert(self):
        self.assertIsNone(alert(item("a", 100, 1), 7))
        self.assertIsNone(alert(item("a", 0, 0), 7))

    def test_what_runs_out_is_told(self):
        self.assertEqual(alert(item("a", 5, 1), 7).text, "sold out in 5.0 days")
        self.assertEqual(alert(item("a", 10, 1), 7).text, "order within 3.0 days")

    def test_what_is_sold_out_is_told_with_the_time_to_wait(self):
        self.assertEqual(alert(item("a", 0, 2), 7), ("a", "empty", "sold out, 7 days to wait"))
        self.assertEqual(alert(item("a", 0, 2), 3).text, "sold out, 3 days to wait")

    def test_the_most_urgent_comes_first(self):
        found = alerts([item("c", 10, 1), item("b", 0, 1), item("a", 5, 1)])
        self.assertEqual([one.sku for one in found], ["b", "a", "c"])


if __name__ == "__main__":
    unittest.main()
