//! The gateway: the shop's face, which calls catalog and orders. Its configuration lies in
//! deployment slots and is read at start and on SIGHUP.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Path as PathArgument, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use toml_edit::{DocumentMut, Item, Table};

use super::catalog::Product;
use super::metrics::Metrics;
use super::{problem, request_id};
use crate::BoxError;
use crate::args::ServiceOptions;
use crate::deployment::ServiceName;
use crate::files::write_atomically;
use crate::http::{Answer, Call, Client, HttpError};
use crate::json_log::JsonLog;

/// What a version of the gateway's configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) version: String,
    pub(crate) pricing_rounding: Rounding,
    pub(crate) catalog: Upstream,
    pub(crate) orders: Upstream,
}

/// How a price in tenths of a cent becomes one in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    HalfUp,
    HalfEven,
}

/// A service the gateway calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) timeout: Duration,
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not TOML: {source}")]
    Syntax {
        path: PathBuf,
        source: toml_edit::TomlError,
    },
    #[error("{path}: `{key}` = {found}, expected {expected}")]
    Value {
        path: PathBuf,
        key: String,
        found: String,
        expected: &'static str,
    },
}

impl Rounding {
    const NAMES: [(Self, &'static str); 2] =
        [(Self::HalfUp, "half_up"), (Self::HalfEven, "half_even")];

    fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find_map(|(rounding, name)| (*rounding == self).then_some(*name))
            .unwrap_or_default()
    }

    fn to_cents(self, mills: u64) -> u64 {
        let (cents, rest) = (mills / 10, mills % 10);
        let up = match self {
            Self::HalfUp => rest >= 5,
            Self::HalfEven => rest > 5 || (rest == 5 && cents % 2 == 1),
        };
        cents + u64::from(up)
    }
}

impl Settings {
    /// A configuration that works.
    pub(crate) fn standard(version: &str, catalog: SocketAddr, orders: SocketAddr) -> Self {
        let upstream = |address, path: &str| Upstream {
            address,
            path: path.to_owned(),
            timeout: Duration::from_millis(800),
        };
        Self {
            version: version.to_owned(),
            pricing_rounding: Rounding::HalfUp,
            catalog: upstream(catalog, "/products"),
            orders: upstream(orders, "/orders"),
        }
    }

    pub(crate) fn to_toml(&self) -> String {
        let mut text = format!(
            "# Configuration of the gateway, version {version}.\nversion = \"{version}\"\n\
             # How prices in tenths of a cent are rounded: half_up or half_even.\n\
             pricing_rounding = \"{rounding}\"\n",
            version = self.version,
            rounding = self.pricing_rounding.name(),
        );
        for (name, upstream) in [("catalog", &self.catalog), ("orders", &self.orders)] {
            text.push_str(&format!(
                "\n[{name}]\naddress = \"{}\"\npath = \"{}\"\ntimeout_ms = {}\n",
                upstream.address,
                upstream.path,
                upstream.timeout.as_millis(),
            ));
        }
        text
    }

    /// Reads the version that `<slots>/current` names.
    fn load(slots: &Path) -> Result<Self, SettingsError> {
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok((text, path)),
            Err(source) => Err(SettingsError::Read { path, source }),
        };
        let (current, _) = read(slots.join("current"))?;
        let (text, path) = read(slots.join("slots").join(current.trim()).join("config.toml"))?;
        Self::parse(&text, &path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let document = DocumentMut::from_str(text).map_err(|source| SettingsError::Syntax {
            path: path.to_owned(),
            source,
        })?;
        let root = Section {
            path,
            name: "",
            table: document.as_table(),
        };
        root.only(&["version", "pricing_rounding", "catalog", "orders"])?;
        let rounding = |text: &str| {
            let mut names = Rounding::NAMES.into_iter();
            names.find_map(|(rounding, name)| (name == text).then_some(rounding))
        };
        Ok(Self {
            version: root.get("version", "a string", |item| {
                item.as_str().map(str::to_owned)
            })?,
            pricing_rounding: root.get("pricing_rounding", "half_up or half_even", |item| {
                item.as_str().and_then(rounding)
            })?,
            catalog: Upstream::parse(&root.section("catalog")?)?,
            orders: Upstream::parse(&root.section("orders")?)?,
        })
    }
}

impl Upstream {
    fn parse(section: &Section<'_>) -> Result<Self, SettingsError> {
        section.only(&["address", "path", "timeout_ms"])?;
        Ok(Self {
            address: section.get("address", "an address like 127.0.0.1:8080", |item| {
                item.as_str()?.parse().ok()
            })?,
            path: section.get("path", "a path that starts with /", |item| {
                item.as_str()
                    .filter(|path| path.starts_with('/'))
                    .map(str::to_owned)
            })?,
            timeout: section.get("timeout_ms", "a whole number from 1 to 60000", |item| {
                let millis = u64::try_from(item.as_integer()?).ok()?;
                (1..=60_000)
                    .contains(&millis)
                    .then(|| Duration::from_millis(millis))
            })?,
        })
    }
}

/// A table of the file and where it stands, for errors that name the place.
struct Section<'a> {
    path: &'a Path,
    name: &'a str,
    table: &'a Table,
}

