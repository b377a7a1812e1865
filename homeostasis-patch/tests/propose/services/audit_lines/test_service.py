import unittest

from service import AuditLog, line, subject


def event(**more):
    return {"at": "10:00", "verb": "paid", "kind": "order", "id": "A-17", **more}


class Lines(unittest.TestCase):
    def test_an_event_is_one_line(self):
        self.assertEqual(line(event(actor="ada")), "10:00 ada paid order/A-17")

    def test_orders_of_the_old_shop_have_numbers(self):
        self.assertEqual(subject(event(id=4711)), "order/4711")
        self.assertEqual(line(event(id=4711)), "10:00 system paid order/4711")

    def test_secrets_are_left_out(self):
        text = line(event(data={"token": "x", "sum": 3}))
        self.assertEqual(text, '10:00 system paid order/A-17 {"sum": 3}')

    def test_events_of_both_shops_are_found(self):
        log = AuditLog(size=2)
        for number in ["A-1", 2, "A-3"]:
            log.add(event(id=number))
        self.assertEqual(len(log.lines), 2)
        self.assertEqual(log.about("order/2"), ["10:00 system paid order/2"])

    def test_an_event_without_an_id_is_still_an_error(self):
        with self.assertRaises(KeyError):
            subject({"kind": "order"})


if __name__ == "__main__":
    unittest.main()
