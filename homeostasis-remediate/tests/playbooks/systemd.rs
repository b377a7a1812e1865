//! Units of systemd and machines, through a program that answers as the real one does.

use homeostasis_remediate::action::{
    ActionRegistry, RunProgram, Systemctl, ToolAction, flush_dns_cache,
};

use crate::clinic::heal;
use crate::fake::Fake;
use crate::host::example;

/// One unit: it has a state, an invocation that every start changes, and limits.
const SYSTEMD: &str = r#"
    case "$*" in
        *ActiveState*) echo LoadState=loaded; echo ActiveState=$(cat active); echo InvocationID=$(cat starts);;
        *MemoryMax,*) echo LoadState=loaded
            for name in MemoryMax MemoryHigh TasksMax CPUQuotaPerSecUSec; do echo $name=$(cat $name); done;;
        *set-property*) for setting; do case $setting in
            --*) :;; *=*) echo "${setting#*=}" > "${setting%%=*}";; esac; done;;
        *restart*) echo active > active; echo $(($(cat starts) + 1)) > starts;;
        *reload*) echo again > reloaded;;
        *) exit 9;;
    esac"#;

fn systemd(active: &str) -> Fake {
    let files = [
        ("active", active),
        ("starts", "7"),
        ("MemoryMax", "1073741824"),
        ("MemoryHigh", "infinity"),
        ("TasksMax", "512"),
        ("CPUQuotaPerSecUSec", "infinity"),
    ];
    Fake::new(SYSTEMD, &files)
}

fn registry(fake: &Fake, action: fn(&Systemctl) -> ToolAction) -> ActionRegistry {
    let systemctl = Systemctl::new(fake.tool(), ["shop.service", "nginx.service"]).unwrap();
    let mut actions = ActionRegistry::default();
    actions.register(action(&systemctl)).unwrap();
    actions
}

/// What was run beside the questions.
fn doing(fake: &Fake) -> Vec<String> {
    let calls = fake.calls().into_iter();
    calls
        .filter(|call| !call.starts_with("--no-ask-password|show|"))
        .collect()
}

#[tokio::test]
async fn a_failed_unit_is_restarted() {
    let fake = systemd("failed");
    heal(
        &example("service_restart"),
        registry(&fake, Systemctl::restart_unit),
    )
    .await;
    assert_eq!(doing(&fake), ["--no-ask-password|restart|--|shop.service"]);
    assert_eq!(
        (fake.read("active"), fake.read("starts")),
        ("active".to_owned(), "8".to_owned())
    );
}

#[tokio::test]
async fn a_unit_at_its_limits_gets_room_until_taken_back() {
    let fake = systemd("active");
    let actions = registry(&fake, Systemctl::set_unit_limits);
    let healed = heal(&example("raise_unit_limits"), actions).await;
    let set = "--no-ask-password|--runtime|set-property|--|shop.service|MemoryMax=2147483648|TasksMax=4096";
    assert_eq!(doing(&fake), [set]);
    healed.take_back().await;
    assert_eq!(fake.read("TasksMax"), "512");
    assert_eq!(fake.read("MemoryMax"), "1073741824");
}

#[tokio::test]
async fn a_server_reads_renewed_certificates() {
    let fake = systemd("active");
    heal(
        &example("reload_certificates"),
        registry(&fake, Systemctl::reload_unit),
    )
    .await;
    assert_eq!(doing(&fake), ["--no-ask-password|reload|--|nginx.service"]);
    assert_eq!(fake.read("reloaded"), "again");
}

#[tokio::test]
async fn a_machine_is_rebooted_by_its_hypervisor() {
    let fake = Fake::new("[ \"$1\" = reboot ] || exit 1", &[]);
    let mut actions = ActionRegistry::default();
    let run = RunProgram::default()
        .allow("hypervisor", fake.program())
        .unwrap();
    actions.register(run).unwrap();
    heal(&example("vm_restart"), actions).await;
    assert_eq!(fake.calls(), ["reboot|shop-1"]);
}

#[tokio::test]
async fn the_cache_of_names_is_emptied() {
    let fake = Fake::new(": > cache", &[("cache", "old names")]);
    let mut actions = ActionRegistry::default();
    actions.register(flush_dns_cache(&fake.tool())).unwrap();
    heal(&example("flush_dns_cache"), actions).await;
    assert_eq!(fake.calls(), ["flush-caches"]);
    assert_eq!(fake.read("cache"), "");
}
