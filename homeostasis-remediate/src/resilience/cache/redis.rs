//! The level in Redis: what several processes remember together.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, Script, ScriptInvocation,
};
use async_trait::async_trait;
use homeostasis_core::document::duration_text;
use homeostasis_core::{BoxError, Clock, ConfigError, Rng, Secret, Violation, Violations};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::super::part::lasting;
use super::entry::StoredEntry;
use super::key::{CacheKey, Invalidation};
use super::level::{CacheLevel, Lease, LevelReading};

/// How long a load may take for its answer to be stored, and how long the mark of everything is kept, with
/// the oldest version that counts; both may be forgotten earlier.
const LEASE: Duration = Duration::from_secs(300);
const KEEP_ALL: Duration = Duration::from_secs(40 * 86_400);
/// So many calls in a row that were given up without an answer show that a connection is dead.
const MAX_UNANSWERED: u32 = 3;

// An entry is a hash: `m`, its own mark; `b`, its bytes; `v`, its version; `g`, the marks of everything and
// of its tags when it was read. It is answered only while those are what they were. A mark that is not
// there is made anew, with a value that never was: so whatever Redis forgets, it forgets safely, and to
// make a key or a tag invalid is to forget it. Marks are kept for a lease, and as long as an entry has them.
// The mark of everything is followed by the oldest version that counts.
//
// A full server that evicts nothing refuses what takes memory; what is there is read and forgotten all the
// same. A lease that could not be had is empty.

/// KEYS: entry, everything, tags. ARGV: chance, milliseconds of a lease, of the mark of everything.
const READ: &str = r"
local time = redis.call('TIME')
local new = time[1] .. 'x' .. time[2] .. 'x' .. ARGV[1]
local lease = tonumber(ARGV[2])
local whole = true
local function kept(answer)
  if type(answer) == 'table' and answer.err then whole = false end
end
local function mark(key, made, long)
  local found = redis.call('GET', key)
  if not found then
    kept(redis.pcall('SET', key, made, 'PX', long))
    return made
  end
  if redis.call('PTTL', key) < lease / 2 then redis.call('PEXPIRE', key, lease) end
  return found
end
local all = mark(KEYS[2], new .. ':0', ARGV[3])
local marks, oldest = string.match(all, '^(%w+):(%d+)$')
for i = 3, #KEYS do
  marks = marks .. ',' .. mark(KEYS[i], new, lease)
end
local entry = redis.call('HMGET', KEYS[1], 'm', 'v', 'g', 'b')
local own = entry[1]
if not own then
  own = new
  kept(redis.pcall('HSET', KEYS[1], 'm', own))
end
if redis.call('PTTL', KEYS[1]) < lease / 2 then redis.call('PEXPIRE', KEYS[1], lease) end
local bytes = entry[4]
if bytes and (entry[3] ~= marks or tonumber(entry[2]) < tonumber(oldest)) then bytes = false end
if not whole then own = '' end
return {own, marks, bytes}
";

/// KEYS: entry, everything, tags. ARGV: the lease's mark, its marks, bytes, version, milliseconds until
/// it is of no use.
const WRITE: &str = r"
if redis.call('HGET', KEYS[1], 'm') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'b', ARGV[3], 'v', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
for i = 2, #KEYS do
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[i], ARGV[5]) end
end
return 1
";

/// KEYS: what is made invalid. ARGV: chance, what it is, milliseconds of the mark of everything, a version.
const INVALIDATE: &str = r"
if ARGV[2] == 'one' then
  redis.call('DEL', KEYS[1])
  return 1
end
local time = redis.call('TIME')
local new = time[1] .. 'x' .. time[2] .. 'x' .. ARGV[1]
local all = redis.call('GET', KEYS[1]) or (new .. ':0')
local mark, oldest = string.match(all, '^(%w+):(%d+)$')
if ARGV[2] == 'all' then mark = new end
if tonumber(ARGV[4]) > tonumber(oldest) then oldest = ARGV[4] end
redis.call('SET', KEYS[1], mark .. ':' .. oldest, 'PX', ARGV[3])
return 1
";

/// Which server, as whom, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisLevelConfig {
    /// Host and port: `127.0.0.1:6379`. Without TLS, and without a password in it.
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
    /// What every key begins with, such as `shop:prices:`. Caches with the same prefix share their entries
    /// and invalidations, so each cache has its own, the same in each of its processes. For a cluster it
    /// has a hash tag: `{prices}:`, so that all keys are in one place.
    pub prefix: String,
    /// How long it may take to connect, and to answer; default 1 s. The cache's own limit is usually
    /// shorter.
    #[serde(default = "RedisLevelConfig::default_timeout", with = "duration_text")]
    pub timeout: Duration,
}

impl RedisLevelConfig {
    /// The defaults for the server at `address`, with keys that begin with `prefix`.
    pub fn new(address: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            user: None,
            password: None,
            database: 0,
            prefix: prefix.into(),
            timeout: Self::default_timeout(),
        }
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(1)
    }
}

/// Entries in a Redis server (6 or later), shared with every process that uses the same prefix.
///
/// Reading, writing and making invalid are one script each, so one round trip. An invalidation reaches
/// what other processes are loading: their answer is then not stored. It does not depend on the server
/// keeping anything: eviction, expiry, a restart without its data only make more invalid. The one thing
/// that is forgotten with its data is the oldest version that counts ([`Invalidation::OlderThan`]): until it
/// is told again, a process that does not know of it may store an older version, which those who ask for
/// that version are answered with.
/// **Warning:** a server that is restored from an older copy of its data brings back what the copy has.
///
/// It keeps one connection, which it makes when it is first used, and anew when it broke or when several
/// calls in a row were given up without an answer; tokio runs it.
pub struct RedisLevel {
    config: RedisLevelConfig,
    client: Client,
    clock: Arc<dyn Clock>,
    rng: Mutex<Rng>,
    line: Mutex<Option<Arc<Line>>>,
    /// One at a time connects.
    connecting: Semaphore,
    scripts: [Script; 3],
}

