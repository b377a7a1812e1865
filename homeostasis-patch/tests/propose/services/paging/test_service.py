import unittest

from service import decode_cursor, encode_cursor, page, walk


def store(n):
    return [{"id": number} for number in range(1, n + 1)]


class Pages(unittest.TestCase):
    def test_a_full_page_tells_where_the_next_one_begins(self):
        result = page(store(5), limit=2)
        self.assertEqual(decode_cursor(result["next"]), 2)

    def test_a_short_page_is_the_last_one(self):
        self.assertIsNone(page(store(3), encode_cursor(2), 2)["next"])

    def test_an_empty_store_has_one_empty_page(self):
        self.assertEqual(page([]), {"events": [], "next": None, "count": 0})

    def test_the_page_after_the_last_event_is_empty(self):
        result = page(store(4), encode_cursor(4), 2)
        self.assertEqual(result, {"events": [], "next": None, "count": 0})

    def test_a_walk_sees_everything_once(self):
        for n in range(6):
            self.assertEqual(walk(store(n), 2), store(n))

    def test_a_foreign_cursor_is_still_an_error(self):
        with self.assertRaises(ValueError):
            decode_cursor("Zm9v")


if __name__ == "__main__":
    unittest.main()
