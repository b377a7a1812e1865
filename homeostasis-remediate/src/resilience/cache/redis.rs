//! The level in Redis: what several processes remember together.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, Script,
};
use async_trait::async_trait;
use homeostasis_core::document::duration_text;
use homeostasis_core::{BoxError, Clock, ConfigError, Rng, Secret, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::super::part::lasting;
use super::entry::StoredEntry;
use super::key::{CacheKey, Invalidation};
use super::level::{CacheLevel, Lease, LevelReading};

/// How long a load may take for its answer to be stored, and how long a mark of a tag is kept after it
/// was last used; both may be forgotten earlier, which makes more invalid and never less.
const LEASE: Duration = Duration::from_secs(300);
const KEEP_MARKS: Duration = Duration::from_secs(40 * 86_400);

// An entry is a hash: `m`, its own mark; `b`, its bytes; `v`, its version; `g`, the marks of everything and
// of its tags when it was read. It is answered only while those are what they were. A mark that is not
// there is made anew, with a value that never was: so whatever Redis forgets, it forgets safely.
// The mark of everything is followed by the oldest version that counts.

/// KEYS: entry, everything, tags. ARGV: chance, milliseconds of a lease, of a mark.
const READ: &str = r"
local time = redis.call('TIME')
local new = time[1] .. 'x' .. time[2] .. 'x' .. ARGV[1]
local entry = redis.call('HMGET', KEYS[1], 'm', 'v', 'g', 'b')
local own = entry[1]
if not own then
  own = new
  redis.call('HSET', KEYS[1], 'm', own)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local all = redis.call('GET', KEYS[2]) or (new .. ':0')
redis.call('SET', KEYS[2], all, 'PX', ARGV[3])
local mark, oldest = string.match(all, '^(%w+):(%d+)$')
local marks = mark
for i = 3, #KEYS do
  local tag = redis.call('GET', KEYS[i]) or new
  redis.call('SET', KEYS[i], tag, 'PX', ARGV[3])
  marks = marks .. ',' .. tag
end
local bytes = entry[4]
if bytes and (entry[3] ~= marks or tonumber(entry[2]) < tonumber(oldest)) then bytes = false end
return {own, marks, bytes}
";

/// KEYS: entry. ARGV: the lease's mark, its marks, bytes, version, milliseconds until it is of no use.
const WRITE: &str = r"
if redis.call('HGET', KEYS[1], 'm') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'b', ARGV[3], 'v', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
";

/// KEYS: what is marked anew. ARGV: chance, what it is, milliseconds of a lease, of a mark, a version.
const INVALIDATE: &str = r"
local time = redis.call('TIME')
local new = time[1] .. 'x' .. time[2] .. 'x' .. ARGV[1]
if ARGV[2] == 'key' then
  redis.call('HSET', KEYS[1], 'm', new)
  redis.call('HDEL', KEYS[1], 'b')
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif ARGV[2] == 'tag' then
  redis.call('SET', KEYS[1], new, 'PX', ARGV[4])
else
  local all = redis.call('GET', KEYS[1]) or (new .. ':0')
  local mark, oldest = string.match(all, '^(%w+):(%d+)$')
  if ARGV[2] == 'all' then mark = new end
  if tonumber(ARGV[5]) > tonumber(oldest) then oldest = ARGV[5] end
  redis.call('SET', KEYS[1], mark .. ':' .. oldest, 'PX', ARGV[4])
end
return 1
";

/// Which server, as whom, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisLevelConfig {
    /// Host and port: `127.0.0.1:6379`. Without TLS.
    pub address: String,
    /// The ACL user; default the server's default user.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; default none. It is never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// The number of the database; default 0.
    #[serde(default)]
    pub database: u32,
    /// What every key begins with; caches with the same prefix share their entries, and one of other
    /// answers needs another. Default `homeostasis:cache:`. For a cluster it has a hash tag:
    /// `{prices}:`, so that all keys are in one place.
    #[serde(default = "RedisLevelConfig::default_prefix")]
    pub prefix: String,
    /// How long it may take to connect, and to answer; default 1 s. The cache's own limit is usually
    /// shorter.
    #[serde(default = "RedisLevelConfig::default_timeout", with = "duration_text")]
    pub timeout: Duration,
}

impl RedisLevelConfig {
    /// The defaults for the server at `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            user: None,
            password: None,
            database: 0,
            prefix: Self::default_prefix(),
            timeout: Self::default_timeout(),
        }
    }

    fn default_prefix() -> String {
        "homeostasis:cache:".to_owned()
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(1)
    }
}

/// Entries in a Redis server (6 or later), shared with every process that uses the same prefix.
///
/// Reading, writing and making invalid are one script each, so one round trip. An invalidation reaches
/// what other processes are loading: their answer is then not stored. It does not depend on the server
/// keeping anything: eviction, expiry, a restart without its data only make more invalid.
/// **Warning:** a server that is restored from an older copy of its data brings back what the copy has.
///
/// It keeps one connection, which it makes when it is first used and anew when it broke; tokio runs it.
pub struct RedisLevel {
    config: RedisLevelConfig,
    client: Client,
    clock: Arc<dyn Clock>,
    rng: Mutex<Rng>,
    connection: Mutex<Option<MultiplexedConnection>>,
    scripts: [Script; 3],
}

