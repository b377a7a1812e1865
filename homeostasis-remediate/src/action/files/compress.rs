//! `compress_files`: replace old files by compressed ones.

use std::fs::File;
use std::io::{self, BufReader, Seek};

use async_trait::async_trait;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use homeostasis_core::Context;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value};

use super::copy::{PASSING, copy, is_same, passing_name, remove_unchanged};
use super::folder::{Folder, Look, dress};
use super::open_files::OpenFiles;
use super::report::{Fate, each};
use super::roots::{FileRoots, Stop, open};
use super::selection::{Selection, capture, last, params, problems, split, still_meant};
use crate::action::{Action, ActionCall, ActionError, ActionSpec, ArgumentProblem};

/// Names that say: compressed already.
const COMPRESSED: [&str; 8] = [".gz", ".tgz", ".zst", ".xz", ".bz2", ".lz4", ".br", ".zip"];

/// Compresses old files below a folder the host lends: `a.log` becomes `a.log.gz` (gzip), with the
/// rights, the owner and the time of last modification of `a.log`.
///
/// Parameters: those of [`CleanFiles`](super::CleanFiles) without `open_files`: what somebody has
/// open for writing stays. So does what is compressed already, has a second hard link, or runs with
/// the rights of its owner.
///
/// The original goes only after the compressed copy was read back, compared byte by byte and synced.
/// Nothing is lost, so there is nothing to take back; who needs the plain file unpacks it.
#[derive(Debug)]
pub struct CompressFiles {
    spec: ActionSpec,
    roots: FileRoots,
}

impl CompressFiles {
    /// The action for files below `roots`.
    pub fn new(roots: FileRoots) -> Self {
        let spec = ActionSpec::new("compress old files")
            .with_params(params())
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        Self { spec, roots }
    }
}

#[async_trait]
impl Action for CompressFiles {
    fn name(&self) -> &'static str {
        "compress_files"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        problems(&self.roots, args)
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        capture(&self.roots, cx.clock().now(), call).await
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (path, selection) = (self.roots.path(call, "root")?, Selection::of(call)?);
        let last = last(call)?;
        let work = move |stop: &Stop| {
            let root = open(&path)?;
            let choice = still_meant(&selection, (&path, &root), last.as_ref(), stop)?;
            let written = OpenFiles::for_choice(&choice)?;
            let report = each(&root, &choice, &written, stop, |folder, file, look| {
                compress(folder, split(&file.path).1, look, stop)
            });
            report
                .map_err(|error| ActionError::transient("compressing", error))?
                .finish("compressing")
        };
        self.roots.run("compressing", work).await
    }
}

fn compress(folder: &Folder, name: &str, look: &Look, stop: &Stop) -> io::Result<Fate> {
    let compressed_name = format!("{name}.gz");
    let is_unfit = COMPRESSED.iter().any(|end| name.ends_with(end))
        || name.starts_with(PASSING)
        || compressed_name.len() > 255
        || look.n_links > 1
        || look.is_set_id();
    if is_unfit {
        return Ok(Fate::Unfit);
    }
    let mut source = folder.open_file(name, false)?;
    let passing = passing_name(look);
    folder.remove(&passing)?;
    let mut packed = folder.create(&passing)?;
    let placed = pack(&mut source, &mut packed, look, stop).and_then(|()| {
        if folder.look(name)? != Some(*look) {
            return Ok(false);
        }
        match folder.rename(&passing, folder, &compressed_name) {
            // A crash came between naming the copy and removing the original: then they agree.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = folder.open_file(&compressed_name, false)?;
                source.rewind()?;
                if is_same(
                    &mut GzDecoder::new(BufReader::new(there)),
                    &mut source,
                    stop,
                )
                .unwrap_or(false)
                {
                    folder.remove(&passing)?;
                } else {
                    return Err(error);
                }
            }
            renamed => renamed?,
        }
        folder.sync()?;
        Ok(true)
    });
    if !matches!(placed, Ok(true)) {
        folder.remove(&passing)?;
        return placed.map(|_| Fate::Changed);
    }
    if !remove_unchanged(folder, name, look)? {
        folder.remove(&compressed_name)?;
        return Ok(Fate::Changed);
    }
    let size = folder
        .look(&compressed_name)?
        .map_or(0, |packed| packed.size);
    Ok(Fate::Done(look.size.saturating_sub(size)))
}

/// Packs `source`, and unpacks it again to compare.
fn pack(source: &mut File, packed: &mut File, look: &Look, stop: &Stop) -> io::Result<()> {
    let mut encoder = GzEncoder::new(&mut *packed, Compression::default());
    copy(source, &mut encoder, stop)?;
    encoder.finish()?;
    source.rewind()?;
    packed.rewind()?;
    if !is_same(&mut GzDecoder::new(BufReader::new(&*packed)), source, stop)? {
        return Err(io::Error::other(
            "what was packed does not unpack to the original",
        ));
    }
    dress(packed, look)?;
    packed.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use homeostasis_core::testing::engine;
    use serde_json::json;

    use super::super::testing::{Playground, later, perform};
    use super::*;
    use crate::action::laws;

    #[tokio::test]
    async fn compressing_twice_is_compressing_once_and_nothing_is_lost() {
        let place = Playground::new();
        let text = "a line of a log\n".repeat(20_000);
        place.write("a.log", &text);
        place.write("empty.log", "");
        place.write("b.log.gz", "no matter");
        place.write("linked.log", "x");
        fs::hard_link(place.path("linked.log"), place.path("other")).unwrap();
        fs::set_permissions(place.path("a.log"), fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(place.path("a.log")).unwrap();
        let action = CompressFiles::new(place.roots());
        let args = json!({"root": "tmp", "pattern": "*", "older_than": "1h"});
        laws::repeat_and_undo_in(&later(2), &action, &args, || place.tree()).await;
        assert_eq!(
            place.names(),
            [
                "a.log.gz",
                "b.log.gz",
                "empty.log.gz",
                "linked.log",
                "other"
            ]
        );
        let after = fs::metadata(place.path("a.log.gz")).unwrap();
        assert_eq!(
            (after.mode(), after.mtime_nsec()),
            (before.mode(), before.mtime_nsec())
        );
        assert!(after.len() < before.len() / 20);
        if let Some(gzip) = engine::find("gzip", &["/bin"]) {
            #[expect(clippy::disallowed_methods, reason = "the test asks the real gzip")]
            let output = std::process::Command::new(gzip)
                .arg("-dc")
                .arg(place.path("a.log.gz"))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_crash_before_the_original_was_removed_is_finished_and_another_s_file_stays() {
        let place = Playground::new();
        let action = CompressFiles::new(place.roots());
        let args = json!({"root": "tmp", "pattern": "*.log", "older_than": "1h"});
        place.write("a.log", "content");
        perform(&action, &later(2), &args).await.unwrap();
        place.write("a.log", "content");
        let output = perform(&action, &later(2), &args).await.unwrap();
        assert_eq!(output["done"], 1);
        assert_eq!(place.names(), ["a.log.gz"]);
        place.write("a.log", "other content");
        let error = perform(&action, &later(2), &args).await.unwrap_err();
        assert!(error.report().to_string().contains("a.log"), "{error:?}");
        assert_eq!(place.names(), ["a.log", "a.log.gz"]);
        assert_eq!(place.read("a.log"), "other content");
    }
}
