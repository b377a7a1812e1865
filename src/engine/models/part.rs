//! Parts of models: asked for, made and measured on the way to the store.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use homeostasis_core::stage::{DetectError, Detector, ModelPart, ModelRest};
use homeostasis_core::{ErrorKind, ErrorReport};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::engine::flood::Fnv;
use crate::engine::guard::panic_message;

/// About how large a part is.
const PART_BYTES: usize = 256 << 10;

/// Where the hash of a part is in it.
pub(super) const HASH: &str = "hash";

/// A part as it is written.
#[derive(Debug)]
pub(crate) struct Made {
    pub(super) document: Value,
    pub(super) bytes: u64,
    pub(super) hash: u64,
    pub(super) rest: Option<ModelRest>,
}

pub(super) type Answer = Result<Option<Made>, ErrorReport>;

/// Asks a detector for a part of its model.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(super) from: Option<Value>,
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Ask {
    /// Answers on the detector's own task; nothing is made of a detector in doubt.
    pub(crate) fn answer(self, detector: &dyn Detector, is_sound: bool) {
        if self.reply.is_closed() {
            return;
        }
        let part = || detector.snapshot_part(self.from.as_ref(), PART_BYTES);
        let made = if is_sound { make(part) } else { Ok(None) };
        // Who gave up waiting asks again some other time.
        let _ = self.reply.send(made);
    }
}

/// Makes a part, whatever the plug-in does.
pub(super) fn make(part: impl FnOnce() -> Option<ModelPart>) -> Result<Option<Made>, ErrorReport> {
    let Some(ModelPart { snapshot, rest }) = caught(|| Ok(part()))? else {
        return Ok(None);
    };
    let mut document = Value::Object(serde_json::Map::from_iter([
        ("detector".to_owned(), snapshot.detector.into()),
        ("version".to_owned(), snapshot.version.into()),
        ("state".to_owned(), snapshot.state),
    ]));
    let (bytes, hash) = measure(&document);
    document[HASH] = hash.into();
    let bytes = bytes + format!(",\"{HASH}\":{hash}").len() as u64;
    Ok(Some(Made {
        document,
        bytes,
        hash,
        rest,
    }))
}

/// Calls a plug-in; a panic is an error.
pub(super) fn caught<T>(call: impl FnOnce() -> Result<T, DetectError>) -> Result<T, ErrorReport> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.report()),
        Err(panic) => {
            let message = format!("panicked: {}", panic_message(panic.as_ref()));
            Err(refusal(message))
        }
    }
}

pub(super) fn read_as<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, ErrorReport> {
    let read = serde_json::from_value(value);
    read.map_err(|error| refusal(format!("what is stored is no part of a model: {error}")))
}

pub(super) fn refusal(message: String) -> ErrorReport {
    ErrorReport::message(ErrorKind::Permanent, message)
}

/// Its length as JSON, and a hash of it that is the same in every process and release.
pub(super) fn measure(value: &Value) -> (u64, u64) {
    struct Measure(u64, Fnv);

    impl io::Write for Measure {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            for byte in bytes {
                self.1.byte(*byte);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut measure = Measure(0, Fnv::default());
    // A value always serializes, and this writer never fails.
    let _ = serde_json::to_writer(&mut measure, value);
    (measure.0, measure.1.finish())
}
