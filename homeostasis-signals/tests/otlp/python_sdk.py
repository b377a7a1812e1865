"""Exports logs, spans and metrics with the OpenTelemetry SDK, and prints what it exported.

Argument: the base URL of the intake.
"""

import json
import logging
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

BASE = sys.argv[1]


def resource(instance):
    return Resource.create({"service.name": "shop", "service.instance.id": instance})


def logs():
    provider = LoggerProvider(resource("py-1"))
    exporter = OTLPLogExporter(endpoint=BASE + "/v1/logs", compression=Compression.Gzip)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("checkout").emit(
        LogRecord(
            timestamp=1_700_000_000_123_456_789,
            severity_number=SeverityNumber.WARN2,
            severity_text="WARN",
            body={"text": "größer – 数", "list": [1, 2.5, True]},
            attributes={
                "int": -7,
                "big": 2**62,
                "float": 2.0,
                "bool": True,
                "text": 'ünï "q" \n数',
                "bytes": b"\x00\xff",
                "array": ["a", "b"],
                "empty": "",
            },
        )
    )
    logger = logging.getLogger("pay")
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=provider))
    try:
        raise ValueError("no such card: 数")
    except ValueError:
        logger.exception("cannot pay")
    provider.shutdown()


def spans():
    provider = TracerProvider(resource=resource("py-1"))
    exporter = OTLPSpanExporter(endpoint=BASE + "/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("web")
    with tracer.start_as_current_span("GET /cart", kind=SpanKind.SERVER) as root:
        root.set_attribute("http.response.status_code", 500)
        with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as child:
            child.record_exception(KeyError("price"))
            child.add_event("retry", {"attempt": 2})
            child.set_status(Status(StatusCode.ERROR, "no rows"))
    provider.shutdown()
    return {
        span.name: {
            "trace": f"{span.context.trace_id:032x}",
            "span": span.context.span_id,
            "parent": span.parent.span_id if span.parent else 0,
            "start": span.start_time,
            "end": span.end_time,
        }
        for span in (root, child)
    }


class Recording(OTLPMetricExporter):
    """Remembers what it exports."""

    def export(self, metrics_data, *args, **kwargs):
        self.seen = getattr(self, "seen", [])
        self.seen.append(json.loads(metrics_data.to_json()))
        return super().export(metrics_data, *args, **kwargs)


def metrics(instance, temporality):
    exporter = Recording(
        endpoint=BASE + "/v1/metrics",
        preferred_temporality={Counter: temporality, Histogram: temporality},
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    bounds = ExplicitBucketHistogramAggregation([0.1, 0.5, 1.0])
    provider = MeterProvider(
        [reader],
        resource(instance),
        shutdown_on_exit=False,
        views=[
            View(instrument_name="http.server.duration", aggregation=bounds),
            View(
                instrument_name="order.size",
                aggregation=ExponentialBucketHistogramAggregation(),
            ),
        ],
    )
    meter = provider.get_meter("web")
    requests = meter.create_counter("http.requests")
    open_now = meter.create_up_down_counter("connections.open")
    duration = meter.create_histogram("http.server.duration", unit="s")
    size = meter.create_histogram("order.size", unit="By")
    meter.create_observable_gauge("queue.depth", [lambda _: [Observation(2.5)]])
    for turn in range(2):
        requests.add(10 * (turn + 1), {"http.route": "/cart", "user": "a"})
        requests.add(5, {"http.route": "/cart", "user": "b"})
        open_now.add(3)
        open_now.add(-1)
        for n in range(100):
            duration.record(0.3)
            size.record(n + 1)
            if turn == 0:
                size.record(0)
        reader.force_flush()
    # Without a shutdown, which would export once more.
    return exporter.seen


logs()
print(
    json.dumps(
        {
            "spans": spans(),
            "cumulative": metrics("py-c", AggregationTemporality.CUMULATIVE),
            "delta": metrics("py-d", AggregationTemporality.DELTA),
        }
    )
)
