"""Reads what other programs left in a spool folder."""

import os

MAX_BYTES = 4096


def names(folder):
    """The files of a folder in order, without those still being written."""
    return sorted(name for name in os.listdir(folder) if not name.endswith(".part"))


def read(path):
    with open(path, "rb") as file:
        return file.read(MAX_BYTES)


def collect(folder, limit=100):
    """The contents by name."""
    found = {}
    for name in names(folder)[:limit]:
        found[name] = read(os.path.join(folder, name))
    return found


def sizes(folder):
    return {name: len(data) for name, data in collect(folder).items()}
