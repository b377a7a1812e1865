"""Readings of temperature sensors: lines of `name;degrees`."""


def parse(lines):
    """Readings by sensor. Lines without a reading are passed over."""
    found = {}
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, _, value = line.partition(";")
        degrees = float(value)
        found.setdefault(name, []).append(degrees)
    return found


def mean(values):
    if not values:
        return None
    return sum(values) / len(values)


def spikes(values, limit=10.0):
    """How often the temperature jumps by more than `limit`."""
    return sum(1 for a, b in zip(values, values[1:]) if abs(a - b) > limit)


def summary(lines):
    """Mean and spikes by sensor."""
    return {
        name: {"mean": mean(values), "spikes": spikes(values), "n": len(values)}
        for name, values in parse(lines).items()
    }
