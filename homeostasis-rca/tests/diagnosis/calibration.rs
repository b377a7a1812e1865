//! Confidence means what it says, as far as simulated worlds can tell: faults of random kind, place
//! and size, with random noise and deployments that have nothing to do with it.

use homeostasis_core::Rng;
use homeostasis_core::signal::ChangeKind;

use crate::world::{ONSET, World};

/// A random world and the fault it was given, if any.
fn random(seed: u64) -> (World, Option<String>) {
    let mut rng = Rng::from_seed(seed).fork(77);
    let service = if rng.unit() < 0.5 {
        "catalog"
    } else {
        "orders"
    };
    let kind = rng.below(5);
    // From hardly visible to tenfold.
    let size = 1.05 + 9.0 * rng.unit().powi(3);
    let ill = move |before: f64, factor: f64| {
        move |t: f64| if t < ONSET { before } else { before * factor }
    };
    let spread = 0.5 + 0.5 * rng.unit();
    let felt = 1.0 + (size - 1.0) * spread;
    let mut world = World::new(seed).calm(&["gateway", service]);
    if rng.unit() < 0.3 {
        let decoy = if rng.unit() < 0.5 {
            "gateway"
        } else {
            "billing"
        };
        world = world.change(ONSET - 60.0 * rng.unit(), ChangeKind::Deploy, decoy);
    }
    let (who, cause) = match kind {
        0 => (service, "process_down"),
        1 => (service, "memory_leak"),
        2 => (service, "slow_response"),
        3 => ("gateway", "bad_deploy"),
        _ => ("", ""),
    };
    if kind == 3 {
        world = world.change(ONSET - 3.0, ChangeKind::Deploy, "gateway");
    }
    let slow = if kind == 1 || kind == 2 { size } else { 1.0 };
    let slow_gateway = if kind == 1 || kind == 2 { felt } else { 1.0 };
    let failing = if kind == 3 || kind == 0 {
        1.0 + (size - 1.0) * 30.0
    } else {
        1.0
    };
    let world = world
        .p95(service, ill(0.02, slow))
        .memory(service, move |t| {
            if kind == 1 {
                60.0 + (t - 200.0).max(0.0) * (size - 1.0) / 2.0
            } else {
                60.0
            }
        })
        .flag("process_up", service, move |t| kind != 0 || t < ONSET)
        .p95("gateway", ill(0.03, slow_gateway))
        .errors("gateway", ill(0.002, failing))
        .flag("process_up", "gateway", |_| true)
        .anomaly(ONSET + 2.0, "gateway", "requests_rate");
    (world, (kind < 4).then(|| format!("{cause} of {who}")))
}

#[tokio::test]
async fn a_named_cause_is_right_as_often_as_its_confidence_says() {
    let (mut n_named, mut n_right, mut claimed) = (0_u32, 0_u32, 0.0);
    let (mut n_calm, mut n_false, mut n_faults) = (0_u32, 0_u32, 0_u32);
    for seed in 0..200 {
        let (world, truth) = random(seed);
        let diagnosis = world.diagnose().await;
        let named = diagnosis.root_cause();
        if truth.is_none() {
            n_calm += 1;
            n_false += u32::from(named.is_some());
        } else {
            n_faults += 1;
        }
        if let Some(named) = named {
            n_named += 1;
            claimed += named.confidence.get();
            let text = format!("{} of {}", named.cause, named.target);
            n_right += u32::from(truth == Some(text));
        }
    }
    let (named, right) = (f64::from(n_named), f64::from(n_right));
    let summary = format!(
        "{n_right} of {n_named} named were right, {claimed:.1} claimed; {n_faults} faults; \
         {n_false} of {n_calm} calm worlds were blamed"
    );
    // Two standard errors of a proportion below what was claimed would be overclaiming.
    let allowance = 2.0 * (claimed / named * (1.0 - claimed / named) / named).sqrt();
    assert!(right / named >= claimed / named - allowance, "{summary}");
    assert!(named >= 0.6 * f64::from(n_faults), "{summary}");
    assert!(f64::from(n_false) <= 0.05 * f64::from(n_calm), "{summary}");
}
