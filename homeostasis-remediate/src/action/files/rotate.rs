//! `rotate_log`: begin a log anew and keep what it holds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, ErrorKind, Timestamp};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Map, Value, json};

use super::copy::{copy, is_same};
use super::folder::{Folder, Look, dress, look_at};
use super::roots::{FileRoots, Stop, kind, open};
use super::selection::{leads_down, path_problem, split};
use crate::action::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, unknown_name,
};
use crate::file::read_small;

/// What makes a program open its log anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReopenSignal {
    /// `SIGHUP`: rsyslog, most daemons.
    Hup,
    /// `SIGUSR1`: nginx, Apache.
    Usr1,
    /// `SIGUSR2`.
    Usr2,
}

/// A program that writes a log and opens it anew when it is told to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogWriter {
    /// The file that holds the number of its process, and nothing else on the first line.
    pub pid_file: PathBuf,
    /// What that process runs: a process that got the number later is not signalled. The file
    /// itself, without links, as `/proc/<pid>/exe` names it.
    pub program: PathBuf,
    /// What it is told.
    pub signal: ReopenSignal,
}

impl LogWriter {
    /// A program that takes `SIGHUP`.
    pub fn new(pid_file: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self {
            pid_file: pid_file.into(),
            program: program.into(),
            signal: ReopenSignal::Hup,
        }
    }

    /// The same with another signal.
    pub fn signal(mut self, signal: ReopenSignal) -> Self {
        self.signal = signal;
        self
    }

    fn tell(&self) -> io::Result<i32> {
        let refused = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let text = read_small(&self.pid_file, 4096)?
            .ok_or_else(|| refused(format!("{} is missing", self.pid_file.display())))?;
        let number = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let number = number
            .filter(|number: &i32| *number > 1)
            .ok_or_else(|| refused(format!("{} names no process", self.pid_file.display())))?;
        let pid = Pid::from_raw(number).expect("it is not 0");
        // From here on it is this process, or nobody.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let runs = fs::read_link(format!("/proc/{number}/exe"))?;
        if runs != self.program {
            let (runs, program) = (runs.display(), self.program.display());
            return Err(refused(format!(
                "process {number} runs {runs} and not {program}"
            )));
        }
        let signal = match self.signal {
            ReopenSignal::Hup => Signal::HUP,
            ReopenSignal::Usr1 => Signal::USR1,
            ReopenSignal::Usr2 => Signal::USR2,
        };
        pidfd_send_signal(&process, signal)?;
        Ok(number)
    }
}

/// Begins a log below a folder the host lends anew; what it holds is kept as `LOG.<moment>`.
///
/// Parameters: `root` (a registered name), `file` (a path below it), `how` (`rename`, the default,
/// or `copy_truncate`), `larger_than` (bytes; a smaller log stays as it is), `reopen` (a registered
/// [`LogWriter`] to be told afterwards).
///
/// - `rename`: log and a new file with the same rights and owner change names at one moment; the
///   log's name is never missing and no line is lost. A writer goes on in the old file until it
///   opens its log anew.
/// - `copy_truncate`: for writers that never do. Lines written between the last look at the log's
///   end and its truncation **are lost**: it counts as irreversible. A writer that does not open its
///   log for appending leaves a hole of the old length.
///
/// Old files are the business of `compress_files` and `clean_files` (`keep_newest`).
#[derive(Debug)]
pub struct RotateLog {
    spec: ActionSpec,
    roots: FileRoots,
    writers: BTreeMap<String, LogWriter>,
}

