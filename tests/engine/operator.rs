//! What people command is asked of the access control, and every grant and refusal is on record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::core::policy::{
    BreakerPolicy, BreakerState, GateDecision, Policy, PolicyMatrix, Requirement,
};
use homeostasis::core::port::{
    AccessGrant, AccessRequest, ApprovalDecision, AuditRecord, Authorizer, Ballot, Commit,
    Electorate, MemoryApprovals, MemoryStore, NotAuthorized, Permission, Principal, Role,
    RoleTable, Store, Tally, TenantDirectory, TenantError, TenantPolicy, TokenHash, TokenTable,
    Version, VoteError,
};
use homeostasis::core::record::{
    EventKind, HealEvent, PatchKind, PlanPatch, RadiusLevel, RiskLevel, Severity,
};
use homeostasis::core::{Digest, IncidentId, Mode, Secret, TenantId, async_trait};
use homeostasis::{AccessConfig, Builder, CommandError, Homeostasis, Operator, StoreAudit};

use crate::world::{World, is, pass, until};

fn token(name: &str) -> Secret {
    Secret::new(name.repeat(32))
}

fn access() -> AccessConfig {
    let people = [
        ("vera", Role::Viewer),
        ("ada", Role::Operator),
        ("bob", Role::Operator),
        ("root", Role::Admin),
    ];
    let mut access = AccessConfig::default();
    access.tokens = people
        .into_iter()
        .fold(TokenTable::default(), |table, (name, role)| {
            let hash = TokenHash::of(&token(name), [7; 16]).unwrap();
            table.with_principal(Principal::new(name, [role]), [hash])
        });
    access
}

async fn person(healer: &Homeostasis, name: &str) -> Operator {
    healer.operator(&token(name)).await.unwrap()
}

/// The plan of the first service that falls ill waits for approval.
async fn asked(world: &Arc<World>, builder: Builder) -> (Homeostasis, IncidentId, Digest) {
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let id = until(&healer, &mut events, is("gated")).await.incident;
    pass(&healer, 3).await;
    let plan = healer.incident(id).await.unwrap().plans.remove(0);
    (healer, id, plan.hash())
}

async fn records(healer: &Homeostasis) -> Vec<AuditRecord> {
    healer.audit().records(0, 1000).await.unwrap()
}

/// The reason of the last record, which must be a refusal of this.
async fn last_refusal(healer: &Homeostasis, by: &str, action: &str) -> String {
    let record = records(healer).await.pop().unwrap();
    assert_eq!(
        (
            record.entry.principal.as_str(),
            record.entry.action.as_str()
        ),
        (by, action)
    );
    assert!(!record.entry.allowed, "{record:?}");
    record.entry.detail["reason"].as_str().unwrap().to_owned()
}

