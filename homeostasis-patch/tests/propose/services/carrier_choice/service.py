"""Chooses who carries a parcel."""


class Carrier:
    def __init__(self, name, max_grams, cents, countries=("DE",)):
        self.name = name
        self.max_grams = max_grams
        self.cents = cents
        self.countries = countries

    def takes(self, parcel):
        return parcel["grams"] <= self.max_grams and parcel["country"] in self.countries


def choose(carriers, parcel):
    """The cheapest carrier that takes a parcel; None if none does."""
    best_price = None
    for carrier in carriers:
        if not carrier.takes(parcel):
            continue
        if best_price is None or carrier.cents < best_price:
            best_price = carrier.cents
            best = carrier
    return best


def plan(carriers, parcels):
    """Parcels by carrier, and those that nobody takes under `None`."""
    found = {}
    for parcel in parcels:
        carrier = choose(carriers, parcel)
        name = carrier.name if carrier is not None else None
        found.setdefault(name, []).append(parcel["id"])
    return found
