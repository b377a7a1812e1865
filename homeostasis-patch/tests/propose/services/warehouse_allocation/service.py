"""Which warehouse sends an order."""


class Warehouse:
    def __init__(self, name, stock):
        self.name = name
        self.stock = dict(stock)

    def has(self, lines):
        return all(self.stock.get(sku, 0) >= n for sku, n in lines.items())

    def reserve(self, lines):
        for sku, n in lines.items():
            self.stock[sku] -= n


def source(warehouses, lines):
    """The first warehouse that has everything; None if none has."""
    return next(house for house in warehouses if house.has(lines))


def allocate(warehouses, orders):
    """The warehouse of each order, `backorder` where none has everything."""
    found = {}
    for number, lines in orders:
        house = source(warehouses, lines)
        if house is None:
            found[number] = "backorder"
            continue
        house.reserve(lines)
        found[number] = house.name
    return found
