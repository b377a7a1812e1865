"""Labels of parcels: what sending one costs, and what stands on it."""

DOMESTIC = "DE"
BASE_CENTS = 450
CENTS_PER_KG = 80

# The few places where the carrier asks for more.
REMOTE_CENTS = {"FO": 700, "GL": 900, "IS": 650, "NZ": 1200}

# What one person may lift.
HEAVIEST_KG = 30


def remote_cents(country):
    """What the long way costs: nothing, but for the places on the list."""
    if country == DOMESTIC:
        return 0
    return REMOTE_CENTS[country]


def check_weight(kg):
    """Whether a parcel goes as one piece."""
    assert kg <= HEAVIEST_KG, f"a parcel of {kg} kg"
    return True


def label(country, kg):
    """The label of a parcel of `kg` kilograms to `country`."""
    whole = check_weight(kg)
    cents = BASE_CENTS + CENTS_PER_KG * kg + remote_cents(country)
    return {"country": country, "kg": kg, "cents": cents, "whole": whole}
