"""What the shop expects of labels."""

import unittest

import labels


class Labels(unittest.TestCase):
    def test_a_domestic_parcel_costs_base_and_weight(self):
        self.assertEqual(labels.label("DE", 2)["cents"], 450 + 2 * 80)

    def test_a_remote_place_costs_more(self):
        self.assertEqual(labels.label("GL", 1)["cents"], 450 + 80 + 900)
        self.assertEqual(labels.remote_cents("NZ"), 1200)

    def test_a_label_names_where_it_goes(self):
        label = labels.label("IS", 3)
        self.assertEqual((label["country"], label["kg"]), ("IS", 3))

    def test_what_is_too_heavy_gets_no_label(self):
        self.assertTrue(labels.check_weight(30))
        with self.assertRaises(Exception):
            labels.check_weight(31)


if __name__ == "__main__":
    unittest.main()
