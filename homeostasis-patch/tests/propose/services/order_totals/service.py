"""Totals of orders, in cents, as the invoice prints them."""

from dataclasses import dataclass

FREE_SHIPPING_FROM = 5000
SHIPPING = 490


@dataclass
class Totals:
    goods: int
    discount: int
    shipping: int

    @property
    def payable(self):
        return self.goods - self.discount + self.shipping


def line_total(line):
    """The price of one line of an order."""
    if line["quantity"] < 0:
        raise ValueError("a quantity below zero: %r" % line["quantity"])
    return line["quantity"] * line["unit_price"]


def goods_total(order):
    return sum(line_total(line) for line in order["lines"])


def discount(order, goods):
    """Vouchers come first and never exceed the goods; loyalty takes percents of the rest."""
    voucher = min(order.get("voucher", 0), goods)
    rest = goods - voucher
    percent = 0
    if order.get("customer") == "member":
        # Orders imported from the old shop have members without a level.
        percent = 2 + order["loyalty_level"]
    return voucher + rest * percent // 100


def totals(order):
    """All sums of an order."""
    goods = goods_total(order)
    reduced = discount(order, goods)
    shipping = 0 if goods - reduced >= FREE_SHIPPING_FROM else SHIPPING
    return Totals(goods, reduced, shipping)
