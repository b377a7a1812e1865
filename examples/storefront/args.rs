//! The command line: flags for people, hidden roles for the child processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::chapters::Chapter;
use crate::deployment::ServiceName;

/// First argument of the process in which Homeostasis is embedded.
pub(crate) const SHOP_ROLE: &str = "__shop";
/// First argument of the shop's services.
pub(crate) const SERVICE_ROLE: &str = "__service";

pub(crate) const HELP: &str = "\
A shop of real processes under load; faults are injected and Homeostasis heals them, new versions
are released and Homeostasis promotes or takes back each; a program is repaired in its source.

Usage: storefront [--fast] [--seed N] [--only LETTERS] [--self-check]

  --fast          finish in about three minutes (shorter fault-free stretch, faster leak, shorter stages)
  --seed N        seed of the load's arrivals and choices; default 42
  --only LETTERS  tell only these chapters, comma separated, of
                    a  orders is killed
                    b  catalog leaks memory
                    c  a bad configuration of gateway is deployed
                    d  catalog becomes slow and calls pile up
                    e  the healer itself is killed in the middle of a heal
                    f  a bad version of quotes is released behind a canary, and taken back
                    g  a good version of quotes is released, and promoted
                    h  a worker of quotes is swapped under 50,000 requests, and none is lost
                    i  a worker in Python fails in a rare path, and its source is patched and swapped
                    j  a patch that would only hide an error is refused
                    p  a trouble passes by itself: the heal that seems to help is not believed
  --self-check    prove that the faults are real: run the shop without Homeostasis, check from
                  outside that each fault hurts, cure it by hand, check that it is gone
  --help          this text

Writes target/storefront/report.json. Exit codes: 0 every chapter ended as it should,
1 not, 2 wrong usage.";

/// What this process is.
#[derive(Debug)]
pub(crate) enum Role {
    Help,
    Conductor(ConductorOptions),
    Shop(ShopOptions),
    Service(ServiceOptions),
}

/// What the person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConductorOptions {
    pub(crate) fast: bool,
    pub(crate) seed: u64,
    pub(crate) chapters: Vec<Chapter>,
    pub(crate) self_check: bool,
}

/// How the conductor starts the shop.
#[derive(Debug)]
pub(crate) struct ShopOptions {
    pub(crate) deployment: PathBuf,
    /// Off in `--self-check`: services are started and adopted, nothing is healed.
    pub(crate) heal: bool,
}

/// How the shop starts a service.
#[derive(Debug)]
pub(crate) struct ServiceOptions {
    pub(crate) name: ServiceName,
    pub(crate) listen: SocketAddr,
    /// Claimed by the service itself for as long as it lives.
    pub(crate) pid_file: PathBuf,
    pub(crate) log_file: PathBuf,
    /// What the service keeps between restarts.
    pub(crate) data_dir: PathBuf,
    /// The folder with `current` and `slots/`; only a service with deployment slots has one.
    pub(crate) slots: Option<PathBuf>,
    /// The file of prices; only quotes has one.
    pub(crate) tariff: Option<PathBuf>,
    /// Who is asked for the surcharge; only quotes asks.
    pub(crate) carrier: Option<SocketAddr>,
}

/// Why a command line was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    #[error("unknown argument `{0}`")]
    Unknown(String),
    #[error("`{flag}` needs a value")]
    MissingValue { flag: String },
    #[error("`{flag} {value}`: expected {expected}")]
    Invalid {
        flag: String,
        value: String,
        expected: &'static str,
    },
    #[error("`{role}` needs `{flag}`")]
    MissingFlag { role: String, flag: &'static str },
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Role, ArgsError> {
    let mut args = args.into_iter().peekable();
    match args.peek().map(String::as_str) {
        Some(SHOP_ROLE) => parse_shop(args.skip(1)),
        Some(SERVICE_ROLE) => parse_service(args.skip(1)),
        _ => parse_conductor(args),
    }
}

fn parse_conductor(mut args: impl Iterator<Item = String>) -> Result<Role, ArgsError> {
    let mut options = ConductorOptions {
        fast: false,
        seed: 42,
        chapters: Chapter::ALL.to_vec(),
        self_check: false,
    };
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--fast" => options.fast = true,
            "--self-check" => options.self_check = true,
            "--help" | "-h" => return Ok(Role::Help),
            "--seed" => {
                options.seed = value(&flag, &mut args, "a whole number from 0 to 2^64 - 1")?;
            }
            "--only" => {
                let list: String = value(&flag, &mut args, "letters")?;
                options.chapters = chapters(&flag, &list)?;
            }
            _ => return Err(ArgsError::Unknown(flag)),
        }
    }
    Ok(Role::Conductor(options))
}

