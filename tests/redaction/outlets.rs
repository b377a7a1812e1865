//! Where texts leave the process over HTTP: webhooks, and requests of actions, to a real server.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::{Router, serve};
use homeostasis::SystemClock;
use homeostasis::core::port::{MemoryNotifier, Notification, Notifier, NotifyError};
use homeostasis::core::{ConfigError, Secret, async_trait};
use homeostasis::remediate::action::{Credential, HttpRequestAction};
use homeostasis::signals::{HyperClient, Webhook, WebhookConfig, WebhookFormat};

/// What nobody may read anywhere but in the request it belongs to: it looks like no secret at all,
/// so that only who keeps it can hide it.
pub(crate) const CREDENTIAL: &str = "seven-doors-and-a-window";
/// The secret part of the URL of each webhook.
pub(crate) const PATH: &str = "under-the-third-flowerpot";
/// The key of the signed webhook.
pub(crate) const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka";

/// One request as it arrived.
#[derive(Debug)]
struct Received {
    path: String,
    headers: String,
    body: String,
}

/// A server, and what it was sent.
#[derive(Debug)]
pub(crate) struct Outlets {
    origin: String,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Outlets {
    #[expect(clippy::disallowed_methods, reason = "the server of a test")]
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let kept = Arc::clone(&received);
        let answer = move |_: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8_lossy(&body).into_owned();
            let headers = format!("{headers:?}");
            // It repeats all it was told, as servers do that refuse something.
            let echo = format!("{uri} {headers} {body}");
            let path = uri.path().to_owned();
            let status = if path.starts_with("/gone/") {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::OK
            };
            kept.lock().unwrap().push(Received {
                path,
                headers,
                body,
            });
            std::future::ready((status, echo))
        };
        let task = tokio::spawn(serve(listener, Router::new().fallback(answer)).into_future());
        Self {
            origin,
            received,
            task,
        }
    }

    /// The bodies that were posted below `path`.
    pub(crate) fn bodies(&self, path: &str) -> String {
        self.all(path, |received| &received.body)
    }

    /// The heads of the requests below `path`.
    pub(crate) fn heads(&self, path: &str) -> String {
        self.all(path, |received| &received.path) + &self.all(path, |received| &received.headers)
    }

    fn all(&self, path: &str, part: impl Fn(&Received) -> &String) -> String {
        let received = self.received.lock().unwrap();
        let below = received.iter().filter(|one| one.path.starts_with(path));
        below.fold(String::new(), |mut all, one| {
            writeln!(all, "{}", part(one)).unwrap();
            all
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The action of the library, with a credential for this server.
    pub(crate) fn action(&self) -> HttpRequestAction {
        let door = Credential::header("x-door", Secret::new(CREDENTIAL)).for_origin(&self.origin);
        HttpRequestAction::new(client(), [&self.origin])
            .unwrap()
            .with_credentials([("door", door)])
            .unwrap()
    }

    /// Tells `memory`, a webhook of each format, and one that refuses everything.
    pub(crate) fn notifier(&self, memory: Arc<MemoryNotifier>) -> Channels {
        let webhook = |name: &str, format| -> Result<_, ConfigError> {
            let url = self.url(&format!("/{name}/{PATH}"));
            let mut config = WebhookConfig::new(name, url);
            config.format = format;
            config.max_body = 1 << 20;
            if format == WebhookFormat::Signed {
                config.secrets.push(KEY.into());
            }
            Webhook::new(config, client(), Arc::new(SystemClock))
        };
        let webhooks = [
            ("signed", WebhookFormat::Signed),
            ("slack", WebhookFormat::Slack),
            ("gone", WebhookFormat::Signed),
        ];
        Channels {
            memory,
            webhooks: webhooks.map(|(name, format)| webhook(name, format).unwrap()),
        }
    }
}

impl Drop for Outlets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn client() -> Arc<HyperClient> {
    Arc::new(HyperClient::new(Arc::new(SystemClock)))
}

/// Several notifiers; the last error is told.
#[derive(Debug)]
pub(crate) struct Channels {
    memory: Arc<MemoryNotifier>,
    webhooks: [Webhook; 3],
}

#[async_trait]
impl Notifier for Channels {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        self.memory.notify(notification).await?;
        let mut told = Ok(());
        for webhook in &self.webhooks {
            told = webhook.notify(notification).await;
        }
        told
    }
}