/// A connection, and how many calls on it were given up since it last answered.
pub(super) struct Line {
    connection: MultiplexedConnection,
    unanswered: AtomicU32,
}

/// A call on a line that has no answer yet.
struct Unanswered<'a> {
    level: &'a RedisLevel,
    line: &'a Arc<Line>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.line.unanswered.fetch_add(1, Ordering::AcqRel) + 1 >= MAX_UNANSWERED {
            self.level.hang_up(self.line);
        }
    }
}

impl RedisLevel {
    /// A level that is not connected yet.
    ///
    /// # Errors
    /// The address is not `host:port`, the prefix is empty, the timeout is zero, or there is a user and no
    /// password.
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
        if config.prefix.is_empty() {
            wrong.push(Violation::new(
                "prefix",
                "\"\"",
                "what this cache's keys begin with",
            ));
        }
        let unusable = || {
            // It may hold a password.
            let found = if config.address.contains(['@', '/']) {
                "(not shown)".to_owned()
            } else {
                format!("{:?}", config.address)
            };
            ConfigError::single("address", found, "host:port, without a scheme or a user")
        };
        let client = wrong.absorb(client(&config).ok_or_else(unusable));
        match (client, wrong.into_error()) {
            (Some(client), None) => Ok(Self {
                config,
                client,
                clock,
                rng: Mutex::new(rng),
                line: Mutex::new(None),
                connecting: Semaphore::new(1),
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

    /// The connection; `stale` if it was there before.
    async fn line(&self) -> Result<(Arc<Line>, bool), RedisError> {
        if let Some(line) = self.lock().clone() {
            return Ok((line, true));
        }
        // It is never closed.
        let _one = self.connecting.acquire().await;
        if let Some(line) = self.lock().clone() {
            return Ok((line, false));
        }
        let limit = Some(self.config.timeout);
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(limit)
            .set_response_timeout(limit);
        let client = &self.client;
        let made = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await?;
        let line = Arc::new(Line {
            connection: made,
            unanswered: AtomicU32::new(0),
        });
        *self.lock() = Some(Arc::clone(&line));
        Ok((line, false))
    }

    async fn say<T: FromRedisValue>(
        &self,
        line: &Arc<Line>,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let unanswered = Unanswered { level: self, line };
        let answer = call.invoke_async(&mut line.connection.clone()).await;
        std::mem::forget(unanswered);
        match &answer {
            // What the server itself refused says nothing against the connection.
            Err(error)
                if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() =>
            {
                self.hang_up(line);
            }
            _ => line.unanswered.store(0, Ordering::Release),
        }
        answer
    }

    /// No longer uses `line`; another may have taken its place already.
    pub(super) fn hang_up(&self, line: &Arc<Line>) {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, line)) {
            *held = None;
        }
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
        let (line, was_there) = self.line().await.map_err(|error| self.failed(&error))?;
        let answer = match self.say(&line, &call).await {
            Err(error) if was_there && error.is_connection_dropped() && !error.is_timeout() => {
                let (line, _) = self.line().await.map_err(|error| self.failed(&error))?;
                self.say(&line, &call).await
            }
            answer => answer,
        };
        answer.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &RedisError) -> BoxError {
        let said = error.to_string();
        match &self.config.password {
            Some(password) => password.hide_in(&said).into(),
            None => said.into(),
        }
    }

    fn keys(&self, key: &CacheKey) -> Vec<String> {
        let tags = key.tags().iter().map(|tag| self.tag_key(tag));
        [self.entry_key(key.name()), self.all_key()]
            .into_iter()
            .chain(tags)
            .collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(config: &RedisLevelConfig) -> Option<Client> {
    let (host, port) = config.address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    if host.is_empty() || host.contains(['@', '/']) {
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
        let keys = self.keys(key);
        let (chance, lease, keep) = (self.chance(), millis(LEASE), millis(KEEP_ALL));
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
        if own.is_empty() {
            return Err(
                "the server takes nothing: out of memory, or not the one to write to".into(),
            );
        }
        let left = millis(entry.lifetime.usable_until.since(self.clock.now()));
        let (bytes, version) = (entry.encode(), entry.version.to_string());
        let args = [
            own.as_bytes(),
            marks.as_bytes(),
            &bytes,
            version.as_bytes(),
            left.as_bytes(),
        ];
        let _stored: i64 = self.ask(&self.scripts[1], &self.keys(key), &args).await?;
        Ok(())
    }

    async fn invalidate(&self, what: &Invalidation) -> Result<(), BoxError> {
        let (key, kind, version) = match what {
            Invalidation::Key(name) => (self.entry_key(name), "one", 0),
            Invalidation::Tag(tag) => (self.tag_key(tag), "one", 0),
            Invalidation::OlderThan(version) => (self.all_key(), "version", *version),
            Invalidation::All => (self.all_key(), "all", 0),
        };
        let (chance, version) = (self.chance(), version.to_string());
        let keep = millis(KEEP_ALL);
        let args = [
            chance.as_bytes(),
            kind.as_bytes(),
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
