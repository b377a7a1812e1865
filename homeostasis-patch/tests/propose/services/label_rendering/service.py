"""Labels of parcels, at most six lines of thirty-two characters."""

WIDTH = 32
MAX_LINES = 6


def clip(text):
    """A text as wide as a label."""
    if len(text) > WIDTH:
        return text[: WIDTH - 1] + "~"
    return text


def street_line(address):
    """Street, number and what follows the number, such as `12b`."""
    return address["street"] + " " + address["number"] + address.get("suffix")


def city_line(address):
    return address["zip"] + " " + address["city"].upper()


def lines(address):
    """All lines of a label."""
    found = [address["name"]]
    company = address.get("company")
    if company:
        found.append(company)
    found.append(street_line(address))
    found.append(city_line(address))
    if address.get("country", "DE") != "DE":
        found.append(address["country"])
    return [clip(line) for line in found[:MAX_LINES]]


def render(addresses):
    """Labels, separated by form feeds."""
    return "\f".join("\n".join(lines(address)) for address in addresses)
