//! Triggers taken from what went wrong: the request that failed, asked again.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::{ErrorEvent, LogRecord};
use homeostasis_core::stage::PatchError;
use homeostasis_core::{Context, IncidentId, Target};

use super::plan::{Level, TrialTest};

/// The longest text a trigger takes from a log, in bytes.
const MAX_TEXT: usize = 4096;

/// What opens a placeholder.
const PLACES: [&str; 3] = ["{error.kind}", "{error.message}", "{fields."];

/// Gives the triggers of a trial when patches are tested, instead of when the trial is made.
///
/// # Assumptions
/// While nothing new goes wrong it gives the same triggers, so that outcomes are kept. What it takes from
/// logs is text that anybody may have written: it becomes arguments, never a shell's line.
#[async_trait]
pub trait TriggerSource: fmt::Debug + Send + Sync {
    /// Tests of the level trigger for what is wrong now; none if nothing is known, which refuses the patch.
    /// `root` is the project, which is read only.
    ///
    /// # Errors
    /// If it cannot be told; what is worth another attempt has such a
    /// [kind](homeostasis_core::ErrorKind::is_retryable).
    async fn triggers(&self, cx: &Context, root: &Path) -> Result<Vec<TrialTest>, PatchError>;
}

/// A trigger made of the last failure in the log that has what it needs.
///
/// Its test is a template: in the name, in the arguments, in the values of variables and in what it must
/// show, `{error.kind}`, `{error.message}` and `{fields.NAME}` stand for what the log record says.
/// Other braces stay as they are, and what was taken from the log is not looked at for placeholders.
///
/// A record is passed over if it lacks what a placeholder names, if a text is longer than 4096 bytes or
/// holds a NUL, and if an argument would begin with a `-` that the log put there: it would be an option.
///
/// # Examples
/// ```
/// # #[cfg(target_os = "linux")] {
/// use std::time::Duration;
///
/// use homeostasis::core::Target;
/// use homeostasis::patch::sandbox::SandboxCommand;
/// use homeostasis::patch::trial::{Level, LoggedFailure, TrialTest};
///
/// let again = SandboxCommand::new(["python3", "serve.py", "--replay", "{fields.path}"]);
/// let test = TrialTest::new("GET {fields.path}", Level::Trigger, again).showing("{error.kind}");
/// let source = LoggedFailure::new(test)
///     .of(Target::service("shop")?)
///     .within(Duration::from_secs(60));
/// # drop(source);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoggedFailure {
    template: TrialTest,
    target: Option<Target>,
    look_back: Duration,
}

impl LoggedFailure {
    /// `template` filled from the records since five minutes before the incident was opened, whoever
    /// wrote them; its level becomes trigger.
    pub fn new(template: TrialTest) -> Self {
        Self {
            template: TrialTest {
                level: Level::Trigger,
                ..template
            },
            target: None,
            look_back: Duration::from_secs(300),
        }
    }

