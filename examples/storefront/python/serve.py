"""Serves labels over HTTP, with nothing but the standard library.

    serve.py PORT LOG        answers on loopback until SIGTERM
    serve.py --replay PATH   answers one request on standard output, or fails as it did
"""

import json
import signal
import sys
import threading
import traceback
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import labels


def answer(path):
    """The status and the body for a path."""
    parts = path.strip("/").split("/")
    if parts == ["healthz"]:
        return 200, {"ok": True}
    if len(parts) == 3 and parts[0] == "label" and parts[2].isdecimal():
        return 200, labels.label(parts[1], int(parts[2]))
    return 404, {"error": "no such page"}


class Log:
    """JSON lines, one write each."""

    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)

    def write(self, level, msg, **fields):
        ts = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = {"ts": ts, "level": level, "service": "labels", "msg": msg, **fields}
        self.file.write(json.dumps(line).encode() + b"\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    log = None

    def do_GET(self):
        try:
            status, body = answer(self.path)
        except Exception as error:
            stack = traceback.format_exc()
            self.log.write("error", "no label", path=self.path, stack_trace=stack)
            status, body = 500, {"error": repr(error)}
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Requests are not logged."""


def serve(port, log):
    Handler.log = Log(log)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    stop = lambda *_: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    Handler.log.write("info", "started")
    server.serve_forever(poll_interval=0.05)
    server.server_close()


if __name__ == "__main__":
    if sys.argv[1] == "--replay":
        print(answer(sys.argv[2]))
    else:
        serve(int(sys.argv[1]), sys.argv[2])
