//! `nginx_reload`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, ErrorKind, Target, Violation, Violations};
use serde_json::{Map, Value, json};

use super::in_force::Note;
use super::workers::Workers;
use crate::action::address::host_and_port;
use crate::action::servers::{ServerConfig, Servers};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, Program,
    RunProgram, is_name,
};
use crate::file::{read_small, write_atomically};

/// The longest file of an upstream.
pub(super) const MAX_FILE: u64 = 64 * 1024;
/// How long the workers have to turn over, and how often that is looked at.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Where an nginx is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NginxConfig {
    /// Whom a reload affects: what the blast radius is computed from.
    pub target: Target,
    /// The program; default `/usr/sbin/nginx`.
    pub program: PathBuf,
    /// Its configuration; default `/etc/nginx/nginx.conf`.
    pub config: PathBuf,
    /// The prefix (`-p`) that its relative paths begin with; default that of the program.
    pub prefix: Option<PathBuf>,
    /// Where it writes the id of its master; default `/run/nginx.pid`.
    pub pid_file: PathBuf,
    /// The name of the upstream that playbooks may set, and the file with it, which nothing else writes
    /// and the configuration includes; default none.
    pub upstream: Option<(String, PathBuf)>,
}

impl NginxConfig {
    /// The nginx of `target` with the paths of Debian, and no upstream to set.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            program: PathBuf::from("/usr/sbin/nginx"),
            config: PathBuf::from("/etc/nginx/nginx.conf"),
            prefix: None,
            pid_file: PathBuf::from("/run/nginx.pid"),
            upstream: None,
        }
    }

    /// The same with an upstream that playbooks may set.
    #[must_use]
    pub fn with_upstream(mut self, name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        self.upstream = Some((name.into(), file.into()));
        self
    }
}

impl ServerConfig for NginxConfig {
    const PARAM: &'static str = "nginx";
    const DOC: &'static str = "which nginx";
    const EXPECTED: &'static str = "a registered nginx";
    const PATH: &'static str = "nginx";

    fn target(&self) -> &Target {
        &self.target
    }

    fn violations(&self, path: &str) -> Violations {
        let mut wrong = Violations::new();
        let upstream = self.upstream.as_ref();
        for (field, found) in [
            ("program", Some(&self.program)),
            ("config", Some(&self.config)),
            ("prefix", self.prefix.as_ref()),
            ("pid_file", Some(&self.pid_file)),
            ("upstream", upstream.map(|(_, file)| file)),
        ] {
            if let Some(found) = found.filter(|found| !found.is_absolute()) {
                let field = format!("{path}.{field}");
                wrong.push(Violation::new(field, found.display(), "an absolute path"));
            }
        }
        if let Some((name, _)) = upstream.filter(|(name, _)| !is_name(name)) {
            let expected = ParamKind::Name.expected();
            wrong.push(Violation::new(
                format!("{path}.upstream"),
                format!("{name:?}"),
                expected,
            ));
        }
        wrong
    }
}

/// Reloads nginx without dropping a request, if told with other servers in an upstream; undo puts the
/// earlier file back and reloads again.
///
/// Parameters: `nginx` (a registered name), `servers` (`host:port` with a weight from 0 to 1000 each, 0 is
/// `down`; at least one above 0; default the file stays as it is).
///
/// The generated file is tried alone (`nginx -t`) before anything is touched, then replaces the earlier one
/// whole, and the configuration is tried with it; if that fails the earlier file is put back and nothing is
/// reloaded. A master that cannot use what it was told keeps its workers without a word, so it is verified
/// that new workers serve and the old ones are gone or on their way out. Idempotent. It waits up to 30 s.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::action::{NginxConfig, NginxReload};
///
/// let edge = NginxConfig::new(Target::service("edge")?)
///     .with_upstream("app", "/etc/nginx/conf.d/app.upstream.conf");
/// let action = NginxReload::default().nginx("edge", edge)?;
/// # let _ = action;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NginxReload {
    spec: ActionSpec,
    known: Servers<NginxConfig>,
}

