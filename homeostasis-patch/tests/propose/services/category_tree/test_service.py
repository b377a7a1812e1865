import unittest

from service import Catalog


class Paths(unittest.TestCase):
    def setUp(self):
        self.catalog = Catalog()
        self.catalog.add("home")
        self.catalog.add("tea", "home")
        self.catalog.add("green", "tea")

    def test_a_breadcrumb_begins_at_the_root(self):
        self.assertEqual(self.catalog.breadcrumb("green"), "home > tea > green")

    def test_a_category_below_itself_ends_where_it_began(self):
        self.catalog.move("home", "green")
        self.assertEqual(sorted(self.catalog.path("green")), ["green", "home", "tea"])

    def test_what_is_not_there_has_no_path(self):
        with self.assertRaises(KeyError):
            self.catalog.path("coffee")


if __name__ == "__main__":
    unittest.main()