fn chapters(flag: &str, list: &str) -> Result<Vec<Chapter>, ArgsError> {
    let mut chosen = list
        .split(',')
        .map(|letter| {
            Chapter::ALL
                .into_iter()
                .find(|chapter| letter.trim() == chapter.letter().to_string())
                .ok_or_else(|| ArgsError::Invalid {
                    flag: flag.to_owned(),
                    value: list.to_owned(),
                    expected: "letters from a to j and p, comma separated",
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    chosen.sort_unstable_by_key(|chapter| chapter.letter());
    chosen.dedup();
    Ok(chosen)
}

fn parse_shop(mut args: impl Iterator<Item = String>) -> Result<Role, ArgsError> {
    let (mut deployment, mut heal) = (None, true);
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--deployment" => deployment = Some(value(&flag, &mut args, "a path")?),
            "--without-healer" => heal = false,
            _ => return Err(ArgsError::Unknown(flag)),
        }
    }
    Ok(Role::Shop(ShopOptions {
        deployment: required(deployment, SHOP_ROLE, "--deployment")?,
        heal,
    }))
}

fn parse_service(mut args: impl Iterator<Item = String>) -> Result<Role, ArgsError> {
    let name = value(
        SERVICE_ROLE,
        &mut args,
        "gateway, orders, catalog or quotes",
    )?;
    let (mut listen, mut pid_file, mut log_file, mut data_dir, mut slots) =
        (None, None, None, None, None);
    let (mut tariff, mut carrier) = (None, None);
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--listen" => listen = Some(value(&flag, &mut args, "an address like 127.0.0.1:8080")?),
            "--pid-file" => pid_file = Some(value(&flag, &mut args, "a path")?),
            "--log-file" => log_file = Some(value(&flag, &mut args, "a path")?),
            "--data-dir" => data_dir = Some(value(&flag, &mut args, "a path")?),
            "--slots" => slots = Some(value(&flag, &mut args, "a path")?),
            "--tariff" => tariff = Some(value(&flag, &mut args, "a path")?),
            "--carrier" => {
                carrier = Some(value(&flag, &mut args, "an address like 127.0.0.1:8080")?);
            }
            _ => return Err(ArgsError::Unknown(flag)),
        }
    }
    Ok(Role::Service(ServiceOptions {
        name,
        listen: required(listen, SERVICE_ROLE, "--listen")?,
        pid_file: required(pid_file, SERVICE_ROLE, "--pid-file")?,
        log_file: required(log_file, SERVICE_ROLE, "--log-file")?,
        data_dir: required(data_dir, SERVICE_ROLE, "--data-dir")?,
        slots,
        tariff,
        carrier,
    }))
}

fn value<T: FromStr>(
    flag: &str,
    args: &mut impl Iterator<Item = String>,
    expected: &'static str,
) -> Result<T, ArgsError> {
    let text = args.next().ok_or_else(|| ArgsError::MissingValue {
        flag: flag.to_owned(),
    })?;
    text.parse().map_err(|_| ArgsError::Invalid {
        flag: flag.to_owned(),
        value: text,
        expected,
    })
}

fn required<T>(found: Option<T>, role: &str, flag: &'static str) -> Result<T, ArgsError> {
    found.ok_or_else(|| ArgsError::MissingFlag {
        role: role.to_owned(),
        flag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conductor(line: &str) -> Result<ConductorOptions, ArgsError> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Role::Conductor(options) => Ok(options),
            other => panic!("expected the conductor, got {other:?}"),
        }
    }

    #[test]
    fn no_flag_means_every_chapter_and_the_default_seed() {
        let options = conductor("").unwrap();
        assert_eq!(options.chapters, Chapter::ALL);
        assert_eq!(options.seed, 42);
        assert!(!options.fast && !options.self_check);
    }

    #[test]
    fn only_keeps_the_order_of_the_story_and_drops_repeats() {
        let options = conductor("--only c,f,a,c --seed 7 --fast").unwrap();
        let letters: String = options.chapters.iter().map(|it| it.letter()).collect();
        assert_eq!(letters, "acf");
        assert_eq!((options.seed, options.fast), (7, true));
    }

    #[test]
    fn wrong_input_is_named() {
        assert_eq!(
            conductor("--quick"),
            Err(ArgsError::Unknown("--quick".to_owned()))
        );
        assert_eq!(
            conductor("--seed -1").unwrap_err().to_string(),
            "`--seed -1`: expected a whole number from 0 to 2^64 - 1"
        );
        assert_eq!(
            conductor("--only a,z").unwrap_err().to_string(),
            "`--only a,z`: expected letters from a to j and p, comma separated"
        );
        assert_eq!(
            conductor("--seed").unwrap_err().to_string(),
            "`--seed` needs a value"
        );
    }
}
