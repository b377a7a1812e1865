//! Who is called when: chains go on after a crash, what is to be told is told at least once, and a
//! dead channel delays no other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRules, EscalationTrigger,
    TriggerCondition,
};
use homeostasis::core::port::{
    Commit, MemoryStore, Notification, NotificationKind, Notifier, NotifyError, Principal, Role,
    Store, StoreError, Version,
};
use homeostasis::core::record::{EventKind, HealEvent};
use homeostasis::core::testing::store::{CrashPoint, CrashStore, HookedStore, WriteHook};
use homeostasis::core::{ErrorKind, Timestamp, async_trait};
use homeostasis::{Builder, CommandError, Homeostasis};

use crate::world::{World, is, pass, until};

/// A channel that may be out of order, and keeps what it got and when.
#[derive(Debug, Default)]
struct Line {
    is_dead: AtomicBool,
    n_tries: std::sync::atomic::AtomicU32,
    got: Mutex<Vec<Notification>>,
}

impl Line {
    fn titles(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        got.iter().map(|it| it.key.clone()).collect()
    }

    /// The last part of each key: `level1.0`, `closed`.
    fn what(&self) -> Vec<String> {
        let last = |key: &String| key.rsplit('/').next().unwrap().to_owned();
        self.titles().iter().map(last).collect()
    }
}

#[async_trait]
impl Notifier for Line {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        self.n_tries.fetch_add(1, Ordering::SeqCst);
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(NotifyError::Failed {
                what: "the line".to_owned(),
                kind: ErrorKind::Transient,
                source: None,
            });
        }
        self.got.lock().unwrap().push(notification.clone());
        Ok(())
    }

    fn takes(&self, _: NotificationKind) -> bool {
        true
    }
}

fn level(minutes: u64, condition: EscalationCondition, channels: &[&str]) -> EscalationLevel {
    EscalationLevel {
        delay: Duration::from_secs(minutes * 60),
        condition,
        notify: vec![format!("level{minutes}")],
        channels: channels.iter().map(|it| (*it).to_owned()).collect(),
    }
}

/// Three levels: at once, after 5 minutes, after 15 minutes whether acknowledged or not.
fn rules() -> EscalationRules {
    use EscalationCondition::{Always, NotAcknowledged, NotResolved};
    EscalationRules {
        policies: vec![EscalationPolicy {
            name: "critical".to_owned(),
            levels: vec![
                level(0, Always, &["pager"]),
                level(5, NotAcknowledged, &["pager", "mail"]),
                level(15, NotResolved, &["mail"]),
            ],
            ..EscalationPolicy::default()
        }],
        ..EscalationRules::default()
    }
}

struct Lines {
    pager: Arc<Line>,
    mail: Arc<Line>,
}

impl Lines {
    fn new() -> Self {
        let (pager, mail) = (Arc::default(), Arc::default());
        Self { pager, mail }
    }

    fn of(&self, builder: Builder) -> Builder {
        builder
            .channel("pager", Arc::clone(&self.pager) as Arc<_>)
            .channel("mail", Arc::clone(&self.mail) as Arc<_>)
            .escalation(rules())
    }
}

fn ada(role: Role) -> Principal {
    Principal::new("ada", [role])
}

