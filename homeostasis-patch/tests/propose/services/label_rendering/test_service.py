import unittest

from service import lines, render, street_line


def address(**more):
    return {"name": "Ada", "street": "Ring", "number": "12", "zip": "07743", "city": "Jena", **more}


class Labels(unittest.TestCase):
    def test_a_number_with_a_suffix(self):
        self.assertEqual(street_line(address(suffix="b")), "Ring 12b")

    def test_a_number_without_a_suffix_stands_alone(self):
        self.assertEqual(street_line(address()), "Ring 12")
        self.assertEqual(street_line(address(suffix=None)), "Ring 12")

    def test_all_lines_of_a_label_without_a_suffix(self):
        self.assertEqual(lines(address()), ["Ada", "Ring 12", "07743 JENA"])

    def test_labels_are_separated(self):
        both = render([address(suffix="a"), address()])
        self.assertEqual(both, "Ada\nRing 12a\n07743 JENA\fAda\nRing 12\n07743 JENA")

    def test_an_address_without_a_street_is_still_an_error(self):
        broken = address()
        del broken["street"]
        with self.assertRaises(KeyError):
            lines(broken)

    def test_long_lines_are_clipped(self):
        self.assertEqual(lines(address(name="x" * 40, suffix=""))[0], "x" * 31 + "~")


if __name__ == "__main__":
    unittest.main()
