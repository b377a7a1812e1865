//! Answers all the same, and says which rung the answer is from.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use homeostasis_core::BoxError;
use serde::{Deserialize, Serialize};

use super::observer::{ResilienceEvent, ResilienceObserver};

/// Where an answer is from, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rung {
    /// What was asked for.
    Primary,
    /// What was answered earlier.
    Cached,
    /// Something less that was computed now.
    Degraded,
    /// Something fixed.
    Default,
    /// People: they were told, and nothing was answered.
    Human,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Cached => "cached",
            Self::Degraded => "degraded",
            Self::Default => "default",
            Self::Human => "human",
        })
    }
}

/// A rung that gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{rung} gave no answer")]
pub struct Miss {
    /// Which.
    pub rung: Rung,
    /// Why.
    #[source]
    pub error: BoxError,
}

/// An answer, and what was tried before it.
#[derive(Debug)]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// Where it is from.
    pub rung: Rung,
    /// The rungs above, in the order they were tried.
    pub misses: Vec<Miss>,
}

impl<T> Answered<T> {
    /// Whether it is something else than what was asked for.
    pub fn is_fallback(&self) -> bool {
        self.rung != Rung::Primary
    }
}

/// No rung had an answer.
#[derive(Debug, thiserror::Error)]
#[error("`{name}`: none of {} rungs gave an answer{}", misses.len(), handed_to(taken_by.as_deref()))]
pub struct Unanswered {
    /// The chain.
    pub name: Arc<str>,
    /// What was tried, in order.
    pub misses: Vec<Miss>,
    /// What people took it over as, such as a ticket, if they did.
    pub taken_by: Option<String>,
}

fn handed_to(taken_by: Option<&str>) -> String {
    taken_by.map_or_else(String::new, |ticket| {
        format!("; handed to people as {ticket}")
    })
}

/// A chain of answers, tried one after another until there is one.
///
/// Rungs are tried in the order they are written: cached, then degraded, then default, then people.
/// A rung is not polled once there is an answer. Nothing is remembered between chains.
///
/// # Examples
/// ```
/// use homeostasis::remediate::resilience::{Fallback, Rung};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let answer = Fallback::new("price")
///     .or(Rung::Primary, async { Err::<u32, _>("connection refused") }).await
///     .or(Rung::Cached, async { Err::<u32, _>("not in the cache") }).await
///     .or_default(|| 100)
///     .answer()?;
/// assert_eq!((answer.value, answer.rung), (100, Rung::Default));
/// assert_eq!(answer.misses[0].error.to_string(), "connection refused");
/// # Ok::<(), homeostasis::remediate::resilience::Unanswered>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "its answer is given by `answer`"]
pub struct Fallback<T> {
    name: Arc<str>,
    observer: Option<Arc<dyn ResilienceObserver>>,
    found: Option<(T, Rung)>,
    misses: Vec<Miss>,
    taken_by: Option<String>,
}

impl<T> Fallback<T> {
    /// A chain without rungs.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            observer: None,
            found: None,
            misses: Vec::new(),
            taken_by: None,
        }
    }

    /// The same, watched by `observer`.
    pub fn observed_by(mut self, observer: Arc<dyn ResilienceObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Tries `rung` if there is no answer yet.
    ///
    /// # Cancel safety
    /// Dropping it drops the chain.
    pub async fn or<E: Into<BoxError>>(
        mut self,
        rung: Rung,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Self {
        if self.found.is_none() {
            match attempt.await {
                Ok(value) => self.found = Some((value, rung)),
                Err(error) => self.misses.push(Miss {
                    rung,
                    error: error.into(),
                }),
            }
        }
        self
    }

    /// Answers `value()` if there is no answer yet.
    pub fn or_default(mut self, value: impl FnOnce() -> T) -> Self {
        self.found = self.found.or_else(|| Some((value(), Rung::Default)));
        self
    }

    /// Tells people if there is no answer yet. They give none: `tell` says what they took it over as,
    /// such as the number of a ticket.
    ///
    /// # Cancel safety
    /// Dropping it drops the chain; whether people were told is then unknown.
    pub async fn or_people<E: Into<BoxError>>(
        mut self,
        tell: impl AsyncFnOnce(&[Miss]) -> Result<String, E>,
    ) -> Self {
        if self.found.is_none() {
            match tell(&self.misses).await {
                Ok(ticket) => self.taken_by = Some(ticket),
                Err(error) => self.misses.push(Miss {
                    rung: Rung::Human,
                    error: error.into(),
                }),
            }
        }
        self
    }

    /// The answer.
    ///
    /// # Errors
    /// No rung gave one.
    pub fn answer(self) -> Result<Answered<T>, Unanswered> {
        let event = match &self.found {
            Some((_, rung)) => ResilienceEvent::Answered(*rung),
            None => ResilienceEvent::Unanswered(self.taken_by.is_some()),
        };
        if let Some(observer) = &self.observer {
            observer.observe(&self.name, &event);
        }
        match self.found {
            Some((value, rung)) => Ok(Answered {
                value,
                rung,
                misses: self.misses,
            }),
            None => Err(Unanswered {
                name: self.name,
                misses: self.misses,
                taken_by: self.taken_by,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Log;
    use super::*;

    /// A rung that must not be tried.
    fn tried<T>() -> Result<T, &'static str> {
        panic!("tried")
    }

    #[tokio::test]
    async fn the_first_rung_that_answers_is_named_and_those_below_are_not_tried() {
        let log = Arc::new(Log::default());
        let answer = Fallback::new("price")
            .observed_by(Arc::clone(&log) as _)
            .or(Rung::Primary, async { Err("down") })
            .await
            .or(Rung::Cached, async { Ok::<u32, &str>(7) })
            .await
            .or(Rung::Degraded, async { tried() })
            .await
            .or_default(|| panic!("tried"))
            .or_people(async |_| tried())
            .await
            .answer()
            .unwrap();
        assert_eq!((answer.value, answer.rung), (7, Rung::Cached));
        assert!(answer.is_fallback());
        assert_eq!(answer.misses.len(), 1);
        assert_eq!(log.take(), ["price: Answered(Cached)"]);
    }

    #[tokio::test]
    async fn people_are_told_what_was_tried_and_who_asked_learns_of_it() {
        let chain = || async {
            Fallback::<u32>::new("price")
                .or(Rung::Primary, async { Err("down") })
                .await
                .or(Rung::Degraded, async { Err("no model") })
                .await
        };
        let tell = async |misses: &[Miss]| Ok::<_, BoxError>(format!("#{}", misses.len()));
        let told = chain().await.or_people(tell).await.answer().unwrap_err();
        assert_eq!(
            told.to_string(),
            "`price`: none of 2 rungs gave an answer; handed to people as #2"
        );
        let asleep = async |_: &[Miss]| Err::<String, _>("nobody is on call");
        let alone = chain().await.or_people(asleep).await.answer().unwrap_err();
        assert_eq!((alone.taken_by, alone.misses.len()), (None, 3));
        assert_eq!(alone.misses[2].rung, Rung::Human);
    }
}
