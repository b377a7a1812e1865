"""Lines of the audit log, one an event."""

import json

SECRET = ("password", "token")


def subject(event):
    """Whom an event is about: `order/A-17`, `user/ada`."""
    kind = event.get("kind", "thing")
    return kind + "/" + event["id"]


def details(event):
    data = event.get("data", {})
    shown = {key: value for key, value in data.items() if key not in SECRET}
    if not shown:
        return ""
    return " " + json.dumps(shown, sort_keys=True)


def line(event):
    """One line: when, who, what, about whom."""
    actor = event.get("actor") or "system"
    return event["at"] + " " + actor + " " + event["verb"] + " " + subject(event) + details(event)


class AuditLog:
    """Keeps the newest lines."""

    def __init__(self, size=1000):
        self.size = size
        self.lines = []

    def add(self, event):
        self.lines.append(line(event))
        if len(self.lines) > self.size:
            del self.lines[0]

    def about(self, wanted):
        return [text for text in self.lines if (" " + wanted) in text]
