//! Patches of a small service, tried.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::PairedTimings;
use homeostasis_core::Digest;
use homeostasis_core::record::{PatchCandidate, PatchKind};
use homeostasis_core::testing::engine;
use homeostasis_patch::UnifiedDiff;
use homeostasis_patch::sandbox::{CopyConfig, Ending, SandboxCommand, SandboxConfig};
use homeostasis_patch::trial::{
    Coverage, FailingCall, Level, Measure, RegressionTest, TestResult, TimingConfig, TimingJudge,
    TimingJudgment, TimingPair, TimingVerdict, Trial, TrialError, TrialPlan, TrialReport,
    TrialTest, TrialVerdict,
};

use crate::house::{House, PYTHON, Way, context};

const FAULTY: &str = "def price(item):\n    return item['price'] * 2\n";
const MENDED: &str = "def price(item):\n    if 'price' not in item:\n        return 0\n    return item['price'] * 2\n";
const WRONG: &str = "def price(item):\n    return item.get('price', 0)\n";

fn house() -> Option<House> {
    let house = House::new(Way::Namespaces)?;
    fs::write(house.path("project/shop.py"), FAULTY).unwrap();
    Some(house)
}

fn candidate(new: &str) -> PatchCandidate {
    let diff = UnifiedDiff::between("shop.py", Some(FAULTY), Some(new), 3).unwrap();
    let base = Digest::of_bytes(FAULTY.as_bytes());
    PatchCandidate::new("test", PatchKind::Code, "shop.py", base, diff.to_string())
}

fn python(code: &str) -> SandboxCommand {
    SandboxCommand::new([PYTHON, "-c", code])
}

fn trigger(code: &str) -> TrialTest {
    TrialTest::new("trigger", Level::Trigger, python(code)).showing("KeyError: 'price'")
}

fn unit() -> TrialTest {
    let code = "import shop; assert shop.price({'price': 2}) == 4";
    TrialTest::new("double", Level::Unit, python(code))
}

fn trial(house: &House, plan: TrialPlan) -> Trial {
    let place = house.path("place");
    Trial::new(house.sandbox.clone(), plan, place, CopyConfig::default()).unwrap()
}

async fn tried(house: &House, trial: &Trial, new: &str) -> TrialReport {
    let project = house.path("project");
    let report = trial
        .test(&context(), &project, &candidate(new))
        .await
        .unwrap();
    assert_eq!(fs::read_dir(house.path("place")).unwrap().count(), 0);
    let untouched = fs::read_to_string(project.join("shop.py")).unwrap();
    assert_eq!(untouched, FAULTY);
    report
}

fn reason(report: &TrialReport) -> &str {
    match &report.verdict {
        TrialVerdict::Refused(reasons) => &reasons[0],
        TrialVerdict::Accepted => panic!("accepted: {report:#?}"),
    }
}

const SHOWS: &str = "import shop; shop.price({})";

#[tokio::test]
async fn a_patch_that_mends_is_accepted_and_one_that_breaks_is_refused() {
    let Some(house) = house() else { return };
    let system = TrialTest::new("system", Level::System, python("print('ran')"));
    let plan = TrialPlan {
        tests: vec![system, unit(), trigger(SHOWS)],
        coverage: true,
        ..TrialPlan::default()
    };
    let trial = trial(&house, plan);
    let report = tried(&house, &trial, MENDED).await;
    assert!(report.is_accepted(), "{report:#?}");
    assert_eq!(report.candidate, candidate(MENDED).hash());
    assert_eq!(report.before[0].result, TestResult::Failed);
    let after: Vec<_> = report
        .after
        .iter()
        .map(|o| (&*o.name, o.attempts.len()))
        .collect();
    assert_eq!(after, [("trigger", 3), ("double", 1), ("system", 1)]);
    // The trigger takes the new branch.
    let (ran, missed) = ([2, 3].into(), [].into());
    assert_eq!(report.coverage, Coverage::Measured { ran, missed });

    let report = tried(&house, &trial, WRONG).await;
    assert_eq!(
        reason(&report),
        "unit test double fails: exited with status 1"
    );
    assert!(report.after[1].output.contains("AssertionError"));
    assert!(matches!(&report.after[2].result, TestResult::NotRun(why) if why.contains("double")));
    assert!(
        report.before[0].cached,
        "the project as it is was tested before"
    );
    assert!(!report.after[1].cached, "other content is tested anew");

    let again = tried(&house, &trial, WRONG).await;
    assert!(again.after[1].cached);
    assert_eq!(again.verdict, report.verdict);
}

