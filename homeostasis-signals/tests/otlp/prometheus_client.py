"""Serves a page of `prometheus_client` on a free port and prints the port.

A line on standard input makes everything grow; the end of the input ends the program.
"""

import sys

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    start_http_server,
)

registry = CollectorRegistry()
requests = Counter("http_requests", "All", ["service", "path"], registry=registry)
errors = Counter("http_request_errors", "Failed", ["service"], registry=registry)
depth = Gauge("queue_depth", 'Jobs "waiting"\\now\nor later', ["queue"], registry=registry)
latency = Histogram("latency_seconds", "Latency", buckets=(0.1, 0.5, 1), registry=registry)
size = Summary("size_bytes", "Size", registry=registry)
state = Enum("breaker", "Breaker", states=["open", "closed"], registry=registry)
info = Info("build", "Build", registry=registry)

info.info({"version": '1.0 "rc"', "path": "C:\\x\ny"})
state.state("closed")
depth.labels('a"b\\c\nd,e={}').set(float("nan"))
depth.labels("数").set(7.5)


def grow():
    requests.labels("shop", '/a"\\\n').inc(30)
    requests.labels("shop", "/b").inc(10, exemplar={"trace_id": "abc # 数"})
    errors.labels("shop").inc(10)
    for _ in range(10):
        latency.observe(0.3, {"trace_id": "x # y"})
    size.observe(12)


grow()
server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
print(server.server_port, flush=True)
for _ in sys.stdin:
    grow()
    print("grown", flush=True)
