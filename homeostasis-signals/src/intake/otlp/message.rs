//! The messages of OTLP, as far as they are used: field numbers and names in JSON.
//!
//! Source: `opentelemetry-proto` 1.x: `common`, `resource`, `logs`, `trace`, `metrics`, `v1`.
//! Left out are fields that we do not use: schema addresses, dropped counts, links, exemplars.

use serde::de::{IgnoredAny, MapAccess};

use super::any_value::AnyValue;
use super::field::{
    Base64, Bool, Double, Each, Fixed64, Id, Int32, Int64, Kind, Maybe, Message, Nested, Packed,
    SFixed64, SInt32, Slot, Text, UInt32, UInt64, messages,
};
use super::wire::{Budget, Value, WireError};

messages! {
    KeyValue {
        1 "key" key: String = Text,
        2 "value" value: AnyValue = Nested,
    }
    ArrayValue {
        1 "values" values: Vec<AnyValue> = Each,
    }
    KeyValueList {
        1 "values" values: Vec<KeyValue> = Each,
    }
    Resource {
        1 "attributes" attributes: Vec<KeyValue> = Each,
    }
    Scope {
        1 "name" name: String = Text,
        2 "version" version: String = Text,
        3 "attributes" attributes: Vec<KeyValue> = Each,
    }

    LogsRequest {
        1 "resourceLogs" resources: Vec<ResourceLogs> = Each,
    }
    ResourceLogs {
        1 "resource" resource: Resource = Nested,
        2 "scopeLogs" scopes: Vec<ScopeLogs> = Each,
    }
    ScopeLogs {
        1 "scope" scope: Scope = Nested,
        2 "logRecords" records: Vec<LogRecord> = Each,
    }
    LogRecord {
        1 "timeUnixNano" time: u64 = Fixed64,
        11 "observedTimeUnixNano" observed_time: u64 = Fixed64,
        2 "severityNumber" severity_number: i32 = Int32,
        3 "severityText" severity_text: String = Text,
        5 "body" body: AnyValue = Nested,
        6 "attributes" attributes: Vec<KeyValue> = Each,
        9 "traceId" trace_id: Vec<u8> = Id,
        10 "spanId" span_id: Vec<u8> = Id,
        12 "eventName" event_name: String = Text,
    }

    TracesRequest {
        1 "resourceSpans" resources: Vec<ResourceSpans> = Each,
    }
    ResourceSpans {
        1 "resource" resource: Resource = Nested,
        2 "scopeSpans" scopes: Vec<ScopeSpans> = Each,
    }
    ScopeSpans {
        1 "scope" scope: Scope = Nested,
        2 "spans" spans: Vec<Span> = Each,
    }
    Span {
        1 "traceId" trace_id: Vec<u8> = Id,
        2 "spanId" span_id: Vec<u8> = Id,
        4 "parentSpanId" parent_span_id: Vec<u8> = Id,
        5 "name" name: String = Text,
        6 "kind" kind: i32 = Int32,
        7 "startTimeUnixNano" start_time: u64 = Fixed64,
        8 "endTimeUnixNano" end_time: u64 = Fixed64,
        9 "attributes" attributes: Vec<KeyValue> = Each,
        11 "events" events: Vec<SpanEvent> = Each,
        15 "status" status: Status = Nested,
    }
    SpanEvent {
        1 "timeUnixNano" time: u64 = Fixed64,
        2 "name" name: String = Text,
        3 "attributes" attributes: Vec<KeyValue> = Each,
    }
    Status {
        2 "message" message: String = Text,
        3 "code" code: i32 = Int32,
    }

    MetricsRequest {
        1 "resourceMetrics" resources: Vec<ResourceMetrics> = Each,
    }
    ResourceMetrics {
        1 "resource" resource: Resource = Nested,
        2 "scopeMetrics" scopes: Vec<ScopeMetrics> = Each,
    }
    ScopeMetrics {
        1 "scope" scope: Scope = Nested,
        2 "metrics" metrics: Vec<Metric> = Each,
    }
    /// One of the five kinds of data is there.
    Metric {
        1 "name" name: String = Text,
        3 "unit" unit: String = Text,
        5 "gauge" gauge: Option<Numbers> = Nested,
        7 "sum" sum: Option<Numbers> = Nested,
        9 "histogram" histogram: Option<Histograms> = Nested,
        10 "exponentialHistogram" exponential: Option<Exponentials> = Nested,
        11 "summary" summary: Option<Summaries> = Nested,
    }
    /// A gauge or a sum; a gauge has points only.
    Numbers {
        1 "dataPoints" points: Vec<NumberPoint> = Each,
        2 "aggregationTemporality" temporality: i32 = Int32,
        3 "isMonotonic" monotonic: bool = Bool,
    }
    Histograms {
        1 "dataPoints" points: Vec<HistogramPoint> = Each,
        2 "aggregationTemporality" temporality: i32 = Int32,
    }
    Exponentials {
        1 "dataPoints" points: Vec<ExponentialPoint> = Each,
        2 "aggregationTemporality" temporality: i32 = Int32,
    }
    Summaries {
        1 "dataPoints" points: Vec<SummaryPoint> = Each,
    }
    NumberPoint {
        7 "attributes" attributes: Vec<KeyValue> = Each,
        2 "startTimeUnixNano" start_time: u64 = Fixed64,
        3 "timeUnixNano" time: u64 = Fixed64,
        4 "asDouble" double: Option<f64> = Maybe<Double>,
        6 "asInt" int: Option<i64> = Maybe<SFixed64>,
        8 "flags" flags: u32 = UInt32,
    }
    HistogramPoint {
        9 "attributes" attributes: Vec<KeyValue> = Each,
        2 "startTimeUnixNano" start_time: u64 = Fixed64,
        3 "timeUnixNano" time: u64 = Fixed64,
        4 "count" count: u64 = Fixed64,
        6 "bucketCounts" counts: Vec<u64> = Packed<Fixed64>,
        7 "explicitBounds" bounds: Vec<f64> = Packed<Double>,
        10 "flags" flags: u32 = UInt32,
    }
    ExponentialPoint {
        1 "attributes" attributes: Vec<KeyValue> = Each,
        2 "startTimeUnixNano" start_time: u64 = Fixed64,
        3 "timeUnixNano" time: u64 = Fixed64,
        4 "count" count: u64 = Fixed64,
        6 "scale" scale: i32 = SInt32,
        7 "zeroCount" zero_count: u64 = Fixed64,
        8 "positive" positive: ExponentialBuckets = Nested,
        9 "negative" negative: ExponentialBuckets = Nested,
        10 "flags" flags: u32 = UInt32,
        14 "zeroThreshold" zero_threshold: f64 = Double,
    }
    ExponentialBuckets {
        1 "offset" offset: i32 = SInt32,
        2 "bucketCounts" counts: Vec<u64> = Packed<UInt64>,
    }
    SummaryPoint {
        7 "attributes" attributes: Vec<KeyValue> = Each,
        2 "startTimeUnixNano" start_time: u64 = Fixed64,
        3 "timeUnixNano" time: u64 = Fixed64,
        6 "quantileValues" quantiles: Vec<QuantileValue> = Each,
        8 "flags" flags: u32 = UInt32,
    }
    QuantileValue {
        1 "quantile" quantile: f64 = Double,
        2 "value" value: f64 = Double,
    }
}