/// Which of the lines that `texts`, the old and the new, differ in ran in a trial that accepts them.
async fn covered(
    house: &House,
    trigger: TrialTest,
    path: &str,
    (old, new): (&str, &str),
) -> Coverage {
    let plan = TrialPlan {
        tests: vec![trigger],
        coverage: true,
        ..TrialPlan::default()
    };
    let diff = UnifiedDiff::between(path, Some(old), Some(new), 3).unwrap();
    let base = Digest::of_bytes(old.as_bytes());
    let candidate = PatchCandidate::new("test", PatchKind::Code, path, base, diff.to_string());
    let (cx, project) = (context(), house.path("project"));
    let report = trial(house, plan).test(&cx, &project, &candidate).await;
    let report = report.unwrap();
    assert!(report.is_accepted(), "{report:#?}");
    report.coverage
}

#[tokio::test]
async fn the_changed_lines_of_a_script_that_ran_are_told_where_node_is() {
    let Some(node) = engine::find("node", &["/usr/bin", "/usr/local/bin"]) else {
        return;
    };
    let Some(house) = house() else { return };
    let (old, new) = (
        "exports.price = (item) => {\n  return item.price.net * 2;\n};\n",
        "exports.price = (item) => {\n  if (item.price === undefined) {\n    return 0;\n  }\n  if (item.gift) {\n    return 1;\n  }\n  return item.price.net * 2;\n};\n",
    );
    fs::write(house.path("project/shop.js"), old).unwrap();
    let node = node.display().to_string();
    let code = "require('./shop.js').price({})";
    let show = SandboxCommand::new([&*node, "-e", code]);
    let trigger = TrialTest::new("trigger", Level::Trigger, show).showing("TypeError");
    let coverage = covered(&house, trigger, "shop.js", (old, new)).await;
    let (ran, missed) = ([2, 3].into(), [5, 6].into());
    assert_eq!(coverage, Coverage::Measured { ran, missed });
}

/// The compiler of the npm package `typescript`, below the folder `HOMEOSTASIS_NODE_PATH`.
fn typescript() -> Option<PathBuf> {
    let folder = std::env::var_os("HOMEOSTASIS_NODE_PATH").map(PathBuf::from);
    let found = folder.map(|folder| folder.join("typescript"));
    let found = found.filter(|folder| folder.join("lib/tsc.js").is_file());
    if found.is_none() {
        engine::missing("HOMEOSTASIS_NODE_PATH holds no npm package typescript");
    }
    found
}

#[tokio::test]
async fn the_changed_lines_of_what_a_script_was_made_of_are_told_where_node_is() {
    let Some(node) = engine::find("node", &["/usr/bin", "/usr/local/bin"]) else {
        return;
    };
    let Some(typescript) = typescript() else {
        return;
    };
    let config = SandboxConfig {
        read_only: vec![typescript.clone()],
        ..SandboxConfig::default()
    };
    let Some(house) = House::with(Way::Namespaces, config) else {
        return;
    };
    let (old, new) = (
        "interface Item {\n  price?: { net: number };\n}\n\nexport function price(item: Item): number {\n  return item.price!.net * 2;\n}\n",
        "interface Item {\n  price?: { net: number };\n  gift?: boolean;\n}\n\nexport function price(item: Item): number {\n  if (item.price === undefined) {\n    return 0;\n  }\n  if (item.gift) {\n    return 1;\n  }\n  return item.price!.net * 2;\n}\n",
    );
    let path = "src/shop.ts";
    fs::create_dir(house.path("project/src")).unwrap();
    fs::write(house.path("project").join(path), old).unwrap();
    // Made anew for each run, as tests of packages do.
    let (node, compiler) = (node.display(), typescript.join("lib/tsc.js"));
    let make = format!(
        "{node} {} --sourceMap --strict --module commonjs --target es2020 --outDir dist {path}",
        compiler.display()
    );
    let run = format!("{node} -e \"require('./dist/shop.js').price({{}})\"");
    let show = SandboxCommand::new(["sh", "-c", &format!("{make} && {run}")]);
    let trigger = TrialTest::new("trigger", Level::Trigger, show).showing("TypeError");
    let coverage = covered(&house, trigger, path, (old, new)).await;
    // The member that was added to the type cannot run.
    let (ran, missed) = ([7, 8].into(), [10, 11].into());
    assert_eq!(coverage, Coverage::Measured { ran, missed });
}

