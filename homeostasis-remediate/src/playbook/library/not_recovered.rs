//! `not_recovered`: nothing is done to what is well again.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::condition::Truth;
use homeostasis_core::signal::HealthState;
use homeostasis_core::{Context, Target};

use crate::playbook::PreCheck;

/// How far back a report of health counts.
const WINDOW: Duration = Duration::from_secs(30);

/// The pre-check `not_recovered` of the shipped playbooks: false if every report of health of the
/// target in the last 30 s says that it is healthy, and there is one; true otherwise.
///
/// So trouble that passed by itself between diagnosis and plan is left alone, and a service whose
/// health nobody reports can be healed all the same. Takes time linear in those reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotRecovered;

#[async_trait]
impl PreCheck for NotRecovered {
    fn name(&self) -> &'static str {
        "not_recovered"
    }

    async fn check(&self, cx: &Context, target: &Target) -> Truth {
        let (from, to) = (cx.now() - WINDOW, cx.now());
        let reports = cx.observations().health(Some(target), from, to);
        let is_well =
            |report: &homeostasis_core::signal::HealthReport| report.state == HealthState::Healthy;
        let has_recovered = !reports.is_empty() && reports.iter().all(is_well);
        if has_recovered {
            Truth::False
        } else {
            Truth::True
        }
    }
}
