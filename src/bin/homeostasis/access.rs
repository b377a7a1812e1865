//! `homeostasis access …`

use std::fmt::Write as _;
use std::io::Read as _;

use homeostasis::core::Secret;
use homeostasis::core::port::TokenHash;

use crate::Answer;

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis access COMMAND

commands of access
  token      makes a token of 256 bits of chance and prints it, and the hash for the configuration
  hash       prints the hash of the token on standard input

exit codes: 0 all is well; 2 the command is wrong, or there is no chance to be had";

/// Runs it.
pub(crate) fn run(args: &[String]) -> Answer {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let answer = match args[..] {
        ["--help" | "-h"] => Ok(format!("{HELP}\n")),
        ["token"] => token(),
        ["hash"] => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| format!("standard input: {error}"))
                .and_then(|_| hash(&Secret::new(text.trim_end_matches(['\r', '\n']))))
                .map(|hash| format!("{hash}\n"))
        }
        _ => Err(format!("{args:?}, expected token or hash\n\n{HELP}")),
    };
    match answer {
        Ok(out) => Answer {
            out,
            ..Answer::default()
        },
        Err(error) => Answer {
            err: format!("{error}\n"),
            code: 2,
            ..Answer::default()
        },
    }
}

fn token() -> Result<String, String> {
    let bytes = chance::<32>()?;
    let token = bytes.iter().fold(String::new(), |mut token, byte| {
        // Writing into a string does not fail.
        let _ = write!(token, "{byte:02x}");
        token
    });
    let hash = hash(&Secret::new(token.as_str()))?;
    Ok(format!("token: {token}\nhash: {hash}\n"))
}

fn hash(token: &Secret) -> Result<TokenHash, String> {
    TokenHash::of(token, chance()?).map_err(|error| error.to_string())
}

/// Bytes that nobody can guess.
fn chance<const N: usize>() -> Result<[u8; N], String> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; N];
    std::fs::File::open(SOURCE)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| format!("{SOURCE}, expected chance from it: {error}"))?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_hash_and_no_two_are_alike() {
        let made = || {
            let answer = run(&["token".to_owned()]);
            assert_eq!(answer.code, 0, "{}", answer.err);
            let lines: Vec<_> = answer.out.lines().map(str::to_owned).collect();
            let token = lines[0].strip_prefix("token: ").unwrap().to_owned();
            let hash: TokenHash = lines[1].strip_prefix("hash: ").unwrap().parse().unwrap();
            (Secret::new(token), hash)
        };
        let (one, two) = (made(), made());
        assert!(one.1.matches(&one.0) && two.1.matches(&two.0));
        assert!(one.0 != two.0 && !one.1.matches(&two.0));
    }

    #[test]
    fn a_wrong_command_is_told() {
        let answer = run(&["tokens".to_owned()]);
        assert_eq!(answer.code, 2);
        assert!(
            answer.err.starts_with("[\"tokens\"], expected token"),
            "{}",
            answer.err
        );
    }
}