#[tokio::test]
async fn the_changed_lines_of_a_package_that_ran_are_told_where_go_is() {
    let Some(go) = engine::find("go", &["/usr/bin", "/usr/local/go/bin"]) else {
        return;
    };
    let Some(house) = house() else { return };
    let (old, new) = (
        "package shop\n\ntype Item struct{ Price *int }\n\nfunc Price(item Item) int {\n\treturn *item.Price * 2\n}\n",
        "package shop\n\ntype Item struct{ Price *int }\n\nfunc Price(item Item) int {\n\tif item.Price == nil {\n\t\treturn 0\n\t}\n\treturn *item.Price * 2\n}\n",
    );
    let test = "package shop\n\nimport \"testing\"\n\nfunc TestMissing(t *testing.T) {\n\tif Price(Item{}) != 0 {\n\t\tt.Fail()\n\t}\n}\n";
    let path = "pricing/shop.go";
    fs::create_dir(house.path("project/pricing")).unwrap();
    fs::write(
        house.path("project/go.mod"),
        "module example.com/shop\n\ngo 1.18\n",
    )
    .unwrap();
    fs::write(house.path("project").join(path), old).unwrap();
    fs::write(house.path("project/pricing/shop_test.go"), test).unwrap();
    let go = go.display().to_string();
    let mut show = SandboxCommand::new([&*go, "test", "-count=1", "./..."]);
    for (name, value) in [
        ("GOCACHE", "/tmp/go-cache"),
        ("GOPATH", "/tmp/go"),
        ("GOFLAGS", "-mod=mod"),
    ] {
        show.variables.insert(name.to_owned(), value.to_owned());
    }
    let trigger = TrialTest::new("trigger", Level::Trigger, show).showing("nil pointer");
    let coverage = covered(&house, trigger, path, (old, new)).await;
    // The trigger takes the new branch; the line it leads past was there before.
    let (ran, missed) = ([6, 7].into(), [].into());
    assert_eq!(coverage, Coverage::Measured { ran, missed });
}

#[tokio::test]
async fn the_changed_lines_of_a_crate_that_ran_are_told_where_llvm_tools_are() {
    let Some(house) = House::with_toolchain() else {
        return;
    };
    let old = "pub fn price(prices: &[u32], n: usize) -> u32 {\n    prices[n] * 2\n}\n";
    let new = "pub fn price(prices: &[u32], n: usize) -> u32 {\n    if n >= prices.len() {\n        return 0;\n    }\n    if prices[n] == 7 {\n        return 1;\n    }\n    prices[n] * 2\n}\n";
    let manifest =
        "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    let test = "#[test]\nfn none() {\n    assert_eq!(shop::price(&[], 0), 0);\n}\n";
    let path = "src/lib.rs";
    for (name, text) in [
        ("Cargo.toml", manifest),
        (path, old),
        ("tests/price.rs", test),
    ] {
        let place = house.path("project").join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }
    let show = SandboxCommand::new(["cargo", "test", "--offline", "--test", "price"]);
    let trigger = TrialTest::new("trigger", Level::Trigger, show).showing("index out of bounds");
    let coverage = covered(&house, trigger, path, (old, new)).await;
    let toolchain = PathBuf::from(std::env::var_os("CARGO").unwrap());
    let has_tools = fs::read_dir(toolchain.ancestors().nth(2).unwrap().join("lib/rustlib"))
        .unwrap()
        .any(|host| host.unwrap().path().join("bin/llvm-cov").exists());
    if !has_tools {
        engine::missing("the component llvm-tools of this toolchain is not installed");
        assert!(
            matches!(&coverage, Coverage::NotMeasured(why) if why.contains("llvm-tools")),
            "{coverage:?}"
        );
        return;
    }
    let (ran, missed) = ([2, 3].into(), [5, 6].into());
    assert_eq!(coverage, Coverage::Measured { ran, missed });
}

