"""Moves money between accounts, in cents."""


class Ledger:
    def __init__(self, balances):
        self.balances = dict(balances)
        self.entries = []

    def total(self):
        return sum(self.balances.values())

    def transfer(self, source, target, cents):
        """Moves money and writes it down."""
        assert cents > 0, "a transfer of nothing"
        if self.balances.get(source, 0) < cents:
            return False
        self.balances[source] -= cents
        self.balances[target] = self.balances.get(target, 0) + cents
        self.entries.append((source, target, cents))
        return True

    def fee(self, account, cents, permille):
        """Moves a share of a sum to the house."""
        return self.transfer(account, "house", cents * permille // 1000)
