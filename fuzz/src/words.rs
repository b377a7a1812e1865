//! The words of the languages that are parsed.

/// Pages of Prometheus and OpenMetrics.
pub const EXPOSITION: &[&str] = &[
    "# TYPE ", "# HELP ", "# UNIT ", "# EOF", "\n", " ", "counter", "gauge", "histogram", "summary",
    "info", "stateset", "gaugehistogram", "unknown", "requests_total", "latency_seconds",
    "latency_seconds_bucket", "_count", "_sum", "_created", "_bucket", "_total", "{", "}", ",",
    "le=\"0.5\"", "le=\"+Inf\"", "quantile=\"0.99\"", "service=\"shop\"", "code=\"500\"", "\\\"",
    "\\n", "\\\\", "=", "\"", "NaN", "+Inf", "-Inf", "1", "0", "1e308", "17", " # {trace_id=\"a\"} 1 2",
];

/// Lines of logs in all formats.
pub const LOG_LINE: &[&str] = &[
    "{", "}", "\"", ":", ",", "[", "]", "null", "true", "\\u00e9", "\\ud800", "\"ts\":", "\"time\":",
    "\"level\":", "\"msg\":", "\"message\":", "\"fields\":{", "\"service\":", "\"kind\":\"deploy\"",
    "\"at\":\"2026-11-22T01:00:00Z\"", "\"kind\":\"sample\"", "\"value\":", "2026-11-22T01:00:00.5Z",
    "2026-01-02 15:04:05,123", "Jan  2 15:04:05", "02/Jan/2026:15:04:05 +0000", "1520879607789",
    "ts=", "level=warn", "msg=\"", "key=", " ", "=", "\t", "ERROR", "INFO", "[main]", "<34>1 ", "host ",
    "127.0.0.1 - - [", "\"GET / HTTP/1.1\" 200 12 ", "\\\"", "\\n", "\n", "9999-99-99", "24:61:61",
];

/// Stack traces of five languages.
pub const ERROR_TRACE: &[&str] = &[
    "\n", "    ", "\t", " ", "thread 'main' panicked at src/main.rs:4:5:", "thread 'main' (17) panicked at ",
    "note: run with `RUST_BACKTRACE=1`", "stack backtrace:", "   0: core::panicking::panic_fmt",
    "             at /rustc/abc/library/core/src/panicking.rs:80:14", "::h0123456789abcdef",
    "Error: ", "Caused by:", "    0: ", "    1: ", "error[E0308]: mismatched types", "  --> src/x.rs:1:2",
    "Traceback (most recent call last):", "  File \"/srv/app/a.py\", line 3, in f", "    return g(x)",
    "           ^^^^^^", "ValueError: ", "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
    "  + Exception Group Traceback (most recent call last):", "  | ", "  +-+---------------- 1 ----------------",
    "    +------------------------------------", "ExceptionGroup: many (2 sub-exceptions)",
    "  [Previous line repeated 996 more times]", "Exception in thread \"main\" java.lang.IllegalStateException: x",
    "\tat com.shop.Main.run(Main.java:12)", "\tat java.base/java.util.ArrayList.get(ArrayList.java:427)",
    "Caused by: java.io.IOException: y", "\tSuppressed: java.lang.Error", "\t... 12 more",
    "[CIRCULAR REFERENCE: ", "]", "TypeError: Cannot read properties of undefined",
    "    at f (/srv/app/a.js:1:2)", "    at async g (file:///srv/app/b.mjs:3:4)", "    at node:internal/main:1:2",
    "  [cause]: Error: z", "  [errors]: [", "{", "}", "  code: 'ENOENT'", "/srv/app/a.js:7", "Node.js v20.20.2",
    "panic: runtime error: index out of range [5] with length 3", " [recovered]", "goroutine 1 [running]:",
    "main.f(0x1, {0xc0000, 0x2})", "\t/srv/app/main.go:12 +0x1d", "created by main.g in goroutine 7",
    "exit status 2", "fatal error: all goroutines are asleep - deadlock!", "[signal SIGSEGV: segmentation violation ",
    "2026-11-22T01:00:00Z ERROR shop: ", "\r\n", "\u{1b}[31m", "0xdeadbeef",
];

/// Texts with secrets. Put together here, so that none stands in the source.
pub const REDACTION: &[&str] = &[
    "password", "=", ":", " ", "\"", "'", "&", "\n", "token", "api_key", "secret", "Authorization: ", "Bearer ",
    "Basic ", "https://", "user:", "@", "host/path?", "AKIA", "ABCDEFGHIJKLMNOP", "ghp_", "xoxb-", "sk_live_",
    "-----BEGIN ", "RSA ", "PRIVATE KEY-----", "-----END ", "eyJhbGciOiJIUzI1NiJ9", ".", "eyJzdWIiOiIxIn0",
    "abcdefghijklmnopqrstuvwxyz0123456789", "4242424242424242", "4242 4242 4242 4242", "--password", "export ",
    "{", "}", ",", "\\\"", "[redacted:", "]", "$2y$10$", "$6$", "hvs.", "SG.", "AIza", "postgres://", "AccountKey",
];