#[tokio::test]
async fn a_trigger_that_shows_nothing_refuses_the_patch() {
    let Some(house) = house() else { return };
    let flaky = "import os, sys\nif os.path.exists('seen'): sys.exit(0)\nopen('seen', 'w')\nimport shop; shop.price({})";
    for (code, expected) in [
        (
            "import shop",
            "the trigger does not reproduce: trigger passes without the patch",
        ),
        (
            "import sho",
            "fails without the patch, but does not show \"KeyError: 'price'\"",
        ),
        (flaky, "is flaky: without the patch it failed 1 of 3 times"),
    ] {
        let plan = TrialPlan {
            tests: vec![trigger(code), unit()],
            ..TrialPlan::default()
        };
        let report = tried(&house, &trial(&house, plan), MENDED).await;
        assert!(reason(&report).contains(expected), "{report:#?}");
        assert!(report.after.is_empty() && report.tree.is_none());
    }
    let mut absent = trigger("");
    absent.command = SandboxCommand::new(["no-such-program"]);
    let plan = TrialPlan {
        tests: vec![absent],
        ..TrialPlan::default()
    };
    let report = tried(&house, &trial(&house, plan), MENDED).await;
    assert!(
        reason(&report).contains("cannot be run: status 127"),
        "{report:#?}"
    );
}

/// Without the patch the first attempt does the one, the others do the other.
fn at_first(first: &str, then: &str) -> String {
    format!(
        "import os, sys, shop\nif os.path.exists('seen'):\n    {then}\nelse:\n    open('seen', 'w').close()\n    {first}"
    )
}

/// The reviewers found that the first and the last attempt alone were looked at, and only the end of what
/// they wrote.
#[tokio::test]
async fn every_attempt_of_a_trigger_must_show_the_fault() {
    let Some(house) = house() else { return };
    let (faulty, says) = ("shop.price({})", "print(\"KeyError: 'price'\")");
    for (first, then, expected) in [
        (
            "sys.exit('other')",
            faulty,
            "attempt 1 of 3 of trigger fails without the patch, but does not show \"KeyError: 'price'\"",
        ),
        (faulty, "sys.exit('other')", "attempt 2 of 3"),
        (
            faulty,
            &*format!("{says}; sys.exit(127)"),
            "cannot be run: status 127",
        ),
        (
            faulty,
            &*format!("{says}; sys.exit(126)"),
            "cannot be run: status 126",
        ),
    ] {
        let plan = TrialPlan {
            tests: vec![trigger(&at_first(first, then)), unit()],
            ..TrialPlan::default()
        };
        let report = tried(&house, &trial(&house, plan), MENDED).await;
        assert!(reason(&report).contains(expected), "{report:#?}");
        assert!(report.after.is_empty() && report.tree.is_none());
    }
    // More follows than is kept for people.
    let long = "import shop, sys\ntry: shop.price({})\nexcept KeyError as error: print('KeyError:', error); print('x' * 20_000); sys.exit(1)";
    let plan = TrialPlan {
        tests: vec![trigger(long), unit()],
        ..TrialPlan::default()
    };
    let report = tried(&house, &trial(&house, plan), MENDED).await;
    assert!(report.is_accepted(), "{report:#?}");
}

/// A busy machine stops a slow test, too: only what it shows says that this is the fault.
#[tokio::test]
async fn a_trigger_that_ends_at_a_bound_reproduces_only_what_it_shows() {
    let Some(house) = house() else { return };
    let slow = "import time, shop\ntry: shop.price({})\nexcept KeyError as error: print('KeyError:', error, flush=True); time.sleep(1000)";
    let loud =
        "import shop\ntry: shop.price({})\nexcept KeyError:\n    while True: print('x' * 1000)";
    let killed = "import os, shop\ntry: shop.price({})\nexcept KeyError: os.kill(os.getpid(), 24)";
    for (code, ending) in [
        (slow, "stopped: out of time"),
        (loud, "stopped: too much output"),
        (killed, "exited with status 152"),
    ] {
        let mut bounded = trigger(code);
        (bounded.shows, bounded.attempts) = (None, 1);
        bounded.command.limits.time = Duration::from_secs(2);
        bounded.command.limits.output_bytes = 64 * 1024;
        let plan = TrialPlan {
            tests: vec![bounded, unit()],
            ..TrialPlan::default()
        };
        let report = tried(&house, &trial(&house, plan), MENDED).await;
        let said = reason(&report);
        assert!(said.starts_with("the trigger does not reproduce"), "{said}");
        assert!(said.contains(ending), "{said}");
        assert!(report.after.is_empty());
    }
    let mut hangs = trigger(slow);
    hangs.attempts = 1;
    hangs.command.limits.time = Duration::from_secs(2);
    let plan = TrialPlan {
        tests: vec![hangs, unit()],
        ..TrialPlan::default()
    };
    let report = tried(&house, &trial(&house, plan), MENDED).await;
    assert!(report.is_accepted(), "{report:#?}");
}

