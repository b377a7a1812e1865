import unittest

from service import Carrier, choose, plan

POST = Carrier("post", 2000, 300, ("DE", "AT"))
TRUCK = Carrier("truck", 30000, 900)


def parcel(number, grams, country="DE"):
    return {"id": number, "grams": grams, "country": country}


class Choice(unittest.TestCase):
    def test_the_cheapest_carrier_is_chosen(self):
        self.assertIs(choose([TRUCK, POST], parcel(1, 500)), POST)
        self.assertIs(choose([TRUCK, POST], parcel(1, 5000)), TRUCK)

    def test_what_nobody_takes_has_no_carrier(self):
        self.assertIsNone(choose([TRUCK, POST], parcel(1, 99000)))
        self.assertIsNone(choose([], parcel(1, 1)))

    def test_parcels_nobody_takes_are_listed(self):
        parcels = [parcel(1, 500), parcel(2, 500, "CH"), parcel(3, 9000), parcel(4, 9000, "AT")]
        self.assertEqual(plan([TRUCK, POST], parcels), {"post": [1], None: [2, 4], "truck": [3]})

    def test_a_parcel_without_a_weight_is_still_an_error(self):
        with self.assertRaises(KeyError):
            choose([POST], {"country": "DE"})


if __name__ == "__main__":
    unittest.main()
