"""Cards of customers for the support desk."""


class Address:
    def __init__(self, street, city, country="DE"):
        self.street = street
        self.city = city
        self.country = country


class Customer:
    def __init__(self, name, address=None, tags=()):
        self.name = name
        self.address = address
        self.tags = tuple(tags)


def initials(name):
    return "".join(part[0].upper() for part in name.split() if part)


def place(customer) -> str:
    """City and country; empty for customers who only download."""
    city = customer.address.city.strip()
    country = customer.address.country
    if country == "DE":
        return city
    return city + " (" + country + ")"


def badge(customer):
    for tag in ("vip", "trial"):
        if tag in customer.tags:
            return tag.upper()
    return ""


def card(customer):
    """The lines of a card, without empty ones."""
    title = customer.name + " [" + initials(customer.name) + "]"
    lines = [title, place(customer), badge(customer)]
    return [line for line in lines if line]
