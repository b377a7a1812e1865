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
        let text = read(file).map_err(|error| {
            format!("{file}, expected a configuration that can be read: {error}")
        })?;
        let source = ConfigSource::new(&text).named(file);
        let config = source.variables(|name| std::env::var(name).ok()).read();
        builder = builder.config(config.map_err(|error| error.to_string())?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use homeostasis::core::Timestamp;
    use homeostasis::core::record::EventKind;
    use homeostasis::core::signal::SeriesKey;
    use homeostasis::{Config, SimulatedClock};

    use super::*;

    const CONFIG: &str = "conditions: [{ name: down, condition: process_up < 1, for: 0s }]\n";

    /// What a healer saved of a process that died, and its diagnosis.
    async fn saved() -> (String, Diagnosis) {
        let clock = SimulatedClock::starting_at(Timestamp::from_secs(1_700_000_000));
        let builder = Homeostasis::builder().config(Config::parse(CONFIG).unwrap());
        let healer = builder.clock(Arc::new(clock)).start().await.unwrap();
        let mut events = healer.subscribe();
        let key = SeriesKey::new("process_up").with("service", "orders");
        let up = healer.recorder().series(&key);
        for second in 0..40 {
            up.record(f64::from(u8::from(second < 30)));
            healer.clock().sleep(Duration::from_secs(1)).await;
        }
        let diagnosed = loop {
            let event = events.next().await.unwrap();
            if let EventKind::Diagnosed { diagnosis } = &event.kind {
                break (event.incident, diagnosis.clone());
            }
        };
        let evidence = healer.evidence(diagnosed.0).await.unwrap();
        healer.shutdown().await;
        (evidence.to_json().unwrap(), diagnosed.1)
    }

    #[test]
    fn a_saved_file_tells_the_same_diagnosis_and_the_exit_code_whether_a_cause_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (evidence, said) = runtime.block_on(saved());
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = file("good.json", &evidence);
        let config = file("config.yaml", CONFIG);
        let answer = |args: &[&str]| crate::answer(args.iter().copied());

        let told = answer(&[
            "diagnose",
            "--evidence",
            &good,
            "--config",
            &config,
            "--json",
        ]);
        assert_eq!((told.code, told.err.as_str()), (0, ""));
        let told: Diagnosis = serde_json::from_str(&told.out).unwrap();
        assert_eq!(told, said);
        let told = answer(&["diagnose", "--evidence", &good]).out;
        assert!(told.starts_with("process_down of orders ("), "{told}");
        assert!(
            told.contains("series process_up{service=\"orders\"} at "),
            "{told}"
        );

        // Without the series nobody knows.
        let start = evidence.rfind(r#""series":["#).unwrap();
        let end = evidence.rfind(r#","logs":["#).unwrap();
        let empty = format!("{}\"series\":[]{}", &evidence[..start], &evidence[end..]);
        let empty = file("empty.json", &empty);
        let told = answer(&["diagnose", "--evidence", &empty]);
        assert_eq!(told.code, 1, "{}{}", told.out, told.err);
        assert!(told.out.starts_with("no root cause named"), "{}", told.out);

        let broken = file("broken.json", &evidence[..40]);
        let wrong = file("wrong.yaml", "engine: { tick: 9h }\n");
        for (args, expected) in [
            (&["--evidence", &broken][..], "broken.json: evidence: EOF"),
            (
                &["--evidence", "/nowhere/x"],
                "/nowhere/x, expected evidence",
            ),
            (
                &["--evidence", &good, "--config", &wrong],
                "engine.tick = \"9h\"",
            ),
        ] {
            let told = answer(&[&["diagnose"], args].concat());
            assert_eq!(told.code, 2, "{args:?}: {}", told.out);
            assert!(told.err.contains(expected), "{args:?}: {}", told.err);
        }
    }
}
