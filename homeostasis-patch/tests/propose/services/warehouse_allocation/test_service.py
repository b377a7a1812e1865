import unittest

from service import Warehouse, allocate, source


class Allocation(unittest.TestCase):
    def setUp(self):
        self.north = Warehouse("north", {"tea": 1})
        self.south = Warehouse("south", {"tea": 2, "cup": 1})
        self.houses = [self.north, self.south]

    def test_the_first_that_has_everything_sends(self):
        self.assertIs(source(self.houses, {"tea": 1}), self.north)
        self.assertIs(source(self.houses, {"tea": 1, "cup": 1}), self.south)

    def test_none_sends_what_none_has(self):
        self.assertIsNone(source(self.houses, {"pot": 1}))
        self.assertIsNone(source([], {"tea": 1}))

    def test_orders_that_cannot_be_sent_wait_and_the_others_go(self):
        orders = [(1, {"tea": 2}), (2, {"tea": 9}), (3, {"tea": 1}), (4, {"tea": 1})]
        found = allocate(self.houses, orders)
        self.assertEqual(found, {1: "south", 2: "backorder", 3: "north", 4: "backorder"})
        self.assertEqual(self.south.stock, {"tea": 0, "cup": 1})

    def test_lines_that_are_no_mapping_are_still_an_error(self):
        with self.assertRaises(AttributeError):
            source(self.houses, ["tea"])


if __name__ == "__main__":
    unittest.main()