/// Every struct above is made of fields; a value is one of several.
impl Message for AnyValue {
    fn number(name: &str) -> u32 {
        match name {
            "stringValue" => 1,
            "boolValue" => 2,
            "intValue" => 3,
            "doubleValue" => 4,
            "arrayValue" => 5,
            "kvlistValue" => 6,
            "bytesValue" => 7,
            _ => 0,
        }
    }

    fn merge(&mut self, number: u32, value: Value<'_>, budget: &Budget) -> Result<(), WireError> {
        fn read<K: Kind<T>, T: Default>(value: Value<'_>, budget: &Budget) -> Result<T, WireError> {
            let mut read = T::default();
            K::merge(&mut read, value, budget)?;
            Ok(read)
        }
        *self = match number {
            1 => Self::Text(read::<Text, _>(value, budget)?),
            2 => Self::Bool(read::<Bool, _>(value, budget)?),
            3 => Self::Int(read::<Int64, _>(value, budget)?),
            4 => Self::Double(read::<Double, _>(value, budget)?),
            5 => Self::Array(read::<Nested, ArrayValue>(value, budget)?.values),
            6 => Self::List(read::<Nested, KeyValueList>(value, budget)?.values),
            7 => Self::Bytes(read::<Base64, _>(value, budget)?),
            _ => return Ok(()),
        };
        Ok(())
    }

    fn merge_json<'de, A: MapAccess<'de>>(
        &mut self,
        number: u32,
        map: &mut A,
        budget: &Budget,
    ) -> Result<(), A::Error> {
        fn read<'de, K: Kind<T>, T: Default, A: MapAccess<'de>>(
            map: &mut A,
            budget: &Budget,
        ) -> Result<T, A::Error> {
            let mut read = T::default();
            map.next_value_seed(Slot::<K, T>::new(&mut read, budget))?;
            Ok(read)
        }
        *self = match number {
            1 => Self::Text(read::<Text, _, A>(map, budget)?),
            2 => Self::Bool(read::<Bool, _, A>(map, budget)?),
            3 => Self::Int(read::<Int64, _, A>(map, budget)?),
            4 => Self::Double(read::<Double, _, A>(map, budget)?),
            5 => Self::Array(read::<Nested, ArrayValue, A>(map, budget)?.values),
            6 => Self::List(read::<Nested, KeyValueList, A>(map, budget)?.values),
            7 => Self::Bytes(read::<Base64, _, A>(map, budget)?),
            _ => return map.next_value::<IgnoredAny>().map(drop),
        };
        Ok(())
    }
}
