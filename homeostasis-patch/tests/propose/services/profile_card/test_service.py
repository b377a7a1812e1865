import unittest

from service import Address, Customer, card, place


class Cards(unittest.TestCase):
    def test_a_customer_at_home(self):
        customer = Customer("Ada Byron", Address("Ring 1", " Jena "))
        self.assertEqual(card(customer), ["Ada Byron [AB]", "Jena"])

    def test_a_customer_abroad(self):
        customer = Customer("Bo", Address("Gade 2", "Aarhus", "DK"), ["vip"])
        self.assertEqual(card(customer), ["Bo [B]", "Aarhus (DK)", "VIP"])

    def test_a_customer_without_an_address_has_no_place(self):
        self.assertEqual(place(Customer("Cy")), "")

    def test_the_rest_of_the_card_of_a_customer_without_an_address_is_there(self):
        self.assertEqual(card(Customer("Cy Dee", tags=["trial"])), ["Cy Dee [CD]", "TRIAL"])

    def test_what_is_no_customer_is_still_an_error(self):
        with self.assertRaises(AttributeError):
            place("Cy")


if __name__ == "__main__":
    unittest.main()
