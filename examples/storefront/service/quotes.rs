//! Quotes of shipping: a price from the version's tariff and the carrier's surcharge.
//!
//! A worker reads its tariff once, when it starts: another version is another worker. The carrier is
//! asked again and again; while it does not answer, the last surcharge goes on to hold.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path as PathArgument, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::problem;
use crate::BoxError;
use crate::args::ServiceOptions;
use crate::files::write_atomically;
use crate::http::{Call, Client};
use crate::json_log::JsonLog;

/// Parcels go to the zones `1..=ZONES`.
pub(crate) const ZONES: u64 = 8;

/// How often the carrier is asked.
const ASKED_EVERY: Duration = Duration::from_millis(250);

/// A version: what a kilogram costs in each zone, in cents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tariff {
    pub(crate) version: String,
    pub(crate) cents_per_kg: BTreeMap<u64, u64>,
}

/// A price as customers get it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Quote {
    pub(crate) cents: u64,
    /// Of the tariff.
    pub(crate) version: String,
}

/// What the carrier adds to every price.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Surcharge {
    pub(crate) percent: u64,
}

/// The surcharge that holds, and how old it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) percent: u64,
    pub(crate) age_seconds: f64,
}

impl Tariff {
    /// A tariff of the zones up to `zones`.
    pub(crate) fn up_to(version: &str, zones: u64) -> Self {
        Self {
            version: version.to_owned(),
            cents_per_kg: (1..=zones).map(|zone| (zone, 150 + 40 * zone)).collect(),
        }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), BoxError> {
        Ok(write_atomically(file, &serde_json::to_vec_pretty(self)?)?)
    }

    fn read(file: &Path) -> Result<Self, BoxError> {
        let text = fs::read(file);
        let text = text.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        serde_json::from_slice(&text)
            .map_err(|error| format!("{} is no tariff: {error}", file.display()).into())
    }
}

#[derive(Debug)]
struct Quotes {
    tariff: Tariff,
    carrier: SocketAddr,
    client: Client,
    surcharge: Mutex<(Surcharge, Instant)>,
    log: JsonLog,
}

/// The routes, and the version of the tariff.
pub(super) fn router(
    options: &ServiceOptions,
    log: &JsonLog,
) -> Result<(Router, String), BoxError> {
    let file = options.tariff.as_ref().ok_or("quotes needs `--tariff`")?;
    let tariff = Tariff::read(file)?;
    let version = tariff.version.clone();
    let quotes = Arc::new(Quotes {
        tariff,
        carrier: options.carrier.ok_or("quotes needs `--carrier`")?,
        client: Client::default(),
        surcharge: Mutex::new((Surcharge { percent: 0 }, Instant::now())),
        log: log.clone(),
    });
    let following = Arc::clone(&quotes);
    tokio::spawn(async move {
        loop {
            following.ask_carrier().await;
            tokio::time::sleep(ASKED_EVERY).await;
        }
    });
    let router = Router::new()
        .route("/quote/{zone}/{kg}", get(quote))
        .route("/surcharge", get(show_surcharge).post(refresh))
        .with_state(quotes);
    Ok((router, version))
}

impl Quotes {
    fn surcharge(&self) -> MutexGuard<'_, (Surcharge, Instant)> {
        self.surcharge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the carrier answers; without an answer the last one goes on to hold.
    async fn ask_carrier(&self) {
        let call = Call::get(self.carrier, "/surcharge");
        if let Ok(answer) = self.client.send(&call).await
            && answer.status.is_success()
            && let Ok(surcharge) = answer.json()
        {
            *self.surcharge() = (surcharge, Instant::now());
        }
    }
}

async fn quote(
    State(quotes): State<Arc<Quotes>>,
    PathArgument((zone, kg)): PathArgument<(u64, u64)>,
) -> Response {
    let Some(cents_per_kg) = quotes.tariff.cents_per_kg.get(&zone) else {
        let version = &quotes.tariff.version;
        let error = format!("tariff {version} has no zone {zone}");
        quotes.log.error("no quote", json!({"error": error}));
        return problem(StatusCode::INTERNAL_SERVER_ERROR, error);
    };
    let percent = quotes.surcharge().0.percent;
    let cents = cents_per_kg
        .saturating_mul(kg)
        .saturating_mul(100 + percent)
        / 100;
    let version = quotes.tariff.version.clone();
    Json(Quote { cents, version }).into_response()
}

async fn show_surcharge(State(quotes): State<Arc<Quotes>>) -> Json<Known> {
    let (surcharge, since) = *quotes.surcharge();
    Json(Known {
        percent: surcharge.percent,
        age_seconds: since.elapsed().as_secs_f64(),
    })
}

/// Asks the carrier at once, as an operator would; whether it answers is another question.
async fn refresh(State(quotes): State<Arc<Quotes>>) -> StatusCode {
    quotes.ask_carrier().await;
    StatusCode::ACCEPTED
}