impl<'a> Section<'a> {
    fn error(&self, key: &str, found: String, expected: &'static str) -> SettingsError {
        let separator = if self.name.is_empty() { "" } else { "." };
        SettingsError::Value {
            path: self.path.to_owned(),
            key: format!("{}{separator}{key}", self.name),
            found,
            expected,
        }
    }

    fn only(&self, known: &[&str]) -> Result<(), SettingsError> {
        match self.table.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, item)) => {
                Err(self.error(key, item.to_string().trim().to_owned(), "no such key"))
            }
            None => Ok(()),
        }
    }

    fn get<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&Item) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let item = self.table.get(key);
        item.and_then(read).ok_or_else(|| {
            let found = item.map_or("nothing".to_owned(), ToString::to_string);
            self.error(key, found.trim().to_owned(), expected)
        })
    }

    fn section(&self, name: &'a str) -> Result<Section<'a>, SettingsError> {
        let item = self.table.get(name);
        let table = item.and_then(Item::as_table).ok_or_else(|| {
            let found = item.map_or("nothing".to_owned(), ToString::to_string);
            self.error(name, found.trim().to_owned(), "a table")
        })?;
        Ok(Section {
            path: self.path,
            name,
            table,
        })
    }
}

#[derive(Debug)]
struct Gateway {
    settings: RwLock<Arc<Settings>>,
    slots: PathBuf,
    version_file: PathBuf,
    catalog_fallback: AtomicBool,
    fallback_file: PathBuf,
    client: Client,
    metrics: Arc<Metrics>,
    log: JsonLog,
}

/// The routes, and the version that `current` names.
pub(super) fn router(
    options: &ServiceOptions,
    log: &JsonLog,
    metrics: &Arc<Metrics>,
) -> Result<(Router, String), BoxError> {
    let slots = options.slots.clone().ok_or("the gateway needs `--slots`")?;
    let settings = Settings::load(&slots)?;
    let version = settings.version.clone();
    let fallback_file = options.data_dir.join("catalog_fallback");
    let gateway = Arc::new(Gateway {
        settings: RwLock::new(Arc::new(settings)),
        slots,
        version_file: options.data_dir.join("version"),
        catalog_fallback: AtomicBool::new(fallback_file.exists()),
        fallback_file,
        client: Client::default(),
        metrics: Arc::clone(metrics),
        log: log.clone(),
    });
    let mut hang_up = signal(SignalKind::hangup())?;
    let reloaded = Arc::clone(&gateway);
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            // A refused configuration is logged; the old one stays in force.
            let _ = reloaded.reload();
        }
    });
    let router = Router::new()
        .route("/shop/{id}", get(show_product))
        .route("/order", post(place_order))
        .route("/admin/reload", post(reload))
        .route(
            "/admin/flags/catalog_fallback",
            get(show_fallback).post(set_fallback),
        )
        .with_state(gateway);
    Ok((router, version))
}

impl Gateway {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<String, BoxError> {
        let settings = Settings::load(&self.slots).inspect_err(|error| {
            self.log.error(
                "configuration refused, the old one stays in force",
                json!({"kind": "deploy_refused", "error": error.to_string()}),
            );
        })?;
        let version = settings.version.clone();
        let previous = {
            let mut current = self
                .settings
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(settings))
                .version
                .clone()
        };
        self.metrics.set_version(&version);
        let kind = if previous == version {
            "reload"
        } else {
            "deploy"
        };
        self.log.info(
            "configuration loaded",
            json!({"kind": kind, "version": version, "previous": previous}),
        );
        write_atomically(&self.version_file, version.as_bytes())?;
        Ok(version)
    }

    /// Calls another service; anything but a success becomes the answer to our own client.
    async fn call(
        &self,
        callee: ServiceName,
        call: Call,
        route: &'static str,
    ) -> Result<Answer, Box<Response>> {
        let guard = self.metrics.call(callee);
        let (outcome, status, error) = match self.client.send(&call).await {
            Ok(answer) if answer.status.is_success() => {
                guard.ended("ok");
                return Ok(answer);
            }
            Ok(answer) => (
                "status",
                StatusCode::BAD_GATEWAY,
                format!(
                    "{callee} answered {} to {} {}",
                    answer.status, call.method, call.path
                ),
            ),
            Err(error) => {
                let (outcome, status) = match &error {
                    HttpError::Timeout { .. } => ("timeout", StatusCode::GATEWAY_TIMEOUT),
                    HttpError::Connect { .. } => ("connect", StatusCode::BAD_GATEWAY),
                    _ => ("broken", StatusCode::BAD_GATEWAY),
                };
                (outcome, status, crate::chain(&error))
            }
        };
        guard.ended(outcome);
        self.log.error(
            "upstream call failed",
            json!({
                "request_id": call.request_id,
                "route": route,
                "callee": callee.as_str(),
                "outcome": outcome,
                "error": error,
            }),
        );
        Err(Box::new(problem(status, error)))
    }
}

