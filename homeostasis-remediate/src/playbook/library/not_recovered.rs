//! `not_recovered`: nothing is done to what is well again.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::condition::Truth;
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{Context, Target};

use crate::playbook::PreCheck;

/// How long it must have been well.
const WELL_FOR: Duration = Duration::from_secs(30);

/// How far back somebody must have seen it ill.
const ILL_WITHIN: Duration = Duration::from_secs(30 * 60);

/// The pre-check `not_recovered` of the shipped playbooks: false if reports of health of the target
/// say that it was ill within the last half hour and that it is well again: every report of the last
/// 30 s is good, and there is one. True otherwise.
///
/// So trouble that passed by itself between diagnosis and plan is left alone. A target whose health
/// nobody reports can be healed all the same, and so can one whose trouble no check of health sees,
/// such as a leak. Takes time linear in the reports of half an hour.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotRecovered;

#[async_trait]
impl PreCheck for NotRecovered {
    fn name(&self) -> &'static str {
        "not_recovered"
    }

    async fn check(&self, cx: &Context, target: &Target) -> Truth {
        let now = cx.now();
        let reports = cx
            .observations()
            .health(Some(target), now - ILL_WITHIN, now);
        let is_well = |report: &&HealthReport| report.state == HealthState::Healthy;
        let since = now - WELL_FOR;
        let (lately, before): (Vec<_>, Vec<_>) =
            reports.iter().partition(|report| report.at >= since);
        let was_ill = !before.iter().all(is_well);
        let has_recovered = was_ill && !lately.is_empty() && lately.iter().all(is_well);
        if has_recovered {
            Truth::False
        } else {
            Truth::True
        }
    }
}
