//! JSON-lines logs: one object a line, appended with one write each.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A log file of one process; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct JsonLog {
    service: &'static str,
    file: Arc<Mutex<File>>,
}

impl JsonLog {
    /// Opens the file for appending; a line left half by a killed writer is ended first.
    pub(crate) fn open(path: &Path, service: &'static str) -> io::Result<Self> {
        let half_line =
            std::fs::read(path).is_ok_and(|old| old.last().is_some_and(|b| *b != b'\n'));
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if half_line {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            service,
            file: Arc::new(Mutex::new(file)),
        })
    }

    pub(crate) fn info(&self, msg: &str, fields: Value) {
        self.write("info", msg, fields);
    }

    pub(crate) fn warn(&self, msg: &str, fields: Value) {
        self.write("warn", msg, fields);
    }

    pub(crate) fn error(&self, msg: &str, fields: Value) {
        self.write("error", msg, fields);
    }

    fn write(&self, level: &str, msg: &str, fields: Value) {
        let mut line = Map::new();
        line.insert("ts".to_owned(), json!(now().to_string()));
        line.insert("level".to_owned(), json!(level));
        line.insert("service".to_owned(), json!(self.service));
        line.insert("msg".to_owned(), json!(msg));
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // A log that cannot be written must not take the service down.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(text.as_bytes());
    }
}

/// The time of day, to the millisecond.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
