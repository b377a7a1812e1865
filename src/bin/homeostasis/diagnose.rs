//! `homeostasis diagnose …`

use std::fmt::Write as _;
use std::io::Read as _;

use homeostasis::core::record::Diagnosis;
use homeostasis::{ConfigSource, Homeostasis, IncidentEvidence};

use crate::Answer;
use crate::args::DiagnoseCommand;

/// Runs it.
pub(crate) fn run(command: &DiagnoseCommand) -> Answer {
    match diagnose(command) {
        Ok(diagnosis) => {
            let out = if command.json {
                // A diagnosis holds nothing that JSON does not know.
                serde_json::to_string(&diagnosis).unwrap_or_default() + "\n"
            } else {
                told(&diagnosis)
            };
            Answer {
                out,
                code: u8::from(diagnosis.root_cause().is_none()),
                ..Answer::default()
            }
        }
        Err(error) => Answer {
            err: format!("{error}\n"),
            code: 2,
            ..Answer::default()
        },
    }
}

fn diagnose(command: &DiagnoseCommand) -> Result<Diagnosis, String> {
    let text = read(&command.evidence).map_err(|error| {
        let file = &command.evidence;
        format!("{file}, expected evidence that can be read: {error}")
    })?;
    let evidence = IncidentEvidence::from_json(&text)
        .map_err(|error| format!("{}: {error}", command.evidence))?;
    let mut builder = Homeostasis::builder();
    if let Some(file) = &command.config {
        let config = ConfigSource::file(file).load();
        builder = builder.config(config.map_err(|error| error.to_string())?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let diagnosis = runtime.block_on(builder.diagnose(&evidence));
    diagnosis.map_err(|error| error.to_string())
}

fn read(file: &str) -> std::io::Result<String> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        Ok(text)
    } else {
        std::fs::read_to_string(file)
    }
}

/// The diagnosis for people: every cause with what speaks for and against it.
fn told(diagnosis: &Diagnosis) -> String {
    let mut text = format!("{diagnosis}\n");
    for (place, hypothesis) in diagnosis.hypotheses.iter().enumerate() {
        let _ = writeln!(text, "\n{}. {hypothesis}", place + 1);
        for finding in &hypothesis.evidence {
            let nats = finding.log_likelihood_ratio;
            let (by, why) = (&finding.analyzer, &finding.explanation);
            let _ = writeln!(text, "   {nats:+.2} {by}: {why}");
            for proof in &finding.proofs {
                let at = proof.at.map_or(String::new(), |at| format!(" at {at}"));
                let (kind, reference, says) = (&proof.kind, &proof.reference, &proof.statement);
                let _ = writeln!(text, "         {kind} {reference}{at}: {says}");
            }
        }
    }
    text
}