/// OTLP in JSON.
pub const OTLP_JSON: &[&str] = &[
    "{", "}", "[", "]", ",", ":", "\"", "null", "true", "1", "-1", "\"1520879607789000000\"", "\"NaN\"",
    "\"resourceLogs\":[{", "\"resourceSpans\":[{", "\"resourceMetrics\":[{", "\"resource\":{", "\"attributes\":[{",
    "\"key\":\"service.name\"", "\"value\":{\"stringValue\":\"shop\"}", "\"intValue\":", "\"doubleValue\":",
    "\"arrayValue\":{\"values\":[", "\"kvlistValue\":{\"values\":[", "\"bytesValue\":\"AAE=\"", "\"scopeLogs\":[{",
    "\"logRecords\":[{", "\"timeUnixNano\":", "\"severityNumber\":", "\"body\":", "\"traceId\":\"0af7651916cd43dd8448eb211c80319c\"",
    "\"spanId\":\"b7ad6b7169203331\"", "\"scopeSpans\":[{", "\"spans\":[{", "\"name\":\"x\"", "\"startTimeUnixNano\":",
    "\"endTimeUnixNano\":", "\"status\":{\"code\":2}", "\"events\":[{", "\"scopeMetrics\":[{", "\"metrics\":[{",
    "\"gauge\":{", "\"sum\":{", "\"histogram\":{", "\"exponentialHistogram\":{", "\"summary\":{", "\"dataPoints\":[{",
    "\"asDouble\":", "\"asInt\":", "\"aggregationTemporality\":", "\"isMonotonic\":true", "\"bucketCounts\":[",
    "\"explicitBounds\":[", "\"scale\":", "\"positive\":{\"offset\":", "\"zeroCount\":", "\"quantileValues\":[{",
];

/// YAML and JSON documents, of configuration, rules and playbooks.
pub const DOCUMENT: &[&str] = &[
    "\n", "  ", "- ", ": ", "{", "}", "[", "]", ",", "\"", "'", "# ", "&a ", "*a", "<<: *a", "!!str ", "|\n", ">\n", "---\n",
    "...", "${HOME}", "${X:-1}", "null", "true", "1", "-1", "1e9", "0x1f", "300ms", "5m", "90%", "1GiB", "name", "mode", "observe",
    "store", "path", "retention", "max_age", "conditions", "when", "severity", "SEV1", "rules", "id", "pattern", "patterns",
    "playbook_id", "steps", "action", "target", "timeout", "retry", "trigger", "pre_checks", "rollback", "verify", "limits", "policy",
    "redaction", "regex", "category", "language", "examples", "cpu > 90% for 5m", "(?P<a>x)", "engine", "services", "depends_on",
];

/// Conditions of rules and playbooks.
pub const CONDITION: &[&str] = &[
    "cpu", "memory", "error_ratio", "latency_p99", " > ", " < ", " >= ", " <= ", " == ", " != ", " and ", " or ", "not ", "(", ")",
    "90%", "500ms", "2GB", "10 MB/s", "5m", " for ", " over ", "avg(", "max(", "p95(", "rate(", "baseline", " + ", " - ", " * ", " / ",
    "SEV1", "\"text\"", "true", "in [", "]", ",", ".", "{service=\"a\"}", " ", "1e308", "-0", "=~", "contains",
];

/// Unified diffs.
pub const DIFF: &[&str] = &[
    "--- a/src/main.rs\n", "+++ b/src/main.rs\n", "--- /dev/null\n", "+++ /dev/null\n", "diff --git a/x b/x\n", "index 1..2 100644\n",
    "@@ -1,3 +1,4 @@\n", "@@ -0,0 +1 @@\n", "@@ -1 +1,0 @@ fn f\n", "@@ -9223372036854775807,1 +1 @@\n", "+", "-", " ", "\n", "line\n",
    "\\ No newline at end of file\n", "rename from a\n", "Binary files differ\n", "../../etc/passwd", "\t2026-01-01", "\r\n",
];

/// The first path segments of configuration edits, with small documents after them.
pub const EDITS: &[&str] = &[
    "server", "pool", "size", ".", "[0]", "[-1]", "\"a.b\"", "\u{0}", "server:\n  pool:\n    size: 10 # why\n", "[server]\nsize = 1\n",
    "{\"server\":{\"size\":1}}", "- a\n- b\n", "a: &x 1\nb: *x\n", "\n", ": ", "{", "}", "[", "]", ",", "= ", "'", "\"", "# c\n", "1", "true", "|\n  x\n",
];

/// Events of the journal.
pub const HEAL_EVENT: &[&str] = &[
    "{", "}", "[", "]", ",", ":", "\"", "null", "true", "0", "1", "\"schema_version\":1", "\"incident\":", "\"seq\":0", "\"at\":",
    "\"2026-11-22T01:00:00Z\"", "\"event\":\"opened\"", "\"event\":\"closed\"", "\"event\":\"diagnosed\"", "\"event\":\"planned\"",
    "\"event\":\"step_started\"", "\"severity\":\"sev1\"", "\"anomaly\":{", "\"target\":\"shop/1\"", "\"score\":", "\"plan\":{", "\"steps\":[",
];

/// Durations, times, targets, levels.
pub const SCALARS: &[&str] = &[
    "1", "0", "9", "99999999999999999999", ".", "-", "+", "ms", "s", "m", "h", "d", "w", " ", "2026-11-22", "T", "01:00:00", "Z", "+02:00",
    "shop", "/", "warn", "ERROR", "\u{0}", "é", "P1DT2H", "_", ":",
];
