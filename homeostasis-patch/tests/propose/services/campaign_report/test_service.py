import unittest

from service import conversion, report


def visit(campaign):
    return {"campaign": campaign, "type": "visit"}


def bought(campaign, cents):
    return {"campaign": campaign, "type": "order", "cents": cents}


class Reports(unittest.TestCase):
    def test_conversion_of_a_visited_campaign(self):
        self.assertEqual(conversion({"visits": 3, "orders": 1}), 0.333)

    def test_a_campaign_that_only_sold_by_telephone_converts_nobody(self):
        self.assertEqual(conversion({"visits": 0, "orders": 2}), 0.0)

    def test_its_turnover_is_in_the_report(self):
        rows = report([visit("mail"), bought("mail", 10), bought("phone", 99)])
        self.assertEqual(
            rows,
            [
                {"campaign": "phone", "cents": 99, "conversion": 0.0},
                {"campaign": "mail", "cents": 10, "conversion": 1.0},
            ],
        )

    def test_an_order_without_a_sum_is_still_an_error(self):
        with self.assertRaises(KeyError):
            report([{"campaign": "mail", "type": "order"}])


if __name__ == "__main__":
    unittest.main()