fn gated(event: &HealEvent) -> (GateDecision, String) {
    match &event.kind {
        EventKind::Gated { record, .. } => (record.decision.clone(), record.reason()),
        _ => panic!("{event}"),
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_with_a_token_approves_and_the_log_says_who_did_what() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = world.healer().mode(Mode::Approve).access(access());
    let (healer, id, hash) = asked(&world, builder.store(Arc::clone(&store))).await;
    let mut events = healer.subscribe();
    let ada = person(&healer, "ada").await;
    let waiting = ada.waiting().await.unwrap();
    assert_eq!((waiting[0].incident, waiting[0].plan_hash), (id, hash));
    ada.approve(id, hash, "looks right").await.unwrap();
    let decided = until(&healer, &mut events, is("approval_decided")).await;
    let EventKind::ApprovalDecided { by, roles, .. } = &decided.kind else {
        panic!("{decided}")
    };
    assert_eq!((by.as_str(), roles), ("ada", &[Role::Operator].into()));
    until(&healer, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 1);
    let said: Vec<_> = records(&healer)
        .await
        .into_iter()
        .map(|it| it.entry)
        .collect();
    let said: Vec<_> = said
        .iter()
        .map(|it| (it.principal.as_str(), it.action.as_str(), it.allowed))
        .collect();
    let expected = [("ada", "approve", true), ("homeostasis", "execute", true)];
    assert_eq!(said, expected);
    healer.shutdown().await;
    let chains = StoreAudit::chains(&*store).await.unwrap();
    let audit = StoreAudit::of_chain(store, chains[0].as_str());
    assert_eq!(audit.verify(None).await.unwrap().seq, 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_plan_a_viewer_a_forged_token_and_the_author_are_refused_and_told_why() {
    let world = Arc::new(World::default());
    *world.author.lock().unwrap() = Some("ada".to_owned());
    let builder = world.healer().mode(Mode::Approve).access(access());
    let (healer, id, hash) = asked(&world, builder).await;
    let mut changed = healer.incident(id).await.unwrap().plans.remove(0);
    changed.steps[0].action = "format_disk".to_owned();
    let bob = person(&healer, "bob").await;
    let error = bob.approve(id, changed.hash(), "").await.unwrap_err();
    assert!(
        error.to_string().contains("the plan that waits is"),
        "{error}"
    );
    let reason = last_refusal(&healer, "bob", "approve").await;
    assert!(error.to_string().ends_with(&reason), "{reason}");

    let vera = person(&healer, "vera").await;
    let error = vera.approve(id, hash, "").await.unwrap_err();
    assert!(matches!(error, CommandError::NotAuthorized(_)), "{error}");
    let reason = last_refusal(&healer, "vera", "approve").await;
    assert!(
        reason.contains("none of its roles (viewer) allows it"),
        "{reason}"
    );

    let ada = person(&healer, "ada").await;
    let error = ada.approve(id, hash, "").await.unwrap_err();
    let expected = "refused: ada wrote the plan: somebody else must approve it";
    assert_eq!(error.to_string(), expected);
    last_refusal(&healer, "ada", "approve").await;

    let kept = TokenHash::of(&token("ada"), [7; 16]).unwrap().to_string();
    for forged in ["ada", "", &"ada".repeat(31), &kept] {
        let error = healer.operator(&Secret::new(forged)).await.unwrap_err();
        assert!(
            matches!(error, CommandError::NotAuthenticated(_)),
            "{error}"
        );
        let reason = last_refusal(&healer, "unknown", "authenticate").await;
        assert_eq!(reason, "nobody has this token");
    }
    pass(&healer, 60).await;
    assert_eq!(world.cures("a"), 0);
    let told = serde_json::to_string(&records(&healer).await).unwrap();
    assert!(!told.contains(token("ada").expose()) && !told.contains(&kept));
    // An author may refuse.
    ada.deny(id, hash, "it is wrong").await.unwrap();
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_used_once_and_not_after_its_time() {
    let world = Arc::new(World::default());
    let builder = world.healer().mode(Mode::Approve).access(access());
    let (healer, id, hash) = asked(&world, builder).await;
    let mut events = healer.subscribe();
    let (ada, bob) = (person(&healer, "ada").await, person(&healer, "bob").await);
    ada.approve(id, hash, "go").await.unwrap();
    until(&healer, &mut events, is("run_opened")).await;
    for again in [&ada, &bob] {
        let error = again.approve(id, hash, "again").await.unwrap_err();
        let expected = "refused: the approval was used: a run was opened with it";
        assert_eq!(error.to_string(), expected);
        last_refusal(&healer, &again.principal().name, "approve").await;
    }
    until(&healer, &mut events, is("closed")).await;
    let error = ada.approve(id, hash, "late").await.unwrap_err();
    assert_eq!(error.to_string(), "refused: the incident is not open");
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;

    let world = Arc::new(World::default());
    let builder = world.healer().mode(Mode::Approve).access(access());
    let (healer, id, hash) = asked(&world, builder).await;
    pass(&healer, 3600).await;
    let bob = person(&healer, "bob").await;
    let error = bob.approve(id, hash, "sorry").await.unwrap_err();
    let expected = "refused: no plan of the incident waits for approval";
    assert_eq!(error.to_string(), expected);
    last_refusal(&healer, "bob", "approve").await;
    assert_eq!(world.cures("a"), 0);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_people_agree_across_a_restart_and_one_alone_does_not_count_twice() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let healer = || {
        let matrix = PolicyMatrix::default();
        let two = Requirement::Approvals(2);
        let policy = Policy {
            matrix: [Severity::Sev1, Severity::Sev2, Severity::Sev3]
                .into_iter()
                .fold(matrix, |matrix, severity| {
                    matrix.with(severity, RadiusLevel::SingleInstance, two)
                }),
            ..Policy::default()
        };
        let builder = world.healer().access(access()).policy(policy);
        builder.store(Arc::clone(&store))
    };
    let (first, id, hash) = asked(&world, healer()).await;
    let ada = person(&first, "ada").await;
    ada.approve(id, hash, "one").await.unwrap();
    pass(&first, 5).await;
    let error = ada.approve(id, hash, "two").await.unwrap_err();
    let expected = "refused: ada has approved it already: somebody else must";
    assert_eq!(error.to_string(), expected);
    pass(&first, 5).await;
    assert_eq!(world.cures("a"), 0);
    first.shutdown().await;

    let second = healer().start().await.unwrap();
    let mut events = second.subscribe();
    world.watch(&second, &["a"]);
    pass(&second, 5).await;
    let ada = person(&second, "ada").await;
    assert!(ada.approve(id, hash, "two").await.is_err());
    let bob = person(&second, "bob").await;
    bob.approve(id, hash, "two").await.unwrap();
    until(&second, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 1);
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_it_need_not_be_who_starts_it_and_a_pause_leaves_the_mode_as_it_was() {
    let world = Arc::new(World::default());
    let builder = world.healer().mode(Mode::Approve).access(access());
    let healer = builder.start().await.unwrap();
    let (vera, ada) = (person(&healer, "vera").await, person(&healer, "ada").await);
    let root = person(&healer, "root").await;
    assert!(vera.engage_kill_switch("why not").await.is_err());
    assert!(!healer.kill_switch().is_engaged());
    last_refusal(&healer, "vera", "engage_kill_switch").await;
    ada.engage_kill_switch("fire").await.unwrap();
    assert!(healer.kill_switch().is_engaged());
    assert!(ada.release_kill_switch("over").await.is_err());
    assert!(healer.kill_switch().is_engaged());
    root.release_kill_switch("over").await.unwrap();
    assert!(!healer.kill_switch().is_engaged());

    let now = healer.clock().now();
    let until = now + Duration::from_secs(10);
    assert!(ada.pause("too late", now).await.is_err());
    assert!(vera.pause("release", until).await.is_err());
    ada.pause("release", until).await.unwrap();
    assert!(matches!(healer.mode(), Mode::Paused { .. }));
    assert!(ada.resume("done").await.is_err());
    let error = ada.pause("shorter", now + Duration::from_secs(1)).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("it is paused until")
    );
    pass(&healer, 2).await;
    assert!(matches!(healer.mode(), Mode::Paused { .. }));
    root.resume("done").await.unwrap();
    assert_eq!(healer.mode(), Mode::Approve);
    // It was automatic after a pause, whatever it was before.
    ada.pause("release", until).await.unwrap();
    pass(&healer, 11).await;
    assert_eq!(healer.mode(), Mode::Approve);
    assert!(ada.set_mode(Mode::Auto).await.is_err());
    assert_eq!(healer.mode(), Mode::Approve);
    assert!(ada.audit_records(0, 9).await.is_err());
    assert!(root.audit_records(0, 99).await.unwrap().len() > 9);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_people_commanded_holds_after_a_restart() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let start = async |mode| {
        let builder = world.healer().mode(mode).access(access());
        builder.store(Arc::clone(&store)).start().await.unwrap()
    };
    let healer = start(Mode::Auto).await;
    let ada = person(&healer, "ada").await;
    let until = healer.clock().now() + Duration::from_secs(600);
    ada.engage_kill_switch("fire").await.unwrap();
    ada.pause("release", until).await.unwrap();
    healer.shutdown().await;

    let healer = start(Mode::Auto).await;
    assert!(healer.kill_switch().is_engaged());
    assert!(matches!(healer.mode(), Mode::Paused { .. }));
    let root = person(&healer, "root").await;
    root.release_kill_switch("over").await.unwrap();
    root.resume("over").await.unwrap();
    assert_eq!(healer.mode(), Mode::Auto);
    root.set_mode(Mode::Approve).await.unwrap();
    healer.shutdown().await;

    // A configuration that was changed since is listened to where it is stricter.
    for (configured, holds) in [(Mode::Auto, Mode::Approve), (Mode::Observe, Mode::Observe)] {
        let healer = start(configured).await;
        assert!(!healer.kill_switch().is_engaged());
        assert_eq!(healer.mode(), holds);
        healer.shutdown().await;
    }

    let version = store.document("controls").await.unwrap().unwrap().version;
    let commit = Commit::default().put("controls", version, serde_json::json!({"kil_switch": 0}));
    store.commit(commit).await.unwrap();
    let healer = start(Mode::Auto).await;
    assert!(
        healer.kill_switch().is_engaged(),
        "what nobody understands stops"
    );
    healer.shutdown().await;
}

/// Never answers, or panics.
#[derive(Debug)]
struct Dead(bool);

#[async_trait]
impl Authorizer for Dead {
    async fn authorize(&self, _: AccessRequest<'_>) -> Result<(), NotAuthorized> {
        assert!(self.0, "the directory is gone");
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_access_control_that_gives_no_answer_holds_up_no_stop_and_allows_nothing_else() {
    for hangs in [true, false] {
        let world = Arc::new(World::default());
        let builder = world.healer().authorizer(Arc::new(Dead(hangs)));
        let healer = builder.start().await.unwrap();
        let ada = healer.operator_as(Principal::new("ada", [Role::Admin]));
        let error = ada.set_mode(Mode::Approve).await.unwrap_err();
        assert!(error.to_string().contains("gave no answer"), "{error}");
        assert_eq!(healer.mode(), Mode::Auto);
        let began = healer.clock().now();
        ada.engage_kill_switch("fire").await.unwrap();
        assert!(healer.kill_switch().is_engaged());
        assert!(healer.clock().now() - began < Duration::from_millis(100));
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_consent_from_a_clock_that_is_ahead_is_journaled_once_and_audited() {
    let world = Arc::new(World::default());
    *world.author.lock().unwrap() = Some("Bob".to_owned());
    let approvals = Arc::new(MemoryApprovals::default());
    let mut policy = Policy::default();
    let two = Requirement::Approvals(2);
    for severity in [Severity::Sev1, Severity::Sev2, Severity::Sev3] {
        policy.matrix = policy
            .matrix
            .with(severity, RadiusLevel::SingleInstance, two);
    }
    let builder = world.healer().policy(policy);
    let builder = builder.approvals(Arc::clone(&approvals) as Arc<_>);
    let (healer, id, hash) = asked(&world, builder).await;
    for by in ["ann", "bob"] {
        let decision = ApprovalDecision {
            granted: true,
            by: by.to_owned(),
            reason: String::new(),
            at: healer.clock().now() + Duration::from_secs(3600),
        };
        assert!(approvals.decide(hash, decision));
    }
    pass(&healer, 600).await;
    let events = healer.events_of(id).await.unwrap();
    let n = |name: &str| {
        events
            .iter()
            .filter(|event| event.kind.name() == name)
            .count()
    };
    assert_eq!((n("approval_decided"), n("gated")), (1, 2));
    pass(&healer, 3600).await;
    assert_eq!(world.cures("a"), 0);
    let said: Vec<_> = records(&healer)
        .await
        .into_iter()
        .map(|it| it.entry)
        .collect();
    let said: Vec<_> = said
        .iter()
        .map(|it| (it.principal.as_str(), it.action.as_str(), it.allowed))
        .collect();
    assert_eq!(said[0], ("ann", "approve", true));
    assert!(said.contains(&("bob", "approve", false)), "{said:?}");
    assert!(
        said.contains(&("homeostasis", "approve", false)),
        "{said:?}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_breaker_is_reset_by_who_may_and_stays_reset() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = world.healer().access(access()).store(Arc::clone(&store));
    let healer = builder.start().await.unwrap();
    let mut breaker = BreakerState::default();
    for _ in 0..3 {
        breaker.record(false, healer.clock().now(), &BreakerPolicy::default());
    }
    let value = serde_json::to_value(&breaker).unwrap();
    let commit = Commit::default().put("breaker/doctor.cure", Version::NONE, value);
    store.commit(commit).await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let gate = until(&healer, &mut events, is("gated")).await;
    assert_eq!(gated(&gate).0, GateDecision::Refused);
    let vera = person(&healer, "vera").await;
    assert!(vera.reset_breaker("doctor.cure", "").await.is_err());
    let ada = person(&healer, "ada").await;
    let error = ada.reset_breaker("doctor.cur", "").await.unwrap_err();
    assert!(error.to_string().contains("\"doctor.cur\""), "{error}");
    let before = ada.reset_breaker("doctor.cure", "the disk is new").await;
    assert_eq!(before.unwrap().consecutive_failures(), 3);
    ada.close_incident(gate.incident, "once more")
        .await
        .unwrap();
    until(&healer, &mut events, is("verified")).await;
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_healer_acts_only_where_its_own_role_lets_it() {
    let world = Arc::new(World::default());
    let mut grant = AccessGrant::of([Permission::Execute]);
    grant.services.insert("b".to_owned());
    grant.environments.insert("staging".to_owned());
    let mut access = access();
    access.roles = RoleTable::default().with_role("healer", [grant]);
    access.healer = Principal::new("homeostasis", [Role::named("healer")]);
    let builder = world.healer().access(access).environment("staging");
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a", "b"]);
    world.fall_ill("a");
    let gate = until(&healer, &mut events, is("gated")).await;
    let (decision, reason) = gated(&gate);
    assert_eq!(decision, GateDecision::Refused);
    assert!(reason.contains("none of its roles (healer)"), "{reason}");
    assert_eq!(
        last_refusal(&healer, "homeostasis", "execute").await,
        reason
    );
    world.fall_ill("b");
    until(&healer, &mut events, is("verified")).await;
    assert_eq!((world.cures("a"), world.cures("b")), (0, 1));
    healer.shutdown().await;
}

/// What differs from the healer of every test.
type Change = Box<dyn FnOnce(Builder) -> Builder>;

#[derive(Debug)]
struct Directory(Option<TenantPolicy>);

#[async_trait]
impl TenantDirectory for Directory {
    async fn policy(&self, _: &TenantId) -> Result<Option<TenantPolicy>, TenantError> {
        Ok(self.0.clone())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, TenantError> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct Council(Tally);

#[async_trait]
impl Electorate for Council {
    async fn poll(&self, _: &Ballot) -> Result<Tally, VoteError> {
        Ok(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn tenants_votes_and_the_remediator_itself_are_asked_before_anything_is_done() {
    let observing = TenantPolicy {
        mode: Some(Mode::Observe),
        ..TenantPolicy::default()
    };
    let of = |policy| move |builder: Builder| builder.tenants(Arc::new(Directory(policy)));
    let votes = |noes| {
        move |builder: Builder| {
            let mut policy = Policy::default();
            policy.quorum.from_risk = RiskLevel::Low;
            let tally = Tally {
                members: 5,
                ayes: 2,
                noes,
            };
            builder.policy(policy).electorate(Arc::new(Council(tally)))
        }
    };
    let cases: [(Change, GateDecision, &str); 4] = [
        (Box::new(of(None)), GateDecision::Escalated, "is unknown"),
        (
            Box::new(of(Some(observing))),
            GateDecision::Recommended,
            "mode observe",
        ),
        (
            Box::new(votes(3)),
            GateDecision::Refused,
            "2 of 5 members agree, 3 do not",
        ),
        (
            Box::new(|builder| builder),
            GateDecision::Refused,
            "a pre-condition is not met: the disk is full",
        ),
    ];
    for (change, expected, said) in cases {
        let world = Arc::new(World::default());
        if said.contains("disk") {
            *world.objection.lock().unwrap() = Some("the disk is full".to_owned());
        }
        let healer = change(world.healer()).start().await.unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        let gate = until(&healer, &mut events, is("gated")).await;
        let (decision, reason) = gated(&gate);
        assert_eq!(decision, expected, "{reason}");
        assert!(reason.contains(said), "{reason}");
        assert_eq!(world.cures("a"), 0);
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn patches_of_a_file_are_counted_across_restarts_and_a_failed_one_rests() {
    for (fails, said) in [
        (false, "\"app.toml\" was patched 1 times within a day"),
        (true, "a patch of \"app.toml\" failed, it rests until"),
    ] {
        let world = Arc::new(World::default());
        world.patches.lock().unwrap().push(PlanPatch {
            path: "app.toml".to_owned(),
            kind: PatchKind::Configuration,
            risk: RiskLevel::Low,
        });
        world.incurable.store(fails, Ordering::SeqCst);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let healer = || {
            let mut policy = Policy::default();
            policy.patches.per_file_per_day = if fails { 9 } else { 1 };
            policy.pre_approved.insert("cure".to_owned());
            let builder = world.healer().policy(policy);
            builder.store(Arc::clone(&store))
        };
        let first = healer().start().await.unwrap();
        let mut events = first.subscribe();
        world.watch(&first, &["a", "b"]);
        world.fall_ill("a");
        let last = if fails { "escalated" } else { "closed" };
        until(&first, &mut events, is(last)).await;
        assert_eq!(world.cures("a"), 1);
        first.shutdown().await;

        world.cured_by_hand("a");
        let second = healer().start().await.unwrap();
        let mut events = second.subscribe();
        world.watch(&second, &["b"]);
        world.fall_ill("b");
        let gate = until(&second, &mut events, is("gated")).await;
        let (decision, reason) = gated(&gate);
        assert_eq!(decision, GateDecision::Refused, "{reason}");
        assert!(reason.contains(said), "{reason}");
        assert_eq!(world.cures("b"), 0);
        second.shutdown().await;
    }
}