async fn show_product(
    State(gateway): State<Arc<Gateway>>,
    PathArgument(id): PathArgument<u64>,
    headers: HeaderMap,
) -> Response {
    const ROUTE: &str = "/shop/{id}";
    let settings = gateway.settings();
    let request_id = request_id(&headers);
    let product = async {
        if gateway.catalog_fallback.load(Ordering::Relaxed) {
            return Ok(json!({"id": id, "degraded": true}));
        }
        let Upstream {
            address,
            path,
            timeout,
        } = &settings.catalog;
        let call = Call::get(*address, format!("{path}/{id}"))
            .within(*timeout)
            .request_id(&request_id);
        let answer = gateway.call(ServiceName::Catalog, call, ROUTE).await?;
        let product: Product = answer
            .json()
            .map_err(|error| Box::new(problem(StatusCode::BAD_GATEWAY, error.to_string())))?;
        Ok(json!({
            "id": product.id,
            "name": product.name,
            "price_cents": settings.pricing_rounding.to_cents(product.price_mills),
        }))
    };
    let orders = async {
        let Upstream {
            address,
            path,
            timeout,
        } = &settings.orders;
        let call = Call::get(*address, format!("{path}?product={id}&limit=3"))
            .within(*timeout)
            .request_id(&request_id);
        let answer = gateway.call(ServiceName::Orders, call, ROUTE).await?;
        answer
            .json::<Value>()
            .map_err(|error| Box::new(problem(StatusCode::BAD_GATEWAY, error.to_string())))
    };
    match tokio::try_join!(product, orders) {
        Ok((product, orders)) => {
            Json(json!({"product": product, "last_orders": orders})).into_response()
        }
        Err(problem) => *problem,
    }
}

async fn place_order(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Json(order): Json<Value>,
) -> Response {
    let settings = gateway.settings();
    let call = Call::post(settings.orders.address, &settings.orders.path, order)
        .within(settings.orders.timeout)
        .request_id(request_id(&headers));
    match gateway.call(ServiceName::Orders, call, "/order").await {
        Ok(answer) => (answer.status, answer.body).into_response(),
        Err(problem) => *problem,
    }
}

async fn reload(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.reload() {
        Ok(version) => Json(json!({"version": version})).into_response(),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flag {
    enabled: bool,
}

async fn show_fallback(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(json!({"enabled": gateway.catalog_fallback.load(Ordering::Relaxed)}))
}

/// The flag is kept in a file, so that it survives a restart.
async fn set_fallback(State(gateway): State<Arc<Gateway>>, Json(flag): Json<Flag>) -> Response {
    let kept = if flag.enabled {
        write_atomically(&gateway.fallback_file, b"")
    } else {
        match fs::remove_file(&gateway.fallback_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    if let Err(error) = kept {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    }
    let before = gateway
        .catalog_fallback
        .swap(flag.enabled, Ordering::Relaxed);
    if before != flag.enabled {
        gateway.log.info(
            "flag changed",
            json!({"kind": "flag", "flag": "catalog_fallback", "enabled": flag.enabled}),
        );
    }
    Json(json!({"enabled": flag.enabled})).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> Settings {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Settings::standard("v1", address(1), address(2))
    }

    fn refused(text: &str) -> String {
        Settings::parse(text, Path::new("c.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let settings = standard();
        let read = Settings::parse(&settings.to_toml(), Path::new("c.toml")).unwrap();
        assert_eq!(read, settings);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let text = standard().to_toml();
        assert_eq!(
            refused(&text.replacen("timeout_ms = 800", "timeout_ms = 0", 1)),
            "c.toml: `catalog.timeout_ms` = 0, expected a whole number from 1 to 60000"
        );
        assert_eq!(
            refused(&text.replace("half_up\"", "up\"")),
            "c.toml: `pricing_rounding` = \"up\", expected half_up or half_even"
        );
        assert_eq!(
            refused(&text.replace("[orders]", "[order]")),
            "c.toml: `order` = address = \"127.0.0.1:2\"\npath = \"/orders\"\ntimeout_ms = 800, expected no such key"
        );
    }

    #[test]
    fn halves_round_as_configured() {
        assert_eq!(Rounding::HalfUp.to_cents(125), 13);
        assert_eq!(Rounding::HalfEven.to_cents(125), 12);
        assert_eq!(Rounding::HalfEven.to_cents(135), 14);
        assert_eq!(Rounding::HalfUp.to_cents(124), 12);
    }
}