/// A world in which nothing helps, and a healer that has just handed it to people.
async fn stuck(lines: &Lines) -> (Arc<World>, Homeostasis, homeostasis::core::IncidentId) {
    let world = Arc::new(World::default());
    world.incurable.store(true, Ordering::SeqCst);
    let healer = lines.of(world.healer()).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let id = until(&healer, &mut events, is("escalated")).await.incident;
    (world, healer, id)
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_called_level_by_level_and_all_who_were_called_hear_of_the_end() {
    let lines = Lines::new();
    let (world, healer, id) = stuck(&lines).await;
    pass(&healer, 2).await;
    assert_eq!(lines.pager.what(), ["level1.0"]);
    assert_eq!(lines.pager.got.lock().unwrap()[0].to, ["level0"]);
    pass(&healer, 280).await;
    assert!(lines.mail.what().is_empty());
    pass(&healer, 20).await;
    assert_eq!(lines.pager.what(), ["level1.0", "level2.0"]);
    assert_eq!(lines.mail.what(), ["level2.0"]);
    pass(&healer, 600).await;
    assert_eq!(lines.mail.what(), ["level2.0", "level3.0"]);
    world.cured_by_hand("a");
    pass(&healer, 120).await;
    assert_eq!(lines.pager.what(), ["level1.0", "level2.0", "closed"]);
    assert_eq!(lines.mail.what(), ["level2.0", "level3.0", "closed"]);
    let state = healer.incident(id).await.unwrap().escalation;
    assert_eq!(state.policy.as_deref(), Some("critical"));
    assert_eq!(
        (state.notified.len(), healer.channels()["mail"].delivered),
        (3, 3)
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_it_on_spares_the_others_and_only_who_may_respond_does() {
    let lines = Lines::new();
    let (_, healer, id) = stuck(&lines).await;
    pass(&healer, 60).await;
    let refused = healer
        .operator_as(ada(Role::Viewer))
        .acknowledge(id, "")
        .await;
    assert!(
        matches!(refused, Err(CommandError::NotAuthorized(_))),
        "{refused:?}"
    );
    healer
        .operator_as(ada(Role::Operator))
        .acknowledge(id, "on it")
        .await
        .unwrap();
    let again = healer
        .operator_as(ada(Role::Admin))
        .acknowledge(id, "")
        .await;
    assert!(
        again
            .unwrap_err()
            .to_string()
            .contains("ada has acknowledged it")
    );
    pass(&healer, 1200).await;
    assert_eq!(lines.pager.what(), ["level1.0", "acknowledged"]);
    assert_eq!(lines.mail.what(), ["level3.0"]);
    let taken = healer
        .incident(id)
        .await
        .unwrap()
        .escalation
        .acknowledged
        .unwrap();
    assert_eq!((&taken.by[..], &taken.note[..]), ("ada", "on it"));
    let body = lines.mail.got.lock().unwrap()[0].body.clone();
    assert!(body.contains("acknowledged by ada"), "{body}");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_channel_delays_no_other_and_gets_everything_in_order_when_it_is_back() {
    let lines = Lines::new();
    lines.pager.is_dead.store(true, Ordering::SeqCst);
    let (_, healer, id) = stuck(&lines).await;
    pass(&healer, 320).await;
    assert_eq!(lines.mail.what(), ["level2.0"]);
    let health = healer.channels().remove("pager").unwrap();
    assert_eq!((health.waiting, health.delivered), (2, 0));
    assert!(
        health.resting_until.is_some() && health.last_error.is_some(),
        "{health:?}"
    );
    let tries = lines.pager.n_tries.load(Ordering::SeqCst);
    assert!((5..30).contains(&tries), "{tries} tries in five minutes");
    let blamed = healer.incident(id).await.unwrap().blamed;
    assert!(
        blamed.contains(&("notifier".to_owned(), "pager".to_owned())),
        "{blamed:?}"
    );
    lines.pager.is_dead.store(false, Ordering::SeqCst);
    pass(&healer, 400).await;
    assert_eq!(lines.pager.what(), ["level1.0", "level2.0"]);
    assert_eq!(healer.channels()["pager"].waiting, 0);
    healer.shutdown().await;
}

/// What nobody has heard of is not called once somebody took it on; what some have heard of is called to
/// the end.
#[tokio::test(start_paused = true)]
async fn a_level_that_waits_for_a_dead_channel_is_spared_once_somebody_took_it_on() {
    use EscalationCondition::{Always, NotAcknowledged};
    for (channels, heard) in [
        (
            &["pager"][..],
            &["level1.0", "level3.0", "acknowledged"][..],
        ),
        (
            &["pager", "mail"],
            &["level1.0", "level2.0", "level3.0", "acknowledged"],
        ),
    ] {
        let lines = Lines::new();
        lines.pager.is_dead.store(true, Ordering::SeqCst);
        let world = Arc::new(World::default());
        world.incurable.store(true, Ordering::SeqCst);
        let mut rules = rules();
        rules.policies[0].levels = vec![
            level(0, Always, &["pager"]),
            level(5, NotAcknowledged, channels),
            level(6, Always, &["pager"]),
        ];
        let builder = lines.of(world.healer()).escalation(rules);
        let healer = builder.start().await.unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        let id = until(&healer, &mut events, is("escalated")).await.incident;
        pass(&healer, 400).await;
        assert_eq!(healer.channels()["pager"].waiting, 3);
        let operator = healer.operator_as(ada(Role::Operator));
        operator.acknowledge(id, "on it").await.unwrap();
        lines.pager.is_dead.store(false, Ordering::SeqCst);
        pass(&healer, 600).await;
        assert_eq!(lines.pager.what(), heard, "{channels:?}");
        let health = healer.channels().remove("pager").unwrap();
        let n_spared = 4 - heard.len() as u64;
        assert_eq!((health.waiting, health.moot), (0, n_spared), "{channels:?}");
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trigger_raises_the_severity_and_calls_people_before_the_healer_gives_up() {
    let lines = Lines::new();
    let world = Arc::new(World::default());
    let mut rules = rules();
    let when = TriggerCondition::Detected(["illness".to_owned()].into());
    let raised = EscalationTrigger::raise(when, homeostasis::core::record::Severity::Sev0);
    rules.triggers.insert("outbreak".to_owned(), raised);
    let healer = lines
        .of(world.healer())
        .escalation(rules)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let id = until(&healer, &mut events, is("trigger_fired"))
        .await
        .incident;
    until(&healer, &mut events, is("closed")).await;
    pass(&healer, 5).await;
    let incident = healer.incident(id).await.unwrap();
    assert_eq!(incident.severity, homeostasis::core::record::Severity::Sev0);
    assert!(!incident.escalated || !lines.pager.what().is_empty());
    assert_eq!(
        lines.pager.what().first().map(String::as_str),
        Some("level1.0")
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whom_a_tried_plan_names_is_called_beside_the_chain() {
    let (world, lines) = (Arc::new(World::default()), Lines::new());
    world.incurable.store(true, Ordering::SeqCst);
    *world.named.lock().unwrap() = vec!["mail".to_owned(), "cto".to_owned()];
    let healer = lines.of(world.healer()).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 2).await;
    // The channel by its name, and the person through the channels of the chain.
    assert_eq!(lines.mail.what(), ["level0.0"]);
    assert_eq!(lines.pager.what(), ["level1.0", "level0.0"]);
    assert_eq!(lines.pager.got.lock().unwrap()[1].to, ["cto"]);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whom_a_tried_plan_names_is_called_even_if_the_chain_has_called_nobody_yet() {
    let (world, lines) = (Arc::new(World::default()), Lines::new());
    world.incurable.store(true, Ordering::SeqCst);
    *world.named.lock().unwrap() = vec!["dba".to_owned()];
    let mut rules = rules();
    for level in &mut rules.policies[0].levels {
        level.delay += Duration::from_secs(600);
    }
    let builder = lines.of(world.healer()).escalation(rules);
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 2).await;
    assert_eq!(lines.pager.what(), ["level0.0"]);
    assert_eq!(lines.pager.got.lock().unwrap()[0].to, ["dba"]);
    healer.shutdown().await;
}

/// A line that does not want to know how it went on.
#[derive(Debug)]
struct CallsOnly(Arc<Line>);

#[async_trait]
impl Notifier for CallsOnly {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        self.0.notify(notification).await
    }

    fn takes(&self, kind: NotificationKind) -> bool {
        kind == NotificationKind::Call
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_until_it_was_over_is_not_made() {
    let (world, lines) = (Arc::new(World::default()), Lines::new());
    world.incurable.store(true, Ordering::SeqCst);
    lines.pager.is_dead.store(true, Ordering::SeqCst);
    let pager = Arc::new(CallsOnly(Arc::clone(&lines.pager)));
    let builder = lines.of(world.healer()).channel("pager", pager as Arc<_>);
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 60).await;
    assert_eq!(healer.channels()["pager"].waiting, 1);
    world.cured_by_hand("a");
    until(&healer, &mut events, is("closed")).await;
    lines.pager.is_dead.store(false, Ordering::SeqCst);
    pass(&healer, 400).await;
    assert!(lines.pager.what().is_empty(), "{:?}", lines.pager.what());
    let health = &healer.channels()["pager"];
    assert_eq!((health.waiting, health.moot), (0, 1));
    healer.shutdown().await;
}

/// A store that is damaged where calls for people would be.
#[derive(Debug)]
struct Damaged;

#[async_trait]
impl WriteHook for Damaged {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        let is_call = |it: &HealEvent| matches!(it.kind, EventKind::Notified { .. });
        if commit.events.iter().any(is_call) {
            return Err(StoreError::Corrupt {
                path: "journal".to_owned(),
                place: "page 7".to_owned(),
                source: None,
            });
        }
        inner.commit(commit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_store_keeps_nobody_from_being_called_once() {
    let (world, lines) = (Arc::new(World::default()), Lines::new());
    world.incurable.store(true, Ordering::SeqCst);
    let store = HookedStore::new(MemoryStore::default(), Damaged);
    let builder = lines.of(world.healer()).store(Arc::new(store));
    let healer = builder.start().await.unwrap();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    for _ in 0..600 {
        pass(&healer, 1).await;
        if !lines.pager.what().is_empty() {
            break;
        }
    }
    pass(&healer, 30).await;
    let told = lines.pager.what();
    assert_eq!(
        told.iter().filter(|it| *it == "level1.0").count(),
        1,
        "{told:?}"
    );
    healer.shutdown().await;
}

/// One life with a store that freezes at `point`; says how many writes it began.
async fn live(
    world: &Arc<World>,
    lines: &Lines,
    store: &Arc<dyn Store>,
    point: Option<CrashPoint>,
    secs: u64,
) -> u64 {
    let frozen = CrashStore::of(Arc::clone(store)).hanging();
    let crashing = Arc::new(match point {
        Some(point) => frozen.crash_at(point),
        None => frozen,
    });
    let mut settings = homeostasis::EngineSettings::default();
    settings.shutdown_grace = Duration::ZERO;
    settings.tick = Duration::from_secs(1);
    let builder = hasty(lines.of(world.healer())).settings(settings);
    let builder = builder.store(Arc::clone(&crashing) as Arc<_>);
    let life = async {
        let healer = builder.start().await.unwrap();
        world.watch(&healer, &["a"]);
        healer.clock().sleep(Duration::from_secs(secs)).await;
        healer.shutdown().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(secs + 60), life).await;
    crashing.n_writes()
}

/// The same with delays of 0, 30 and 90 seconds.
fn hasty(builder: Builder) -> Builder {
    let mut rules = rules();
    for level in &mut rules.policies[0].levels {
        level.delay /= 10;
    }
    builder.escalation(rules)
}

/// The healers of this test live one after another: their clocks must, too.
fn clocked(builder: Builder, start: Timestamp) -> Builder {
    builder.clock(Arc::new(homeostasis::SimulatedClock::starting_at(start)))
}

#[tokio::test(start_paused = true)]
async fn dying_at_every_write_of_a_chain_loses_no_level_and_repeats_only_under_one_key() {
    let wanted = ["level1.0", "level2.0", "level3.0"];
    let run = async |point: Option<CrashPoint>| {
        let (world, lines) = (Arc::new(World::default()), Lines::new());
        world.incurable.store(true, Ordering::SeqCst);
        world.fall_ill("a");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let n_writes = live(&world, &lines, &store, point, 130).await;
        if point.is_some() {
            let later = crate::world::START + Duration::from_secs(140);
            let builder = clocked(hasty(lines.of(world.healer())), later);
            let healer = builder.store(Arc::clone(&store)).start().await.unwrap();
            world.watch(&healer, &["a"]);
            pass(&healer, 130).await;
            healer.shutdown().await;
        }
        (lines, store, n_writes)
    };
    let (lines, _, n_writes) = run(None).await;
    let all = |lines: &Lines| {
        let told: BTreeSet<_> = [lines.pager.what(), lines.mail.what()]
            .concat()
            .into_iter()
            .collect();
        wanted.iter().all(|it| told.contains(*it))
    };
    assert!(all(&lines) && n_writes > 10, "{n_writes} writes");
    for n in 1..=n_writes {
        for point in [CrashPoint::Before(n), CrashPoint::After(n)] {
            let (lines, store, _) = run(Some(point)).await;
            assert!(
                all(&lines),
                "{point:?}: {:?} {:?}",
                lines.pager.what(),
                lines.mail.what()
            );
            for line in [&lines.pager, &lines.mail] {
                // What came twice came under one key, and as the same message.
                let got = line.got.lock().unwrap();
                let mut keys = BTreeSet::new();
                let twice = got.iter().filter(|it| !keys.insert(it.key.clone()));
                for again in twice {
                    let first = got.iter().find(|it| it.key == again.key).unwrap();
                    assert_eq!(first, again, "{point:?}");
                }
                assert!(got.len() <= keys.len() + 1, "{point:?}: {:?}", line.what());
            }
            let left = store.documents("outbox/", 99).await.unwrap();
            assert!(left.is_empty(), "{point:?}: {left:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_with_a_channel_that_does_not_exist_starts_nothing() {
    let world = Arc::new(World::default());
    let builder = world.healer().escalation(rules());
    let error = builder.start().await.unwrap_err().to_string();
    for place in [
        "levels[0].channels[0]",
        "levels[1].channels[1]",
        "(notifier)",
    ] {
        assert!(error.contains(place), "{error}");
    }
}
