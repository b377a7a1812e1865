import json
import unittest

from service import Consumer, parse_message


def order(number):
    return json.dumps({"type": "order", "id": number})


class Messages(unittest.TestCase):
    def test_orders_are_handled_in_order(self):
        seen = []
        consumer = Consumer(lambda found: seen.append(found["id"]))
        self.assertEqual(consumer.consume([order(1), order(2)]), 2)
        self.assertEqual((seen, consumer.set_aside), ([1, 2], []))

    def test_what_is_no_json_is_set_aside_and_the_rest_is_taken(self):
        seen = []
        consumer = Consumer(lambda found: seen.append(found["id"]))
        self.assertEqual(consumer.consume(["<xml/>", order(2), ""]), 1)
        self.assertEqual((seen, consumer.set_aside), ([2], ["<xml/>", ""]))

    def test_what_is_no_order_is_no_order(self):
        for body in ['{"type": "ping"}', "[]", "7", "x" * 20000]:
            self.assertIsNone(parse_message(body))

    def test_an_error_of_the_handler_is_still_an_error(self):
        def handle(order):
            raise ValueError("no such article")

        with self.assertRaises(ValueError):
            Consumer(handle).consume([order(1)])


if __name__ == "__main__":
    unittest.main()
