"""Webhooks of the payment provider: signed bodies, `X-Signature: t=17,v1=ab12`."""

import hashlib
import hmac

TOLERANCE = 300


def parse_signature(header):
    """The fields of the header. Parts that are no fields are none of our business."""
    fields = {}
    for part in header.split(","):
        key, value = part.strip().split("=")
        fields[key] = value
    return fields


def expected(secret, timestamp, body):
    signed = ("%s.%s" % (timestamp, body)).encode()
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def is_genuine(secret, header, body, now):
    """Whether the provider signed this body not long ago."""
    fields = parse_signature(header)
    if "t" not in fields or "v1" not in fields:
        return False
    if abs(now - int(fields["t"])) > TOLERANCE:
        return False
    return hmac.compare_digest(fields["v1"], expected(secret, fields["t"], body))


def receive(secret, header, body, now):
    """The status of the answer."""
    if not is_genuine(secret, header, body, now):
        return 401
    return 200