impl RedisLevel {
    /// A level that is not connected yet.
    ///
    /// # Errors
    /// The address is not `host:port`, the timeout is zero, or there is a user and no password.
    pub fn new(
        config: RedisLevelConfig,
        clock: Arc<dyn Clock>,
        rng: Rng,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        lasting(&mut wrong, "timeout", config.timeout);
        if config.user.is_some() && config.password.is_none() {
            wrong.push(Violation::new("password", "", "the password of the user"));
        }
        let unusable = || {
            let found = format!("{:?}", config.address);
            ConfigError::single("address", found, "host:port")
        };
        let client = wrong.absorb(client(&config).ok_or_else(unusable));
        match (client, wrong.into_error()) {
            (Some(client), None) => Ok(Self {
                config,
                client,
                clock,
                rng: Mutex::new(rng),
                connection: Mutex::new(None),
                scripts: [READ, WRITE, INVALIDATE].map(Script::new),
            }),
            (_, wrong) => Err(wrong.unwrap_or_else(unusable)),
        }
    }

    fn entry_key(&self, name: &str) -> String {
        format!("{}e:{name}", self.config.prefix)
    }

    fn tag_key(&self, tag: &str) -> String {
        format!("{}t:{tag}", self.config.prefix)
    }

    fn all_key(&self) -> String {
        format!("{}all", self.config.prefix)
    }

    /// A word that no other process draws at the same microsecond.
    fn chance(&self) -> String {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:016x}", rng.next_u64())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let limit = Some(self.config.timeout);
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(limit)
            .set_response_timeout(limit);
        let client = &self.client;
        let made = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await?;
        *self.lock() = Some(made.clone());
        Ok(made)
    }

    /// Runs a script; once more if the connection was there already and turns out to be broken.
    /// Each may run twice: a read and an invalidation change nothing the second time, and a write has
    /// a lease.
    async fn ask<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<T, BoxError> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(key);
        }
        for arg in args {
            call.arg(*arg);
        }
        let held = self.lock().clone();
        if let Some(mut connection) = held {
            match call.invoke_async(&mut connection).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_connection_dropped() && !error.is_timeout() => {
                    *self.lock() = None;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        let answer = async { call.invoke_async(&mut self.connect().await?).await };
        answer.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &RedisError) -> BoxError {
        // What the server itself refused says nothing against the connection.
        if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
            *self.lock() = None;
        }
        let said = error.to_string();
        match &self.config.password {
            Some(password) => password.hide_in(&said).into(),
            None => said.into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(config: &RedisLevelConfig) -> Option<Client> {
    let (host, port) = config.address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    if host.is_empty() {
        return None;
    }
    let mut settings = RedisConnectionInfo::default().set_db(config.database.into());
    if let Some(user) = &config.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    let address = ConnectionAddr::Tcp(host.to_owned(), port);
    let info = address
        .into_connection_info()
        .ok()?
        .set_redis_settings(settings);
    Client::open(info).ok()
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

#[async_trait]
impl CacheLevel for RedisLevel {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn read(&self, key: &CacheKey) -> Result<LevelReading, BoxError> {
        let tags = key.tags().iter().map(|tag| self.tag_key(tag));
        let keys: Vec<String> = [self.entry_key(key.name()), self.all_key()]
            .into_iter()
            .chain(tags)
            .collect();
        let (chance, lease, keep) = (self.chance(), millis(LEASE), millis(KEEP_MARKS));
        let args = [chance.as_bytes(), lease.as_bytes(), keep.as_bytes()];
        let (own, marks, bytes): (String, String, Option<Vec<u8>>) =
            self.ask(&self.scripts[0], &keys, &args).await?;
        Ok(LevelReading {
            entry: bytes.as_deref().and_then(StoredEntry::decode),
            lease: Lease(vec![own, marks]),
        })
    }

    async fn write(
        &self,
        key: &CacheKey,
        entry: &StoredEntry,
        lease: &Lease,
    ) -> Result<(), BoxError> {
        let [own, marks] = lease.0.as_slice() else {
            return Err("a lease of this level is expected".into());
        };
        let left = millis(entry.lifetime.usable_until.since(self.clock.now()));
        let (bytes, version) = (entry.encode(), entry.version.to_string());
        let args = [
            own.as_bytes(),
            marks.as_bytes(),
            &bytes,
            version.as_bytes(),
            left.as_bytes(),
        ];
        let _stored: i64 = self
            .ask(&self.scripts[1], &[self.entry_key(key.name())], &args)
            .await?;
        Ok(())
    }

    async fn invalidate(&self, what: &Invalidation) -> Result<(), BoxError> {
        let (key, kind, version) = match what {
            Invalidation::Key(name) => (self.entry_key(name), "key", 0),
            Invalidation::Tag(tag) => (self.tag_key(tag), "tag", 0),
            Invalidation::OlderThan(version) => (self.all_key(), "version", *version),
            Invalidation::All => (self.all_key(), "all", 0),
        };
        let (chance, version) = (self.chance(), version.to_string());
        let (lease, keep) = (millis(LEASE), millis(KEEP_MARKS));
        let args = [
            chance.as_bytes(),
            kind.as_bytes(),
            lease.as_bytes(),
            keep.as_bytes(),
            version.as_bytes(),
        ];
        let _done: i64 = self.ask(&self.scripts[2], &[key], &args).await?;
        Ok(())
    }
}

impl fmt::Debug for RedisLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLevel")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
