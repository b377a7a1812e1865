import unittest

from service import Ledger


class Transfers(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger({"ada": 1000, "bo": 0})

    def test_money_moves_and_none_is_made(self):
        self.assertTrue(self.ledger.transfer("ada", "bo", 400))
        self.assertEqual(self.ledger.balances, {"ada": 600, "bo": 400})
        self.assertEqual(self.ledger.total(), 1000)

    def test_nobody_spends_what_is_not_there(self):
        self.assertFalse(self.ledger.transfer("bo", "ada", 1))
        self.assertEqual(self.ledger.entries, [])

    def test_a_fee_too_small_to_be_charged_is_waived(self):
        self.assertTrue(self.ledger.fee("ada", 90, 10))
        self.assertEqual(self.ledger.entries, [])

    def test_a_transfer_below_zero_is_still_an_error(self):
        with self.assertRaises(AssertionError):
            self.ledger.transfer("ada", "bo", -5)


if __name__ == "__main__":
    unittest.main()