impl Default for NginxReload {
    /// Without any nginx.
    fn default() -> Self {
        let weight = ParamKind::Integer { min: 0, max: 1000 };
        let servers = ParamKind::Map(Box::new(weight));
        let spec = ActionSpec::new("reload nginx, with other servers in an upstream if told")
            .with_params([
                Servers::<NginxConfig>::param(),
                Param::optional("servers", servers, "host:port and weight of each"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured(
                "the earlier file of the upstream".to_owned(),
            ))
            .with_timeout(Duration::from_secs(60));
        Self {
            spec,
            known: Servers::default(),
        }
    }
}

impl NginxReload {
    /// The same with one nginx more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, a path is not absolute, or the name of the upstream is
    /// not a plain word.
    pub fn nginx(
        mut self,
        name: impl Into<String>,
        config: NginxConfig,
    ) -> Result<Self, ConfigError> {
        self.known.add(name.into(), config)?;
        Ok(self)
    }
}

impl NginxConfig {
    /// The file for these servers; what is wrong with them, with its place.
    pub(super) fn render(&self, servers: &Map<String, Value>) -> Result<String, ArgumentProblem> {
        let Some((name, _)) = &self.upstream else {
            let expected = "nothing: the host lets no upstream of this nginx be set";
            return Err(ArgumentProblem::new("/servers", expected));
        };
        let mut lines = vec![
            "# Written by homeostasis; what is changed here is lost.".to_owned(),
            format!("upstream {name} {{"),
        ];
        for (address, weight) in servers {
            // It stands in a configuration: nothing but what a host and a port need.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
            if host_and_port(address).is_err() || !address.chars().all(is_plain) {
                let pointer = format!("/servers/{}", address.replace('~', "~0").replace('/', "~1"));
                return Err(ArgumentProblem::new(pointer, "host:port"));
            }
            lines.push(match weight.as_u64().unwrap_or(0) {
                0 => format!("    server {address} down;"),
                weight => format!("    server {address} weight={weight};"),
            });
        }
        lines.push("}\n".to_owned());
        if servers
            .values()
            .all(|weight| weight.as_u64().unwrap_or(0) == 0)
        {
            let expected = "at least one server with a weight above 0";
            return Err(ArgumentProblem::new("/servers", expected));
        }
        Ok(lines.join("\n"))
    }

    /// Runs the program with these arguments.
    async fn run(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        config: &Path,
        more: &[&str],
    ) -> Result<Value, ActionError> {
        let mut args: Vec<String> = Vec::new();
        if let Some(prefix) = &self.prefix {
            args.extend(["-p".to_owned(), text(prefix)?]);
        }
        args.extend(["-c".to_owned(), text(config)?]);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let program = Program::new(&self.program).idempotent();
        let runner = RunProgram::default()
            .allow("nginx", program)
            .map_err(|error| ActionError::invalid("the program", error.to_string()))?;
        let args = json!({ "program": "nginx", "args": args, "expected_exit": 0 });
        let args = args.as_object().cloned().unwrap_or_default();
        let call = ActionCall::new(call.target, &args, call.key).with_deadline(call.deadline);
        runner.perform(cx, &call).await
    }

    /// Tries a file of an upstream by itself.
    pub(super) async fn try_alone(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        file: &Path,
        content: &str,
    ) -> Result<(), ActionError> {
        // A configuration that includes all files of the folder by `*` does not take up a hidden one.
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name().unwrap_or_default());
        name.push(".try");
        let alone = Removed(file.with_file_name(name));
        // Trying makes the file of the id.
        let whole = format!(
            "error_log stderr;\npid /dev/null;\nevents {{}}\nhttp {{\naccess_log off;\n{content}}}\n"
        );
        write_atomically(&alone.0, whole.as_bytes()).map_err(|error| unwritten(&alone.0, error))?;
        let tried = self.run(cx, call, &alone.0, &["-t"]).await;
        tried.map(|_| ()).map_err(|error| refused(&error))
    }

    /// Replaces the file (`None` removes it), tries the configuration, reloads, waits for the workers.
    pub(super) async fn apply(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        change: Option<(&Path, Option<&str>)>,
    ) -> Result<Value, ActionError> {
        let what = "reloading nginx";
        let before = Workers::of(&self.pid_file).ok_or_else(|| {
            let detail = format!("{} names no master that runs", self.pid_file.display());
            ActionError::not_begun(what, ErrorKind::Transient, detail)
        })?;
        let mut earlier = None;
        if let Some((file, content)) = change {
            earlier = Some((file, read(file)?));
            // First: from here on the file is not what is in force until others serve.
            Note::write(file, &before).map_err(|error| unwritten(file, error))?;
            put(file, content).map_err(|error| unwritten(file, error))?;
        }
        if let Err(error) = self.run(cx, call, &self.config, &["-t"]).await {
            if let Some((file, content)) = &earlier {
                put(file, content.as_deref()).map_err(|error| {
                    ActionError::permanent("putting the earlier file back", error)
                })?;
                Note::remove_after(file, &before);
            }
            return Err(refused(&error));
        }
        self.run(cx, call, &self.config, &["-s", "reload"]).await?;
        let started = cx.now();
        loop {
            let now = Workers::of(&self.pid_file);
            if let Some(now) = now.filter(|now| now.took_over_from(&before)) {
                if let Some((file, _)) = change {
                    Note::remove(file);
                }
                return Ok(
                    json!({ "workers": now.n_serving(), "workers_before": before.n_serving() }),
                );
            }
            if cx.now().since(started) >= SETTLE {
                let detail = format!("no new workers after {SETTLE:?}: its error log says why");
                return Err(ActionError::permanent(what, detail));
            }
            cx.clock().sleep(POLL).await;
        }
    }
}

/// A file that goes when this does, also when the call is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What is left is harmless, and replaced by the next try.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn text(path: &Path) -> Result<String, ActionError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| ActionError::invalid("the path", format!("{} is no UTF-8", path.display())))
}

