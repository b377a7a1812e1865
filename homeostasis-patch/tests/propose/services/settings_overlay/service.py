"""Settings of the service: what ships with it, and what an operator lays over it."""

import json

DEFAULTS = {"port": 8080, "log": {"level": "info", "file": None}, "hosts": []}


def merge(base, over):
    """`over` on `base`: mappings are merged, everything else is replaced."""
    found = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = merge(found[key], value)
        else:
            found[key] = value
    return found


def read_overlay(path) -> dict:
    """What the operator wrote. Few operators write anything."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if not text.strip():
        return {}
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("%s: expected a mapping" % path)
    return found


def settings(path):
    found = merge(DEFAULTS, read_overlay(path))
    if not 0 < found["port"] < 65536:
        raise ValueError("port: %r, expected 1 to 65535" % found["port"])
    return found