/// The levels shared one copy, and outcomes were kept as those of the clean one.
#[tokio::test]
async fn what_a_test_leaves_in_the_copy_no_later_level_sees_and_nothing_of_it_is_kept() {
    let Some(house) = house() else { return };
    let leaves = format!("open('left', 'w').close()\n{SHOWS}");
    let clean = "import os, sys; sys.exit(os.path.exists('left'))";
    let also_leaves = TrialTest::new(
        "related",
        Level::Related,
        python("import shop, sys, os; sys.exit(os.path.exists('left')); "),
    );
    let breaks = "open('shop.py', 'w').write('def price(item): return 4')";
    let tests = vec![
        trigger(&leaves),
        also_leaves,
        TrialTest::new("breaks", Level::Related, python(breaks)),
        TrialTest::new("unit", Level::Unit, python(clean)),
        TrialTest::new(
            "integration",
            Level::Integration,
            python("import shop; assert shop.price({'price': 7}) == 14"),
        ),
    ];
    let plan = TrialPlan {
        tests,
        coverage: true,
        ..TrialPlan::default()
    };
    let trial = trial(&house, plan);
    for _ in 0..2 {
        let report = tried(&house, &trial, MENDED).await;
        assert!(report.is_accepted(), "{report:#?}");
        assert!(matches!(report.coverage, Coverage::Measured { .. }));
        assert!(!report.before[0].cached && !report.after[0].cached);
        let related = report.after.iter().filter(|it| it.level == Level::Related);
        assert!(related.clone().count() == 2 && related.clone().all(|it| !it.cached));
    }
    // What ran on the content it was asked about is kept; bytecode that Python writes is no content.
    let report = tried(&house, &trial, MENDED).await;
    let kept = |name: &str| report.after.iter().any(|it| it.name == name && it.cached);
    assert!(kept("unit") && kept("integration"), "{report:#?}");
}

#[tokio::test]
async fn a_flaky_test_is_said_and_counts_for_nothing() {
    let Some(house) = house() else { return };
    let code = "import os, sys\nif os.path.exists('seen'): sys.exit(0)\nopen('seen', 'w').close()\nsys.exit(1)";
    let flaky = || TrialTest::new("flaky", Level::Integration, python(code));
    let plan = |test| TrialPlan {
        tests: vec![trigger(SHOWS), test],
        ..TrialPlan::default()
    };
    let report = tried(&house, &trial(&house, plan(flaky())), MENDED).await;
    assert_eq!(report.after[1].result, TestResult::Flaky);
    let endings: Vec<_> = report.after[1].attempts.iter().map(|a| a.ending).collect();
    assert_eq!(endings, [Ending::Exited(1), Ending::Exited(0)]);
    assert_eq!(
        reason(&report),
        "integration test flaky is flaky and proves nothing"
    );
    let report = tried(&house, &trial(&house, plan(flaky().optional())), MENDED).await;
    assert!(report.is_accepted() && report.after[1].result == TestResult::Flaky);
}

#[tokio::test]
async fn the_tests_of_a_level_run_side_by_side() {
    let Some(house) = house() else { return };
    // Each waits until it sees the other.
    let meet = |mine: &str, other: &str| {
        let code = format!(
            "import os, sys, time\nopen('{mine}', 'w').close()\nfor _ in range(300):\n    if os.path.exists('{other}'): sys.exit(0)\n    time.sleep(0.05)\nsys.exit(1)"
        );
        let mut test = TrialTest::new(mine, Level::Related, python(&code));
        test.attempts = 1;
        test
    };
    let tests = vec![trigger(SHOWS), meet("left", "right"), meet("right", "left")];
    let plan = TrialPlan {
        tests,
        ..TrialPlan::default()
    };
    let report = tried(&house, &trial(&house, plan), MENDED).await;
    assert!(report.is_accepted(), "{report:#?}");
}

