"""Pages of a list of events, with a cursor to go on."""

import base64

MAX_LIMIT = 100


def encode_cursor(event_id):
    return base64.urlsafe_b64encode(("id:%d" % event_id).encode()).decode()


def decode_cursor(cursor):
    text = base64.urlsafe_b64decode(cursor.encode()).decode()
    if not text.startswith("id:"):
        raise ValueError("not a cursor of ours: %r" % cursor)
    return int(text[3:])


def next_cursor(events, limit):
    """Where the next page begins; None where this was the last one."""
    last = events[-1]
    if len(events) < limit:
        return None
    return encode_cursor(last["id"])


def page(store, cursor=None, limit=20):
    """One page of a store, which is sorted by id."""
    limit = max(1, min(limit, MAX_LIMIT))
    after = decode_cursor(cursor) if cursor else 0
    events = [event for event in store if event["id"] > after][:limit]
    return {
        "events": events,
        "next": next_cursor(events, limit),
        "count": len(events),
    }


def walk(store, limit):
    """All events, page by page."""
    cursor, found = None, []
    while True:
        result = page(store, cursor, limit)
        found.extend(result["events"])
        cursor = result["next"]
        if cursor is None:
            return found