/// The configuration was tried and is no good; nothing was touched.
fn refused(error: &ActionError) -> ActionError {
    ActionError::invalid("the configuration", error.report().to_string())
}

fn unwritten(file: &Path, error: std::io::Error) -> ActionError {
    let what = format!("writing {}", file.display());
    ActionError::not_begun(what, ErrorKind::Permanent, error)
}

fn read(file: &Path) -> Result<Option<String>, ActionError> {
    read_small(file, MAX_FILE).map_err(|error| {
        let what = format!("reading {}", file.display());
        ActionError::not_begun(what, ErrorKind::Permanent, error)
    })
}

fn put(file: &Path, content: Option<&str>) -> std::io::Result<()> {
    match content {
        Some(content) => write_atomically(file, content.as_bytes()),
        None => match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

#[async_trait]
impl Action for NginxReload {
    fn name(&self) -> &'static str {
        "nginx_reload"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.known.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.known.check(args);
        let servers = args.get("servers").and_then(Value::as_object);
        if let (Some(nginx), Some(servers)) = (self.known.named(args), servers) {
            problems.extend(nginx.render(servers).err());
        }
        problems
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let nginx = self.known.of(call)?;
        let file = nginx
            .upstream
            .as_ref()
            .filter(|_| call.args.contains_key("servers"));
        let earlier = file.map(|(_, file)| read(file)).transpose()?.flatten();
        Ok(json!({ "file": earlier }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let nginx = self.known.of(call)?;
        let servers = call.args.get("servers").and_then(Value::as_object);
        let (Some(servers), Some((_, file))) = (servers, &nginx.upstream) else {
            return nginx.apply(cx, call, None).await;
        };
        let content = nginx.render(servers).map_err(|problem| {
            ActionError::argument(problem.pointer.trim_start_matches('/'), &problem.expected)
        })?;
        nginx.try_alone(cx, call, file, &content).await?;
        nginx.apply(cx, call, Some((file, Some(&content)))).await
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let nginx = self.known.of(call)?;
        let earlier = match call.captured.get("file") {
            Some(Value::String(text)) => Some(text.as_str()),
            Some(Value::Null) => None,
            _ => {
                return Err(ActionError::invalid(
                    "captured state",
                    "expected the earlier file",
                ));
            }
        };
        let upstream = nginx.upstream.as_ref();
        let change = upstream.filter(|_| call.args.contains_key("servers"));
        let change = change.map(|(_, file)| (file.as_path(), earlier));
        nginx.apply(cx, call, change).await
    }
}
