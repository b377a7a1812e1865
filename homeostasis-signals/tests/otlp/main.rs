//! Real producers export into the intake or are scraped: the OpenTelemetry SDKs of Rust and Python,
//! the Prometheus client of Python, and `node_exporter`.
//!
//! The Python packages are found on `PYTHONPATH` or in the folder `HOMEOSTASIS_PYTHON_PATH`:
//! `pip install --target FOLDER opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
//! prometheus_client`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

mod intake;
mod node_exporter;
mod prometheus_client;
mod python;
mod python_sdk;
mod rust_sdk;
