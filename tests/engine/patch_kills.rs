//! Whole healers killed while they patch a tree: real processes, a durable journal, real time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use homeostasis::core::Rng;
use homeostasis::core::port::Store;
use homeostasis::core::testing::engine::Scratch;
use homeostasis::patch::SessionState;
use homeostasis::store::RedbStore;
use homeostasis::{EngineSettings, SystemClock};

use crate::patching::{NEW, OLD, Shop};
use crate::world::names;

/// How many kills unless `HOMEOSTASIS_PATCH_KILLS` says otherwise.
const KILLS: u64 = 24;

/// How many are at work at once: most of the time each waits.
const AT_ONCE: usize = 8;

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{word}").unwrap();
    out.flush().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the test kills real processes")]
fn child_of(folder: &Path, helps: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "patch_kills::life", "--ignored", "--nocapture"])
        .env("HOMEOSTASIS_PATCH_KILL_IN", folder)
        .env("HOMEOSTASIS_PATCH_HELPS", helps.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

fn await_word(child: &mut Child, word: &str) -> bool {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).any(|line| line == word)
}

/// One life of a healer; started by the test below. It ends when nothing is left to be done.
#[tokio::test]
#[ignore = "a part of the test that kills it"]
async fn life() {
    let Some(folder) = std::env::var_os("HOMEOSTASIS_PATCH_KILL_IN") else {
        return;
    };
    let folder = Path::new(&folder);
    let mut shop = Shop::at(folder);
    shop.takes = Duration::from_millis(20);
    if std::env::var("HOMEOSTASIS_PATCH_HELPS").as_deref() != Ok("true") {
        *shop.healthy.lock().unwrap() = "something else";
    }
    let shop = Arc::new(shop);
    let mut settings = EngineSettings::default();
    settings.tick = Duration::from_millis(5);
    settings.settle = Duration::ZERO;
    settings.quiet = Duration::from_secs(1);
    settings.lease_ttl = Duration::from_secs(1);
    let store = RedbStore::open(folder.join("journal")).unwrap();
    let healer = shop
        .builder(shop.configured())
        .settings(settings)
        .clock(Arc::new(SystemClock))
        .store(Arc::new(store))
        .start()
        .await
        .unwrap();
    if shop.text() != *shop.healthy.lock().unwrap() {
        shop.world.fall_ill("a");
    }
    shop.run(&healer);
    say("begun");
    loop {
        let known = healer.incidents(10).await.unwrap();
        let mut n_over = 0;
        for id in &known {
            let incident = healer.incident(*id).await.unwrap();
            n_over += usize::from(incident.is_closed() || incident.escalated);
        }
        if !known.is_empty() && n_over == known.len() {
            break;
        }
        healer.clock().sleep(Duration::from_millis(20)).await;
    }
    healer.shutdown().await;
    say("over");
}

/// The last thing in the journal of the healer that was killed.
fn last_event(folder: &Path) -> &'static str {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let store = RedbStore::open(folder.join("journal")).unwrap();
        let Some(id) = store.incidents(1).await.unwrap().first().copied() else {
            return "nothing";
        };
        names(&store, id).await.last().unwrap()
    })
}

/// One healer that is killed once, and the next that goes on; gives what the first did last.
fn killed_once(number: u64) -> &'static str {
    let mut rng = Rng::from_seed(number);
    let helps = rng.below(2) == 0;
    // Mostly while it plans, tests and applies; else while it verifies, or takes back.
    let micros = match rng.below(3) {
        0 => rng.below(4_000_000),
        _ => rng.below(200_000),
    };
    let story = format!("kill {number} after {micros} us, helps: {helps}");
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("app.toml"), OLD).unwrap();
    let text = || fs::read_to_string(root.join("app.toml")).unwrap();

    let mut first = child_of(scratch.path(), helps);
    assert!(await_word(&mut first, "begun"), "{story}");
    thread::sleep(Duration::from_micros(micros));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(
        [OLD, NEW].contains(&text().as_str()),
        "{story}: {:?}",
        text()
    );

    let last = last_event(scratch.path());

    let mut second = child_of(scratch.path(), helps);
    let is_over = await_word(&mut second, "over");
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(is_over, "{story}: the next life came to no end");
    let (wanted, state) = if helps {
        (NEW, SessionState::Applied)
    } else {
        (OLD, SessionState::RolledBack)
    };
    assert_eq!(text(), wanted, "{story}");
    let tree = Shop::at(scratch.path()).tree();
    assert_eq!(tree.recover().unwrap(), [], "{story}");
    let states: Vec<_> = tree.sessions().unwrap().iter().map(|it| it.state).collect();
    assert_eq!(states, [state], "{story}");
    let files = fs::read_dir(&root).unwrap().count();
    assert_eq!(files, 1, "{story}: something is left behind");
    last
}

#[test]
fn healers_killed_while_they_patch_end_with_one_patch_and_nothing_left_behind() {
    let kills = std::env::var("HOMEOSTASIS_PATCH_KILLS");
    let kills = kills.map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let lasts = Mutex::new(BTreeMap::<_, u32>::new());
    thread::scope(|scope| {
        for worker in (0..kills).take(AT_ONCE) {
            let lasts = &lasts;
            scope.spawn(move || {
                for number in (worker..kills).step_by(AT_ONCE) {
                    let last = killed_once(number);
                    *lasts.lock().unwrap().entry(last).or_default() += 1;
                }
            });
        }
    });
    let lasts = lasts.into_inner().unwrap();
    eprintln!("killed after {lasts:?}");
    assert!(lasts.len() > 3, "kills in too few places: {lasts:?}");
}
