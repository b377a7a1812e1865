//! Hostile strings on the way into the configuration of a real nginx.

use super::*;
use crate::action::injection_tests::{attack, attacks, case, filled, hostile};

/// What only means something in its configuration; `OUTSIDE` becomes a folder that nobody may touch.
const DIRECTIVES: [&str; 12] = [
    "127.0.0.1:80; } server { listen 1; root /; } upstream x { server 127.0.0.1:80",
    "127.0.0.1:80 down; include OUTSIDE/*",
    "127.0.0.1:80;error_log OUTSIDE/ran debug",
    "127.0.0.1:80\n;error_log OUTSIDE/ran",
    "127.0.0.1:80 #",
    "127.0.0.1:80 backup",
    "unix:OUTSIDE/socket",
    "unix:OUTSIDE/socket:80",
    "$host:80",
    "\"127.0.0.1\":80",
    "{:80",
    "127.0.0.1:80;",
];

#[tokio::test]
async fn no_string_becomes_a_directive_or_another_file() {
    let Some(nginx) = Nginx::start() else { return };
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().to_str().unwrap();
    let texts = DIRECTIVES
        .iter()
        .map(|text| text.replace("OUTSIDE", outside));
    let texts: Vec<_> = texts.chain(hostile(place.path())).collect();
    let seen = || {
        let file = fs::read_to_string(nginx.file()).unwrap();
        let mut files = names(nginx.scratch.path());
        files.extend(names(&nginx.scratch.path().join("up")));
        (
            file,
            files,
            format!("{:?}", nginx.workers()),
            nginx.answer(),
        )
    };
    let case = case(nginx.action(), nginx.args([1, 0]));
    let before = seen();
    let mut n_attacks = 0;
    for text in &texts {
        for (param, args) in attacks(&case, text) {
            for is_checked in [true, false] {
                let result = attack(&laws::context(), &*case.action, &args, is_checked).await;
                assert!(result.is_err(), "{param} {text:?}: {result:?}");
                n_attacks += 1;
            }
        }
    }
    assert_eq!(seen(), before);
    assert!(names(place.path()).is_empty());
    assert!(n_attacks > 300, "{n_attacks}");
    let good = attack(&laws::context(), &*case.action, &filled(&case), true).await;
    assert!(good.is_ok() && seen().0 != before.0, "{good:?}");
}
