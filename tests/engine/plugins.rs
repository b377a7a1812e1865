//! Plug-ins that more than one file of these tests needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::policy::Permit;
use homeostasis::core::record::{Anomaly, Outcome, Plan, Verdict, VerdictKind};
use homeostasis::core::signal::SignalBatch;
use homeostasis::core::stage::{
    DetectError, Detector, ExecuteError, PlanError, PlanRequest, Remediator, RunLog, Verifier,
    VerifyError, VerifyRequest,
};
use homeostasis::core::{Context, PlanId, async_trait};

use crate::world::{Doctor, World};

/// A verifier that takes a minute and a half: three times as long as a lease lasts.
#[derive(Debug)]
pub(crate) struct SlowVerifier;

impl SlowVerifier {
    pub(crate) const TAKES: Duration = Duration::from_secs(90);
}

#[async_trait]
impl Verifier for SlowVerifier {
    fn name(&self) -> &str {
        "slow"
    }

    async fn verify(&self, cx: &Context, _: VerifyRequest<'_>) -> Result<Verdict, VerifyError> {
        cx.clock().sleep(Self::TAKES).await;
        Ok(Verdict::new(
            VerdictKind::Success,
            cx.now(),
            "took its time",
        ))
    }
}

/// A detector that raises the same anomalies each turn for as long as it is switched on.
#[derive(Debug)]
pub(crate) struct Siren {
    pub(crate) on: Arc<AtomicBool>,
    pub(crate) anomalies: Vec<Anomaly>,
}

#[async_trait]
impl Detector for Siren {
    fn name(&self) -> &str {
        "siren"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let on = self.on.load(Ordering::SeqCst);
        Ok(if on {
            self.anomalies.clone()
        } else {
            Vec::new()
        })
    }
}

/// The doctor under another name, with plans that were changed.
#[derive(Debug)]
pub(crate) struct Colleague {
    doctor: Doctor,
    change: fn(&mut Plan),
}

impl Colleague {
    pub(crate) fn of(world: &Arc<World>, change: fn(&mut Plan)) -> Self {
        Self {
            doctor: Doctor(Arc::clone(world)),
            change,
        }
    }
}

#[async_trait]
impl Remediator for Colleague {
    fn name(&self) -> &str {
        "colleague"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let mut plans = self.doctor.plan(cx, request).await?;
        for plan in &mut plans {
            plan.remediator = "colleague".into();
            plan.id = PlanId::new(cx.now(), &mut cx.rng(2));
            (self.change)(plan);
        }
        Ok(plans)
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        self.doctor.execute(cx, permit, run).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        self.doctor.undo(cx, permit, run).await
    }
}
