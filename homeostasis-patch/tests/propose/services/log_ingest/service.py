"""Takes lines of logs from appliances and counts them by level."""

LEVELS = ("debug", "info", "warn", "error")


def split(body):
    """The lines of a body, which some appliances end with a NUL."""
    return body.rstrip(b"\0").decode("utf-8").splitlines()


def level(line):
    word = line.split(" ", 1)[0].lower().strip("[]:")
    if word == "warning":
        word = "warn"
    return word if word in LEVELS else "info"


def ingest(body, limit=1000):
    """Counts by level, and the lines that are errors."""
    if len(body) > 65536:
        raise ValueError("a body of %d bytes, expected at most 65536" % len(body))
    counts = dict.fromkeys(LEVELS, 0)
    errors = []
    for line in split(body)[:limit]:
        if not line.strip():
            continue
        found = level(line)
        counts[found] += 1
        if found == "error":
            errors.append(line)
    return {"counts": counts, "errors": errors}
