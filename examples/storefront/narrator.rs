//! Tells the person at the terminal what happens: a progress bar below the story on a terminal,
//! plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const BAR_WIDTH: usize = 24;

/// Writes to standard output; shared by reference.
#[derive(Debug)]
pub(crate) struct Narrator {
    terminal: bool,
    started: Instant,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    done: usize,
    of: usize,
    text: String,
}

impl Narrator {
    /// `of` is the number of chapters; see [`Narrator::chapter`].
    pub(crate) fn new(of: usize) -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            started: Instant::now(),
            progress: Mutex::new(Progress {
                of,
                ..Progress::default()
            }),
        }
    }

    /// A line of the story.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        let progress = self.progress();
        self.line(text.as_ref());
        self.draw(&progress);
    }

    /// What is going on right now; only a terminal shows it.
    pub(crate) fn status(&self, text: String) {
        let mut progress = self.progress();
        if progress.text != text {
            progress.text = text;
            self.draw(&progress);
        }
    }

    /// A chapter is over: the bar moves on.
    pub(crate) fn chapter(&self) {
        let mut progress = self.progress();
        progress.done = progress.of.min(progress.done + 1);
        self.draw(&progress);
    }

    /// The story is told: the bar goes away.
    pub(crate) fn end(&self, text: &str) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
        println!("{text}");
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
        println!("[{:6.1}s] {text}", self.started.elapsed().as_secs_f64());
    }

    fn draw(&self, progress: &Progress) {
        if !self.terminal {
            return;
        }
        let filled = BAR_WIDTH * progress.done / progress.of.max(1);
        print!(
            "\r\x1b[2K[{}{}] {}/{} {}",
            "#".repeat(filled),
            "-".repeat(BAR_WIDTH - filled),
            progress.done,
            progress.of,
            // One line: a wrapped line could not be wiped.
            progress.text.chars().take(60).collect::<String>(),
        );
        // A terminal that went away is no reason to stop healing.
        let _ = std::io::stdout().flush();
    }
}