    /// Only from records of `target`.
    #[must_use]
    pub fn of(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Only from records that are not older than `look_back` before the incident was opened, or, where
    /// the context is about none, before the test. How long records are kept is the host's to say: a patch
    /// that was approved later than that has no trigger, and is refused.
    #[must_use]
    pub fn within(mut self, look_back: Duration) -> Self {
        self.look_back = look_back;
        self
    }

    /// The template with what `record` says; `None` if the record lacks something.
    fn filled(&self, record: &LogRecord) -> Option<TrialTest> {
        let error = record.error.as_deref()?;
        let fill = |text: &str| filled(text, record, error);
        let mut test = self.template.clone();
        test.name = fill(&test.name)?;
        test.shows = match &test.shows {
            Some(text) => Some(fill(text)?),
            None => None,
        };
        for argument in &mut test.command.argv {
            let full = fill(argument)?;
            if full.starts_with('-') && !argument.starts_with('-') {
                return None;
            }
            *argument = full;
        }
        for value in test.command.variables.values_mut() {
            *value = fill(value)?;
        }
        Some(test)
    }
}

#[async_trait]
impl TriggerSource for LoggedFailure {
    async fn triggers(&self, cx: &Context, _: &Path) -> Result<Vec<TrialTest>, PatchError> {
        let now = cx.now();
        // The incident's id is made when it is opened.
        let began = cx.incident().map_or(now, IncidentId::made_at);
        let from = began.min(now) - self.look_back;
        let records = cx.observations().logs(self.target.as_ref(), from, now);
        let last = records.iter().rev().find_map(|record| self.filled(record));
        Ok(last.into_iter().collect())
    }
}

/// `text` with its placeholders filled; `None` if one cannot be.
fn filled(text: &str, record: &LogRecord, error: &ErrorEvent) -> Option<String> {
    let mut full = String::new();
    let mut rest = text;
    while let Some(at) = PLACES.iter().filter_map(|place| rest.find(place)).min() {
        full.push_str(&rest[..at]);
        let (name, after) = rest[at + 1..].split_once('}')?;
        let value = match name {
            "error.kind" => error.kind.as_str(),
            "error.message" => error.message.as_str(),
            field => record.fields.get(field.strip_prefix("fields.")?)?,
        };
        if value.is_empty() || value.len() > MAX_TEXT || value.contains('\0') {
            return None;
        }
        full.push_str(value);
        rest = after;
    }
    full.push_str(rest);
    Some(full)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homeostasis_core::signal::Level as LogLevel;
    use homeostasis_core::testing::RecordedObservations;
    use homeostasis_core::{Clock, IncidentId, ManualClock, Rng, Timestamp};

    use super::*;
    use crate::sandbox::SandboxCommand;

    const NOW: u64 = 1_790_000_000;

    fn failure(seconds_ago: u64, service: &str, path: Option<&str>) -> LogRecord {
        let at = Timestamp::from_secs(i64::try_from(NOW - seconds_ago).unwrap());
        let mut record = LogRecord::new(at, LogLevel::Error, "failed");
        record.target = Some(Target::service(service).unwrap());
        let error = ErrorEvent::new("python", "KeyError", "'{fields.path}'");
        record.error = Some(Box::new(error));
        if let Some(path) = path {
            record.fields.insert("path", path);
        }
        record
    }

    async fn triggers(source: &LoggedFailure, logs: Vec<LogRecord>) -> Vec<TrialTest> {
        let now = Timestamp::from_secs(i64::try_from(NOW).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(now));
        let world = logs
            .into_iter()
            .fold(RecordedObservations::new(), RecordedObservations::with_log);
        let cx = Context::new(clock, 1).observing(Arc::new(world));
        source.triggers(&cx, Path::new("/")).await.unwrap()
    }

    fn source() -> LoggedFailure {
        let argv = ["serve", "--path={fields.path}", "{fields.path}", "{}{x}"];
        let mut command = SandboxCommand::new(argv);
        let message = "{error.message}!".to_owned();
        command.variables.insert("M".to_owned(), message);
        let test = TrialTest::new("GET {fields.path}", Level::Unit, command);
        LoggedFailure::new(test.showing("{error.kind}: "))
            .of(Target::service("shop").unwrap())
            .within(Duration::from_secs(60))
    }

    #[tokio::test]
    async fn the_last_failure_that_has_everything_becomes_the_trigger() {
        let logs = vec![
            failure(61, "shop", Some("/old")),
            failure(30, "shop", Some("/a b;$(x)")),
            failure(20, "shop", None),
            failure(10, "other", Some("/other")),
        ];
        let found = triggers(&source(), logs).await;
        let [test] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(test.level, Level::Trigger);
        assert_eq!(test.name, "GET /a b;$(x)");
        assert_eq!(test.shows.as_deref(), Some("KeyError: "));
        let argv = ["serve", "--path=/a b;$(x)", "/a b;$(x)", "{}{x}"];
        assert_eq!(test.command.argv, argv);
        // What the log says is text, also if it looks like a placeholder.
        assert_eq!(test.command.variables["M"], "'{fields.path}'!");
    }

    /// An approval may take longer than a service logs.
    #[tokio::test]
    async fn the_failures_of_an_incident_count_however_long_ago_it_began() {
        let at = |seconds_ago| Timestamp::from_secs(i64::try_from(NOW - seconds_ago).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(at(0)));
        let mut rng = Rng::from_seed(1);
        let began = IncidentId::new(at(3600), &mut rng);
        for (seconds_ago, found) in [(3661, 0), (3659, 1), (3000, 1)] {
            let logs = failure(seconds_ago, "shop", Some("/a"));
            let world = RecordedObservations::new().with_log(logs);
            let cx = Context::new(Arc::clone(&clock), 1).observing(Arc::new(world));
            let none = source().triggers(&cx, Path::new("/")).await.unwrap();
            assert_eq!(none, [], "no incident, too long ago");
            let cx = cx.for_incident(began);
            let triggers = source().triggers(&cx, Path::new("/")).await.unwrap();
            assert_eq!(triggers.len(), found, "{seconds_ago} s ago");
        }
    }

    #[tokio::test]
    async fn what_would_be_an_option_or_is_too_long_is_passed_over() {
        let long = "x".repeat(MAX_TEXT + 1);
        let bad = ["--delete", "-x", "", "a\0b", &long];
        let logs = bad.map(|path| failure(5, "shop", Some(path)));
        assert_eq!(triggers(&source(), logs.to_vec()).await, []);
        assert_eq!(triggers(&source(), Vec::new()).await, []);
    }
}
