//! A real server for tests of these actions, and sessions on it.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use homeostasis_core::testing::postgres::Postgres;
use homeostasis_core::{Clock, Target};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::{PostgresServerConfig, PostgresServers};
use crate::action::laws::{self, RealClock};
use crate::action::{Action, ActionCall, ActionError};

pub(super) const PASSWORD: &str = Postgres::PASSWORD;
const START: Duration = Duration::from_secs(120);

/// With the database `shop` and the roles `app`, and `healer` that may end sessions.
pub(super) struct Server(Postgres);

impl Deref for Server {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Postgres {
        &mut self.0
    }
}

impl Server {
    /// None if it is not installed.
    pub(super) fn start() -> Option<Self> {
        let server = Self(Postgres::start(&[])?.with_database("shop"));
        server.sql(&format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'"));
        server.sql(&format!(
            "CREATE ROLE healer LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_signal_backend, pg_read_all_stats"
        ));
        Some(server)
    }

    /// One that follows this one, with these settings more.
    pub(super) fn standby(&self, more: &str) -> Self {
        Self(self.0.standby(more))
    }

    pub(super) async fn wait_until(&self, question: &str) {
        let began = RealClock.now();
        while self.sql(question) != "t" {
            assert!(
                RealClock.now().since(began) < START,
                "not in time: {question}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A session of `user` as the application `name`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the session goes on beside the test"
    )]
    pub(super) async fn session(&self, user: &str, name: &str) -> Client {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .unwrap();
        let mut login = tokio_postgres::Config::new();
        login
            .user(user)
            .password(PASSWORD)
            .dbname("shop")
            .application_name(name);
        let (client, connection) = login.connect_raw(stream, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A session that sleeps until somebody ends its query.
    #[expect(
        clippy::disallowed_methods,
        reason = "the query goes on beside the test"
    )]
    pub(super) async fn sleeper(&self, user: &str, name: &str) -> tokio::task::JoinHandle<String> {
        let client = self.session(user, name).await;
        let sleeping = tokio::spawn(async move {
            let error = client
                .batch_execute("SELECT pg_sleep(600)")
                .await
                .unwrap_err();
            let survives = client.batch_execute("SELECT 1").await.is_ok();
            let code = error.code().map_or("closed", |code| code.code());
            format!("{code} {survives}")
        });
        let asleep = format!(
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '{name}' AND state = 'active' AND query LIKE '%sleep%'"
        );
        self.wait_until(&asleep).await;
        sleeping
    }

    pub(super) fn servers(&self, user: &str) -> PostgresServers {
        self.servers_with(user, Duration::from_secs(5))
    }

    pub(super) fn servers_with(&self, user: &str, lock_timeout: Duration) -> PostgresServers {
        let target = Target::service("orders").unwrap();
        let mut config = PostgresServerConfig::new(target, self.address(), user);
        config.password = Some(PASSWORD.into());
        config.database = Some("shop".to_owned());
        config.connect_timeout = START;
        config.lock_timeout = lock_timeout;
        PostgresServers::default().server("db", config).unwrap()
    }
}

/// Captures and does it once; what was captured, and what came of it.
pub(super) async fn once(action: &dyn Action, args: &Value) -> (Value, Result<Value, ActionError>) {
    let (args, target) = (filled(action, args), Target::service("orders").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    match action.capture(&laws::context(), &call).await {
        Ok(captured) => {
            let call = call.with_captured(&captured);
            let done = action.perform(&laws::context(), &call).await;
            (captured, done)
        }
        Err(error) => (Value::Null, Err(error)),
    }
}

pub(super) fn filled(action: &dyn Action, args: &Value) -> serde_json::Map<String, Value> {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    args
}
