import unittest

from service import discount, line_total, totals


def order(**more):
    lines = [{"quantity": 2, "unit_price": 1000}, {"quantity": 1, "unit_price": 500}]
    return {"lines": lines, **more}


class Totals(unittest.TestCase):
    def test_a_guest_pays_goods_and_shipping(self):
        self.assertEqual(totals(order()).payable, 2500 + 490)

    def test_a_member_with_a_level_gets_its_percents(self):
        member = order(customer="member", loyalty_level=3)
        self.assertEqual(discount(member, 2500), 125)

    def test_a_member_without_a_level_gets_the_basic_two_percent(self):
        member = order(customer="member")
        self.assertEqual(discount(member, 2500), 50)
        self.assertEqual(totals(member).payable, 2450 + 490)

    def test_the_voucher_of_a_member_without_a_level_still_counts(self):
        member = order(customer="member", voucher=500)
        self.assertEqual(discount(member, 2500), 500 + 40)

    def test_a_line_without_a_price_is_still_an_error(self):
        with self.assertRaises(KeyError):
            line_total({"quantity": 1})
        with self.assertRaises(ValueError):
            line_total({"quantity": -1, "unit_price": 5})


if __name__ == "__main__":
    unittest.main()
