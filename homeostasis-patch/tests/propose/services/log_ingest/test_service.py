import unittest

from service import ingest, split


class Ingest(unittest.TestCase):
    def test_lines_are_counted_by_level(self):
        found = ingest(b"ERROR disk\nwarning: hot\nhello\n\n\0")
        self.assertEqual(found["counts"], {"debug": 0, "info": 1, "warn": 1, "error": 1})

    def test_umlauts_are_kept(self):
        self.assertEqual(split("Gerät läuft".encode()), ["Gerät läuft"])

    def test_an_appliance_that_speaks_latin_1_loses_no_line(self):
        found = ingest(b"ERROR Ger\xe4t brennt\nINFO ok\nERROR x\n")
        self.assertEqual(found["counts"]["error"], 2)
        self.assertEqual(found["counts"]["info"], 1)
        self.assertTrue(found["errors"][0].startswith("ERROR Ger"))
        self.assertTrue(found["errors"][0].endswith("t brennt"))

    def test_a_body_that_is_too_large_is_still_an_error(self):
        with self.assertRaises(ValueError):
            ingest(b"x" * 70000)


if __name__ == "__main__":
    unittest.main()
