//! One life of a healer: a child process, what it says, and how it ends.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::record::StepPhase;
use homeostasis::core::{Clock, IncidentId, Timestamp};
use rustix::process::{Pid, Signal, kill_process};

use super::child::ChildOptions;
use super::protocol::Line;
use super::stage::{Class, Stage};

/// A life in which the chosen moment does not come is killed after this long all the same.
const LONGEST_LIFE: Duration = Duration::from_millis(700);

/// How long a process may take to end after its last line.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Held while a process is made: until it runs a program of its own it has every file of ours open,
/// with the locks on them.
static SPAWNING: Mutex<()> = Mutex::new(());

/// Waits until no process holds a file that was open here and is closed now.
pub(super) fn let_go_of_closed_files() {
    drop(SPAWNING.lock().unwrap_or_else(PoisonError::into_inner));
}

/// When a life is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// This long after its start, whatever it does then.
    At(Duration),
    /// When the journal of some incident reaches the stage.
    Reached(Stage),
    /// When the journal of some incident is in the stage, and the commit that ends it is under way.
    Leaving(Stage),
    /// When the process runs, and nothing else.
    Starting,
    /// When the journal is open.
    Opened,
    /// When it has taken a run up again.
    Resumed,
    /// When it has taken up a run that was being taken back.
    ResumedUndo,
    /// When it has nothing to do.
    Idle,
}

/// How waiting for a moment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lived {
    Moment,
    /// The time was up before the moment came.
    Limit,
    /// The process said its last line: it ended, or is about to.
    End,
}

/// A child process, and what it said. Dropping it kills it.
pub(super) struct Life {
    child: Child,
    /// The child ends when this closes: it does not survive a parent that is killed.
    _tie: Option<ChildStdin>,
    said: Receiver<Result<Line, String>>,
    pub(super) lines: Vec<Line>,
    started: Timestamp,
}

impl Life {
    pub(super) fn start(options: &ChildOptions) -> Result<Self, Box<dyn Error>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the drill is about a real process, and no part of the healer"
        )]
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let spawning = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command
            .arg(crate::args::CRASH_CHILD)
            .arg(&options.folder)
            .args([options.seed.to_string(), options.base.to_string()])
            .arg(options.mode.name())
            .arg(if options.shared { "shared" } else { "own" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        drop(spawning);
        let (tie, out) = (child.stdin.take(), child.stdout.take());
        let (sender, said) = mpsc::channel();
        let life = Self {
            child,
            _tie: tie,
            said,
            lines: Vec::new(),
            started: SystemClock.now(),
        };
        let out = out.ok_or("a child without an output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let line = line.map_err(|error| error.to_string()).and_then(|text| {
                    serde_json::from_str(&text).map_err(|error| format!("{text:?}: {error}"))
                });
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(life)
    }

    /// Listens until the moment has come or the life is over.
    ///
    /// # Errors
    /// If it says something that cannot be understood.
    pub(super) fn until(&mut self, moment: Moment) -> Result<Lived, String> {
        let limit = match moment {
            Moment::At(limit) => limit,
            _ => LONGEST_LIFE,
        };
        self.until_or(moment, limit)
    }

    /// Listens until the moment has come, the life is over, or it has lasted for `limit`.
    ///
    /// # Errors
    /// If it says something that cannot be understood.
    pub(super) fn until_or(&mut self, moment: Moment, limit: Duration) -> Result<Lived, String> {
        let mut stages = BTreeMap::new();
        let is_here = |line: &Line| has_come(moment, line, &mut stages);
        self.listen(
            limit.saturating_sub(SystemClock.now().since(self.started)),
            is_here,
        )
    }

    /// Listens for `limit` at most, until it says something that is `wanted`, or its life is over.
    ///
    /// # Errors
    /// If it says something that cannot be understood.
    pub(super) fn listen(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Line) -> bool,
    ) -> Result<Lived, String> {
        let began = SystemClock.now();
        loop {
            let left = limit.saturating_sub(SystemClock.now().since(began));
            match self.said.recv_timeout(left) {
                Ok(line) => {
                    let line = line?;
                    let come = wanted(&line);
                    self.lines.push(line);
                    if come {
                        return Ok(Lived::Moment);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Lived::End),
                Err(RecvTimeoutError::Timeout) => return Ok(Lived::Limit),
            }
        }
    }

    /// Stops it where it stands, or lets it go on.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Box<dyn Error>> {
        let raw = i32::try_from(self.child.id())?;
        let pid = Pid::from_raw(raw).ok_or("a child without a pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it now; everything it said, to the last line.
    pub(super) fn kill(mut self) -> Result<Vec<Line>, Box<dyn Error>> {
        self.child.kill()?;
        let status = self.child.wait()?;
        if status.code().is_some() {
            return Err(format!("a child ended by itself: {status}").into());
        }
        for line in &self.said {
            self.lines.push(line?);
        }
        Ok(std::mem::take(&mut self.lines))
    }

    /// How it ended, when it said its last line by itself.
    pub(super) fn end(&mut self) -> Result<ExitStatus, Box<dyn Error>> {
        for _ in 0..LAST_BREATH.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("a child said its last line and did not end within {LAST_BREATH:?}").into())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may be dead already; then both calls say so, and nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `line` is what `moment` waits for; `stages` remembers where the incidents stand.
fn has_come(moment: Moment, line: &Line, stages: &mut BTreeMap<IncidentId, Stage>) -> bool {
    let leaving = match line {
        Line::Trying { incident } => stages.get(incident).copied(),
        _ => None,
    };
    if let Line::Durable(ack) = line {
        match ack.stage {
            Some(stage) => stages.insert(ack.incident, stage),
            None => stages.remove(&ack.incident),
        };
    }
    match (moment, line) {
        (Moment::Starting, Line::Starting)
        | (Moment::Opened, Line::Opened)
        | (Moment::Idle, Line::Idle) => true,
        (Moment::Reached(Stage::Effect), Line::Effect { phase, .. }) => *phase == StepPhase::Do,
        (Moment::Reached(Stage::UndoEffect), Line::Effect { phase, .. }) => {
            *phase == StepPhase::Undo
        }
        (Moment::Resumed, Line::Durable(ack)) => ack.event == "run_resumed",
        (Moment::ResumedUndo, Line::Durable(ack)) => {
            ack.event == "run_resumed" && ack.stage.map(Stage::class) == Some(Class::Undo)
        }
        (Moment::Reached(stage), Line::Durable(ack)) => ack.stage == Some(stage),
        (Moment::Leaving(stage), Line::Trying { .. }) => leaving == Some(stage),
        _ => false,
    }
}