impl RotateLog {
    /// The action for logs below `roots`.
    pub fn new(roots: FileRoots) -> Self {
        let bytes = ParamKind::Integer {
            min: 0,
            max: i64::MAX,
        };
        let spec = ActionSpec::new("begin a log anew")
            .with_params([
                Param::required("root", ParamKind::Name, "below which folder of the host"),
                Param::required(
                    "file",
                    ParamKind::Text,
                    "which log, such as `web/access.log`",
                ),
                Param::optional("how", ParamKind::OneOf(&["rename", "copy_truncate"]), "how")
                    .or("rename"),
                Param::optional("larger_than", bytes, "only if it has more bytes than this"),
                Param::optional("reopen", ParamKind::Name, "which writer opens it anew"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        Self {
            spec,
            roots,
            writers: BTreeMap::new(),
        }
    }

    /// The same with a program that can be told to open its log anew.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, or a path is not absolute.
    pub fn writer(
        mut self,
        name: impl Into<String>,
        writer: LogWriter,
    ) -> Result<Self, ConfigError> {
        let name = new_name("writers", name.into(), &self.writers)?;
        for (field, path) in [("pid_file", &writer.pid_file), ("program", &writer.program)] {
            if !path.is_absolute() {
                return Err(ConfigError::single(
                    format!("writers.{name}.{field}"),
                    path.display(),
                    "an absolute path",
                ));
            }
        }
        self.writers.insert(name, writer);
        Ok(self)
    }

    fn writer_of(&self, call: &ActionCall<'_>) -> Result<Option<LogWriter>, ActionError> {
        if matches!(call.args.get("reopen"), None | Some(Value::Null)) {
            return Ok(None);
        }
        let writer = self.writers.get(call.text("reopen")?);
        let writer =
            writer.ok_or_else(|| ActionError::argument("reopen", "a registered writer"))?;
        Ok(Some(writer.clone()))
    }
}

/// A log that is to be rotated: where it is, which file it is, and what it will be called.
struct Log {
    root: PathBuf,
    path: String,
    id: (u64, u64),
    rotated: String,
}

impl Log {
    fn captured(root: PathBuf, call: &ActionCall<'_>) -> Result<Option<Self>, ActionError> {
        let captured = call.captured;
        if captured["id"].is_null() {
            return Ok(None);
        }
        let id = serde_json::from_value(captured["id"].clone())
            .map_err(|error| ActionError::invalid("captured state", error.to_string()))?;
        let rotated = captured["rotated"].as_str().unwrap_or_default();
        if rotated.contains('/') || !leads_down(rotated) || rotated.is_empty() {
            return Err(ActionError::invalid(
                "captured state",
                "expected a file's name",
            ));
        }
        Ok(Some(Self {
            root,
            path: log_path(call)?,
            id,
            rotated: rotated.to_owned(),
        }))
    }

    /// Its folder and its name.
    fn open(&self) -> Result<(Folder, &str), ActionError> {
        let (below, name) = split(&self.path);
        let folder = open(&self.root)?.at(Path::new(below));
        Ok((folder.map_err(|error| began_not(&self.path, error))?, name))
    }

    fn rename(&self) -> Result<(), ActionError> {
        let (folder, name) = self.open()?;
        let look = |name: &str| folder.look(name).map_err(|error| began_not(name, error));
        let (log, rotated) = (look(name)?, look(&self.rotated)?);
        if rotated.is_some_and(|rotated| rotated.id == self.id) {
            return Ok(());
        }
        let Some(log) = log.filter(|log| log.id == self.id && log.is_file()) else {
            return Err(self.replaced());
        };
        match rotated {
            None => {}
            // Ours, from before a crash.
            Some(rotated) if rotated.is_file() && rotated.size == 0 => {
                let removed = folder.remove(&self.rotated);
                removed.map_err(|error| began_not(&self.rotated, error))?;
            }
            Some(_) => {
                let taken = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(began_not(&self.rotated, taken));
            }
        }
        let exchanged = folder
            .create(&self.rotated)
            .and_then(|new| {
                dress(&new, &log)?;
                new.sync_all()
            })
            .and_then(|()| folder.exchange(name, &self.rotated));
        if let Err(error) = exchanged {
            // Still the empty file, or not there; the first error is the one that matters.
            let _ = folder.remove(&self.rotated);
            return Err(began_not(&self.path, error));
        }
        let what = format!("rotating {}", self.path);
        folder.sync().map_err(|error| failed(&what, error))?;
        match folder.look(&self.rotated) {
            Ok(Some(rotated)) if rotated.id == self.id => Ok(()),
            Ok(_) => Err(ActionError::permanent(
                what,
                "somebody else renamed it meanwhile",
            )),
            Err(error) => Err(failed(&what, error)),
        }
    }

    /// Copies what the copy does not have yet, then cuts the log; nothing if it was cut already.
    fn copy_truncate(&self, stop: &Stop) -> Result<(), ActionError> {
        let (folder, name) = self.open()?;
        let mut log = folder
            .open_file(name, true)
            .map_err(|error| began_not(&self.path, error))?;
        let look: Look = look_at(&log).map_err(|error| began_not(&self.path, error))?;
        if look.id != self.id {
            return Err(self.replaced());
        }
        let mut work = || {
            let mut kept = if folder.look(&self.rotated)?.is_some() {
                folder.open_file(&self.rotated, true)?
            } else {
                folder.create(&self.rotated)?
            };
            let n_kept = look_at(&kept)?.size;
            if !is_same(&mut kept, &mut (&log).take(n_kept), stop)? {
                return Ok(());
            }
            log.seek(SeekFrom::Start(n_kept))?;
            copy(&mut log, &mut kept, stop)?;
            dress(&kept, &look)?;
            kept.sync_all()?;
            folder.sync()?;
            // What was written while that was synced.
            copy(&mut log, &mut kept, stop)?;
            log.set_len(0)?;
            kept.sync_all()
        };
        work().map_err(|error: io::Error| failed(&format!("rotating {}", self.path), error))
    }

    fn replaced(&self) -> ActionError {
        ActionError::not_begun(
            format!("rotating {}", self.path),
            ErrorKind::Conflict,
            "the log is not the file that it was: somebody else rotated or removed it",
        )
    }
}

fn began_not(what: &str, error: io::Error) -> ActionError {
    ActionError::not_begun(format!("rotating {what}"), kind(&error), error)
}

fn failed(what: &str, error: io::Error) -> ActionError {
    ActionError::Failed {
        what: what.to_owned(),
        kind: kind(&error),
        source: Some(error.into()),
    }
}

fn log_path(call: &ActionCall<'_>) -> Result<String, ActionError> {
    let path = call.text("file")?;
    if path.is_empty() || !leads_down(path) {
        return Err(ActionError::argument("file", "a relative path of a file"));
    }
    Ok(path.to_owned())
}

/// What the log is called then: `20261122T182643Z` is a moment without characters that need care.
fn rotated_name(name: &str, now: Timestamp) -> String {
    let seconds = Timestamp::from_secs(now.as_nanos().div_euclid(1_000_000_000));
    format!("{name}.{}", seconds.to_string().replace(['-', ':'], ""))
}

#[async_trait]
impl Action for RotateLog {
    fn name(&self) -> &'static str {
        "rotate_log"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn inverse(&self, args: &Map<String, Value>) -> Inverse {
        if args.get("how").and_then(Value::as_str) == Some("copy_truncate") {
            let why = "lines written while the log is cut are lost";
            return Inverse::Irreversible(why.to_owned());
        }
        Inverse::Nothing
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.roots.problems(args, "root");
        problems.extend(path_problem(args, "file"));
        if args.get("file").and_then(Value::as_str) == Some("") {
            problems.push(ArgumentProblem::new("/file", "a relative path of a file"));
        }
        problems.extend(unknown_name(args, "reopen", self.writers.keys()));
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (root, path, now) = (
            self.roots.path(call, "root")?,
            log_path(call)?,
            cx.clock().now(),
        );
        let least = match call.args.get("larger_than") {
            None | Some(Value::Null) => None,
            Some(_) => Some(call.unsigned("larger_than")?),
        };
        let work = move |_: &Stop| {
            let (below, name) = split(&path);
            let look = open(&root)?
                .at(Path::new(below))
                .and_then(|folder| folder.look(name))
                .map_err(|error| began_not(&path, error))?;
            let expected = "expected a regular file";
            let look = look
                .filter(Look::is_file)
                .ok_or_else(|| ActionError::invalid(format!("log {path:?}"), expected))?;
            let rotated = rotated_name(name, now);
            if rotated.len() > 255 {
                return Err(ActionError::argument("file", "a shorter name"));
            }
            let is_meant = least.is_none_or(|least| look.size > least);
            let id = is_meant.then_some(look.id);
            Ok(json!({ "id": id, "size": look.size, "rotated": rotated }))
        };
        self.roots.run("looking at the log", work).await
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (root, writer) = (self.roots.path(call, "root")?, self.writer_of(call)?);
        let Some(log) = Log::captured(root, call)? else {
            return Ok(json!({ "rotated": null, "bytes": call.captured["size"] }));
        };
        let copies = match call.text("how")? {
            "rename" => false,
            "copy_truncate" => true,
            _ => return Err(ActionError::argument("how", "`rename` or `copy_truncate`")),
        };
        let size = call.captured["size"].clone();
        let work = move |stop: &Stop| {
            if copies {
                log.copy_truncate(stop)?;
            } else {
                log.rename()?;
            }
            let told = writer.map(|writer| {
                let told = writer.tell();
                told.map_err(|error| failed("telling the writer to open its log anew", error))
            });
            let told = told.transpose()?;
            Ok(json!({ "rotated": log.rotated, "bytes": size, "told_process": told }))
        };
        self.roots.run("rotating", work).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::time::Duration;

    use homeostasis_core::testing::engine::{self, Engine};

    use super::super::testing::{Playground, later, perform};
    use super::*;
    use crate::action::laws;

    fn args(how: &str) -> Value {
        json!({"root": "tmp", "file": "web/a.log", "how": how})
    }

    #[tokio::test]
    async fn a_renamed_log_keeps_its_lines_and_the_new_one_its_rights() {
        let place = Playground::new();
        place.write("web/a.log", "one\n");
        let rights = fs::Permissions::from_mode(0o640);
        fs::set_permissions(place.path("web/a.log"), rights).unwrap();
        let mut writer = fs::File::options()
            .append(true)
            .open(place.path("web/a.log"))
            .unwrap();
        let action = RotateLog::new(place.roots());
        laws::repeat_and_undo_in(&later(2), &action, &args("rename"), || place.tree()).await;
        writer.write_all(b"two\n").unwrap();
        assert_eq!(place.read("web/a.log"), "");
        let names = place.names();
        assert_eq!(names.len(), 2);
        assert_eq!(place.read(&names[1]), "one\ntwo\n");
        for name in names {
            assert_eq!(
                fs::metadata(place.path(&name)).unwrap().mode() & 0o777,
                0o640
            );
        }
    }

    #[tokio::test]
    async fn a_copied_log_is_cut_once_and_a_half_made_copy_is_completed() {
        let place = Playground::new();
        let text = "a line\n".repeat(30_000);
        place.write("web/a.log", &text);
        let action = RotateLog::new(place.roots());
        let cx = later(2);
        let rotated = format!("web/{}", rotated_name("a.log", cx.clock().now()));
        place.write(&rotated, &text[..100_000]);
        laws::repeat_and_undo_in(&cx, &action, &args("copy_truncate"), || {
            // A name that was there before and after: content is what counts.
            (
                place.read("web/a.log"),
                place.read(&rotated).len() == text.len(),
            )
        })
        .await;
        assert_eq!(
            (place.read("web/a.log"), place.read(&rotated)),
            (String::new(), text)
        );
        let lossy = action.inverse(args("copy_truncate").as_object().unwrap());
        assert!(!lossy.is_reversible());
    }

    #[tokio::test]
    async fn a_small_log_stays_and_a_replaced_one_is_a_conflict() {
        let place = Playground::new();
        place.write("web/a.log", "12345");
        let action = RotateLog::new(place.roots());
        let mut small = args("rename");
        small["larger_than"] = 5.into();
        assert_eq!(
            perform(&action, &later(2), &small).await.unwrap()["rotated"],
            Value::Null
        );
        let mut args = args("rename").as_object().unwrap().clone();
        action.spec().fill_defaults(&mut args);
        let (target, key) = (
            homeostasis_core::Target::service("x").unwrap(),
            laws::key(0),
        );
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&later(2), &call).await.unwrap();
        fs::rename(place.path("web/a.log"), place.path("web/a.log.1")).unwrap();
        place.write("web/a.log", "new");
        let call = call.with_captured(&captured);
        let error = action.perform(&later(2), &call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(!error.may_have_begun());
        assert_eq!(place.names(), ["web/a.log", "web/a.log.1"]);
    }

    #[tokio::test]
    async fn the_writer_is_told_and_another_program_under_its_number_is_not() {
        let Some(shell) = engine::find("sh", &["/bin"]) else {
            return;
        };
        let shell = shell.canonicalize().unwrap();
        let place = Playground::new();
        place.write("web/a.log", "one\n");
        let (told, ready) = (place.path("told"), place.path("ready"));
        #[expect(clippy::disallowed_methods, reason = "the test plays the writer")]
        let mut command = std::process::Command::new(&shell);
        command
            .args([
                "-c",
                "trap 'echo told > \"$0\"' USR1; : > \"$1\"; while :; do sleep 0.05; done",
            ])
            .args([&told, &ready]);
        let mut engine = Engine::start(command);
        let patience = Duration::from_secs(30);
        engine.wait_until("trap", patience, || ready.exists());
        place.write("pid", &format!("{}\n", engine.id()));
        let writer =
            |program: &Path| LogWriter::new(place.path("pid"), program).signal(ReopenSignal::Usr1);
        let action = |program: &Path| {
            RotateLog::new(place.roots())
                .writer("web", writer(program))
                .unwrap()
        };
        let mut args = args("rename");
        args["reopen"] = "web".into();
        let other = perform(&action(Path::new("/bin/other")), &later(2), &args).await;
        let report = other.unwrap_err().report().to_string();
        assert!(report.contains("and not /bin/other"), "{report}");
        assert!(!told.exists());
        let output = perform(&action(&shell), &later(3), &args).await.unwrap();
        assert_eq!(output["told_process"], engine.id());
        engine.wait_until("word", patience, || told.exists());
    }
}
