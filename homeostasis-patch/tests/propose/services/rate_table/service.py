"""Shipping rates by zone and class of weight, from the carrier's monthly table."""

CLASSES = [(500, "letter"), (2000, "small"), (10000, "parcel")]


class RateTable:
    """Rates in cents: a mapping of zones to mappings of classes."""

    def __init__(self, rates, surcharge=0):
        self.rates = rates
        self.surcharge = surcharge

    def weight_class(self, grams):
        for limit, name in CLASSES:
            if grams <= limit:
                return name
        return None

    def rate(self, zone, grams):
        """The rate of a shipment; None where it cannot be shipped."""
        name = self.weight_class(grams)
        if name is None:
            return None
        base = self.rates[zone][name]
        return base + self.surcharge

    def cheapest_zone(self, zones, grams):
        """The zone with the lowest rate; None if none of them is served."""
        offers = []
        for zone in zones:
            rate = self.rate(zone, grams)
            if rate is not None:
                offers.append((rate, zone))
        if not offers:
            return None
        return min(offers)[1]


def load(rows):
    """A table of rows of zone, class and cents."""
    rates = {}
    for zone, name, cents in rows:
        rates.setdefault(zone, {})[name] = int(cents)
    return RateTable(rates)
