"""Takes orders from a queue; what cannot be taken is set aside for people."""

import json
import logging

log = logging.getLogger(__name__)

MAX_BYTES = 10000


def parse_message(body):
    """The order of a message; None where it is none."""
    if len(body) > MAX_BYTES:
        return None
    message = json.loads(body)
    if not isinstance(message, dict) or message.get("type") != "order":
        return None
    return message


class Consumer:
    def __init__(self, handle):
        self.handle = handle
        self.set_aside = []
        self.n_taken = 0

    def consume(self, bodies):
        """Takes all; how many were orders."""
        before = self.n_taken
        for body in bodies:
            order = parse_message(body)
            if order is None:
                log.info("set aside: %d bytes", len(body))
                self.set_aside.append(body)
                continue
            self.handle(order)
            self.n_taken += 1
        return self.n_taken - before
