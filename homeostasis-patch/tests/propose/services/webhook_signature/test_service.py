import unittest

from service import expected, parse_signature, receive

SIGNED = expected("s", "100", "{}")


class Signatures(unittest.TestCase):
    def test_a_signed_body_is_taken(self):
        self.assertEqual(receive("s", "t=100,v1=" + SIGNED, "{}", 120), 200)

    def test_a_header_with_a_trailing_comma_is_read(self):
        self.assertEqual(parse_signature("t=1,v1=a,"), {"t": "1", "v1": "a"})
        self.assertEqual(receive("s", "t=100,v1=" + SIGNED + ",", "{}", 120), 200)

    def test_a_part_without_a_value_is_passed_over(self):
        self.assertEqual(parse_signature("beta,t=1, v1=a"), {"t": "1", "v1": "a"})

    def test_what_is_not_signed_is_refused(self):
        for header in ["", "v1", "t=100", "t=100,v1=00", "t=1,v1=" + SIGNED]:
            self.assertEqual(receive("s", header, "{}", 1000), 401, header)

    def test_another_body_is_refused(self):
        self.assertEqual(receive("s", "t=100,v1=" + SIGNED, "[]", 120), 401)


if __name__ == "__main__":
    unittest.main()
