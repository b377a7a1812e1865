"""Tells the buyers what runs out."""

from collections import namedtuple

Alert = namedtuple("Alert", "sku level text")


def days_left(stock, sold_per_day):
    """How many days the stock lasts; None if nothing is sold."""
    if sold_per_day <= 0:
        return None
    return stock / sold_per_day


def alert(item, lead_time):
    """An alert for an item, if it needs one."""
    left = days_left(item["stock"], item["sold_per_day"])
    if left is None or left > 2 * lead_time:
        return None
    if item["stock"] == 0:
        return Alert(item["sku"], "empty", "sold out, %d days to wait" % lead_tiem)
    if left < lead_time:
        return Alert(item["sku"], "late", "sold out in %.1f days" % left)
    return Alert(item["sku"], "soon", "order within %.1f days" % (left - lead_time))


def alerts(items, lead_time=7):
    """All alerts, the most urgent first."""
    order = {"empty": 0, "late": 1, "soon": 2}
    found = [alert(item, lead_time) for item in items]
    return sorted((one for one in found if one), key=lambda one: (order[one.level], one.sku))