#[tokio::test]
async fn a_generated_test_fails_without_the_patch_and_passes_with_it() {
    let Some(house) = house() else { return };
    let calls = [
        FailingCall::Python {
            module: "shop".to_owned(),
            function: "price".to_owned(),
            arguments: vec![serde_json::json!({"name": "caf\u{e9} \"\u{1f980}\"\n"})],
            keywords: serde_json::Map::new(),
            raised: "KeyError".to_owned(),
        },
        FailingCall::Command {
            argv: [PYTHON, "-c", SHOWS].map(str::to_owned).to_vec(),
        },
    ];
    for call in calls {
        let test = RegressionTest::generate("price_is_missing", &call).unwrap();
        let plan = TrialPlan {
            tests: vec![test.as_trigger().showing("KeyError: 'price'")],
            files: vec![test.file.clone()],
            ..TrialPlan::default()
        };
        let report = tried(&house, &trial(&house, plan), MENDED).await;
        assert!(report.is_accepted(), "{report:#?}");
        assert!(!house.path("project").join(&test.file.path).exists());
    }
}

#[tokio::test]
async fn a_candidate_for_another_text_and_a_bad_plan_are_errors() {
    let Some(house) = house() else { return };
    let plan = TrialPlan {
        tests: vec![trigger(SHOWS)],
        ..TrialPlan::default()
    };
    let mut other = candidate(MENDED);
    other.base = Digest::of_bytes(b"other");
    let project = house.path("project");
    let error = trial(&house, plan)
        .test(&context(), &project, &other)
        .await
        .unwrap_err();
    assert!(matches!(error, TrialError::Patch(_)), "{error:?}");
    assert_eq!(fs::read_dir(house.path("place")).unwrap().count(), 0);
    let none = Trial::new(
        house.sandbox.clone(),
        TrialPlan::default(),
        house.path("place"),
        CopyConfig::default(),
    );
    assert!(matches!(none.unwrap_err(), TrialError::Config(_)));
}

/// A program whose time is that of `shop.price`, some 200 ms of it with the text of the project.
const BENCHMARK: &str = "import shop\nfor _ in range(160): shop.price({'price': 2})";
const SLOW_FAULTY: &str =
    "def price(item):\n    sum(range(200_000))\n    return item['price'] * 2\n";

fn slow_house() -> Option<House> {
    let house = house()?;
    fs::write(house.path("project/shop.py"), SLOW_FAULTY).unwrap();
    Some(house)
}

/// The fault mended by a function that counts to `work`.
fn mended_with(work: &str) -> PatchCandidate {
    let new =
        format!("def price(item):\n    sum(range({work}))\n    return item.get('price', 0) * 2\n");
    let diff = UnifiedDiff::between("shop.py", Some(SLOW_FAULTY), Some(&new), 3).unwrap();
    let base = Digest::of_bytes(SLOW_FAULTY.as_bytes());
    PatchCandidate::new("test", PatchKind::Code, "shop.py", base, diff.to_string())
}

fn timed_plan() -> TrialPlan {
    // Slower by half is enough for the test, and a busy machine does not look so.
    let timing = TimingConfig {
        max_impact: 0.5,
        ..TimingConfig::default()
    };
    let benchmark = TrialTest::performance("prices", python(BENCHMARK)).timed(timing);
    TrialPlan {
        tests: vec![benchmark, unit(), trigger(SHOWS)],
        ..TrialPlan::default()
    }
}

