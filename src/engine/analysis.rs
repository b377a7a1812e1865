//! One analysis: all analyzers at once over the same evidence, added up by the fuser.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::{Diagnosis, Finding};
use homeostasis_core::stage::{Analyzer, Evidence, Fuser};
use homeostasis_core::{Clock, Context, ErrorKind, ErrorReport, Incident};

use crate::engine::calls::{self, check, join};
use crate::engine::evidence::Look;
use crate::engine::tasks::Tasks;

/// Who analyzes, and on what.
#[derive(Debug)]
pub(crate) struct Panel<'a> {
    pub(crate) analyzers: &'a [Arc<dyn Analyzer>],
    pub(crate) fuser: &'a Arc<dyn Fuser>,
    pub(crate) tasks: &'a Tasks,
    pub(crate) clock: &'a Arc<dyn Clock>,
    /// How long each may take.
    pub(crate) limit: Duration,
}

/// A plug-in that misbehaved: stage, name, what it did.
pub(crate) type Fault = (&'static str, String, ErrorReport);

impl Panel<'_> {
    /// Looks once at `incident`; `cx` observes what `look` froze. Also who misbehaved.
    pub(crate) async fn analyze(
        &self,
        cx: &Context,
        incident: &Arc<Incident>,
        look: &Look,
    ) -> (Diagnosis, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut findings: Vec<Finding> = Vec::new();
        let mut pending = Vec::new();
        let (from, to, complete_since) = (look.from, look.to, look.complete_since);
        for analyzer in self.analyzers {
            let (name, analyzer) = (analyzer.name().to_owned(), Arc::clone(analyzer));
            let cx = cx.clone().within(self.limit);
            let (subject, besides) = (Arc::clone(incident), Arc::clone(&look.besides));
            let call = async move {
                let evidence = Evidence::new(&subject, from, to)
                    .besides(&besides)
                    .complete_since(complete_since);
                let found = analyzer.analyze(&cx, &evidence).await;
                found.map_err(|error| error.report())
            };
            pending.push((name, Box::pin(self.call(call))));
        }
        for (name, answer) in join(pending).await {
            match answer.and_then(|found| check(found, Finding::violation)) {
                Ok(found) => findings.extend(found),
                Err(report) => faults.push(("analyzer", name, report)),
            }
        }
        let (fuser, cx) = (Arc::clone(self.fuser), cx.clone().within(self.limit));
        let (subject, besides) = (Arc::clone(incident), Arc::clone(&look.besides));
        let fusing = async move {
            let evidence = Evidence::new(&subject, from, to)
                .besides(&besides)
                .complete_since(complete_since);
            Ok(fuser.fuse(&cx, &evidence, findings))
        };
        let added_up = self.call(fusing).await;
        let added_up = added_up.and_then(|diagnosis| match diagnosis.violation() {
            None => Ok(diagnosis),
            Some(broken) => {
                let message = format!("broke its post-condition: {broken}");
                Err(ErrorReport::message(ErrorKind::Permanent, message))
            }
        });
        let mut diagnosis = added_up.unwrap_or_else(|report| {
            let reason = format!("the fuser gave no diagnosis: {report}");
            faults.push(("fuser", "fuser".to_owned(), report));
            Diagnosis::abstain(reason)
        });
        look.left_out.note(&mut diagnosis);
        (diagnosis, faults)
    }

    async fn call<T: Send + 'static>(
        &self,
        plugin: impl Future<Output = Result<T, ErrorReport>> + Send + 'static,
    ) -> Result<T, ErrorReport> {
        calls::call(self.tasks, self.clock, self.limit, plugin).await
    }
}