#[tokio::test]
async fn a_patch_that_makes_a_program_twice_as_slow_is_refused_and_an_equal_one_is_not() {
    let Some(house) = slow_house() else { return };
    let trial = trial(&house, timed_plan()).with_timing_judge(PairedTimings::default());
    let (cx, project) = (context(), house.path("project"));

    let equal = mended_with("200_000");
    let report = trial.test(&cx, &project, &equal).await.unwrap();
    assert!(report.is_accepted(), "{report:#?}");
    let timed = &report.after[2];
    assert_eq!(timed.result, TestResult::Passed, "{timed:#?}");
    let timing = timed.timing.as_ref().unwrap();
    assert_eq!(timing.judgment.verdict, TimingVerdict::Within);
    assert!(timing.pairs >= 8 && timing.before.as_millis() >= 100);
    assert_eq!(timed.attempts.len(), 1 + timing.pairs as usize);

    let slow = mended_with("440_000");
    let report = trial.test(&cx, &project, &slow).await.unwrap();
    let said = reason(&report);
    assert!(
        said.starts_with("performance test prices is too slow: CPU time +"),
        "{said}"
    );
    let timing = report.after[2].timing.as_ref().unwrap();
    assert!(timing.judgment.at_least.unwrap() > 0.5, "{timing}");
    assert!(!report.after[2].cached, "timings are taken anew");
    assert_eq!(fs::read_dir(house.path("place")).unwrap().count(), 0);
}

/// Says the same of all timings, and notes how many pairs it was shown.
#[derive(Debug, Clone)]
struct Judge(TimingVerdict, Arc<Mutex<Vec<usize>>>);

impl TimingJudge for Judge {
    fn judge(&self, pairs: &[TimingPair], _: f64) -> TimingJudgment {
        assert!(pairs.iter().all(|pair| !pair.before.is_zero()));
        self.1.lock().unwrap().push(pairs.len());
        TimingJudgment {
            impact: None,
            at_least: None,
            at_most: None,
            verdict: self.0,
        }
    }
}

#[tokio::test]
async fn timings_that_do_not_tell_are_said_and_a_program_that_fails_is_refused() {
    let Some(house) = slow_house() else { return };
    let (cx, project) = (context(), house.path("project"));
    let candidate = mended_with("200_000");
    let judge = |verdict| Judge(verdict, Arc::default());
    let plan = |code: &str| {
        let mut plan = timed_plan();
        plan.tests[0].command = python(code);
        let timing = plan.tests[0].timing.as_mut().unwrap();
        (timing.max_pairs, timing.warm_up) = (5, 2);
        timing.measure = Measure::WallTime;
        plan
    };
    let unsure = judge(TimingVerdict::Unsure);
    let unsure_trial = trial(&house, plan(BENCHMARK)).with_timing_judge(unsure.clone());
    let report = unsure_trial.test(&cx, &project, &candidate).await.unwrap();
    assert!(report.is_accepted());
    let TestResult::Undecided(why) = &report.after[2].result else {
        panic!("{report:#?}")
    };
    assert!(why.contains("do not tell: wall time unknown"), "{why}");
    assert_eq!(*unsure.1.lock().unwrap(), [1, 2, 3, 4, 5], "two warmed up");

    // Too slow, but not required.
    let mut optional = plan(BENCHMARK);
    optional.tests[0].required = false;
    let over = judge(TimingVerdict::Over);
    let over_trial = trial(&house, optional).with_timing_judge(over.clone());
    let report = over_trial.test(&cx, &project, &candidate).await.unwrap();
    assert!(report.is_accepted() && report.after[2].result == TestResult::Failed);
    assert_eq!(*over.1.lock().unwrap(), [1], "no pair after the verdict");

    let fails_after = "import shop, sys; sys.exit('get' in open('shop.py').read())";
    let failing = trial(&house, plan(fails_after)).with_timing_judge(judge(TimingVerdict::Within));
    let report = failing.test(&cx, &project, &candidate).await.unwrap();
    assert_eq!(
        reason(&report),
        "performance test prices fails: exited with status 1"
    );
    let fails_before = "import shop, sys; sys.exit('get' not in open('shop.py').read())";
    let failing = trial(&house, plan(fails_before)).with_timing_judge(judge(TimingVerdict::Within));
    let report = failing.test(&cx, &project, &candidate).await.unwrap();
    let TestResult::Undecided(why) = &report.after[2].result else {
        panic!("{report:#?}")
    };
    assert!(why.contains("does not run without the patch"), "{why}");

    let unjudged = trial(&house, timed_plan());
    let error = unjudged.test(&cx, &project, &candidate).await;
    let TrialError::Config(error) = error.unwrap_err() else {
        panic!("there is no judge")
    };
    assert_eq!(error.violations()[0].path, "trial.tests[0].level");
}
