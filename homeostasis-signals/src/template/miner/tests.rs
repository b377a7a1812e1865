use proptest::prelude::*;

use super::*;

fn ids(miner: &mut TemplateMiner, lines: &[String]) -> Vec<u64> {
    let ids: Vec<u64> = lines.iter().map(|line| miner.mine(line)).collect();
    ids.iter().map(|id| miner.resolve(*id)).collect()
}

fn n_templates(lines: &[String]) -> usize {
    let mut miner = TemplateMiner::default();
    let mut ids = ids(&mut miner, lines);
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

const NAMES: [&str; 8] = ["ann", "bob", "cleo", "dan", "eve", "finn", "gus", "hal"];

#[test]
fn a_place_with_enough_different_words_becomes_a_hole_and_the_first_id_stays() {
    let mut miner = TemplateMiner::default();
    let line = |name: &str| format!("session of {name} opened by the gateway");
    let given: Vec<u64> = NAMES.iter().map(|name| miner.mine(&line(name))).collect();
    assert!(given[4..].iter().all(|id| *id == given[0]), "{given:?}");
    let resolved = given.iter().map(|id| miner.resolve(*id));
    assert!(resolved.into_iter().all(|id| id == given[0]));
    assert_eq!(
        miner.text(given[3]),
        Some("session of <*> opened by the gateway")
    );
    let message = line("zoe");
    let template = miner.template(&message);
    let fifth = TemplateMiner::default().mine(&line("eve"));
    assert_eq!(template.absorbed(), [&given[1..4], &[fifth]].concat());
    assert_eq!(template.variables(&message).collect::<Vec<_>>(), ["zoe"]);
    assert_eq!(miner.templates().len(), 1);
    assert_eq!(miner.templates()[0].n_lines, 9);
}

#[test]
fn short_sentences_need_more_evidence() {
    let lines = |n: usize| -> Vec<String> {
        let names = NAMES.iter().flat_map(|a| NAMES.map(|b| format!("{a}{b}")));
        names.take(n).map(|name| format!("link {name}")).collect()
    };
    assert_eq!(n_templates(&lines(19)), 19);
    assert_eq!(n_templates(&lines(20)), 1);
    let alone: Vec<String> = lines(64)
        .iter()
        .map(|line| line.replace("link ", ""))
        .collect();
    assert_eq!(n_templates(&alone), 64);
}

#[test]
fn a_few_words_that_come_again_and_again_are_no_variable() {
    let states = ["queued", "running", "done", "failed"];
    let mut lines: Vec<String> = (0..1000)
        .map(|i| format!("job is now {} on this node", states[i % 4]))
        .collect();
    lines.extend(
        ["lost", "held", "late", "paused"].map(|state| format!("job is now {state} on this node")),
    );
    assert_eq!(n_templates(&lines), 8);
}

#[test]
fn words_that_vary_together_are_holes_too() {
    let lines: Vec<String> = (0..40)
        .map(|i| {
            let (a, b) = (NAMES[i % 8], NAMES[i / 8]);
            format!("bean {a}{b} of type {b}x{a} is not eligible for processing")
        })
        .collect();
    assert_eq!(n_templates(&lines), 1);
    let mut miner = TemplateMiner::default();
    let ids = ids(&mut miner, &lines);
    assert_eq!(
        miner.text(ids[0]),
        Some("bean <*> of type <*> is not eligible for processing")
    );
    let few: Vec<String> = lines[..4].to_vec();
    assert_eq!(n_templates(&few), 4);
}

#[test]
fn a_word_where_others_have_a_number_is_one_of_them() {
    let lines = [
        "rate limit 7 of queue exceeded",
        "rate limit none of queue exceeded",
    ];
    assert_eq!(n_templates(&lines.map(str::to_owned)), 1);
    let hex = [
        "set vis=7 mask=12 old=3 new=4",
        "set vis=c mask=ff old=a new=4",
    ];
    assert_eq!(n_templates(&hex.map(str::to_owned)), 1);
}

#[test]
fn what_gives_way_is_forgotten_and_memory_is_bounded() {
    let mut miner = TemplateMiner::default();
    let often = miner.mine("this line comes often");
    let once = miner.mine("this line comes once");
    let letters = |mut i: u32| -> String {
        let mut word = String::new();
        while i > 0 {
            word.push(char::from_digit(10 + i % 20 + 6, 36).unwrap());
            i /= 20;
        }
        word
    };
    for i in 1..40_000_u32 {
        let (a, b) = (letters(i.wrapping_mul(2_654_435_761)), letters(i));
        miner.mine(&format!("{a} {b} {b}{a}"));
        if i % 500 == 0 {
            assert_eq!(miner.mine("this line comes often"), often);
        }
    }
    let stats = miner.stats();
    assert!(stats.n_templates <= LIMITS.templates, "{stats:?}");
    assert!(
        stats.n_evicted > 20_000 && stats.n_ids >= 40_000,
        "{stats:?}"
    );
    assert_eq!(miner.text(once), None);
    assert_eq!(miner.mine("this line comes once"), once);
}

#[test]
fn the_same_first_message_gives_the_same_id_whatever_came_before() {
    let (mut one, mut other) = (TemplateMiner::default(), TemplateMiner::default());
    other.mine("something else");
    let id = one.mine("order 17 of ann@example.com booked");
    assert_eq!(other.mine("order 18 of bob@example.com booked"), id);
    assert!((1..1 << 53).contains(&id), "{id}");
    // Written down: it is the same on every machine and in every life.
    assert_eq!(id, 3_279_486_541_236_871);
}

#[test]
fn an_id_is_given_to_one_template_at_a_time_and_to_another_once_it_leads_nowhere() {
    let mut groups = Groups::new(LIMITS);
    let id = groups.new_id(7);
    assert_eq!(groups.new_id(7), id);
    groups.by_id.insert(id, 1);
    let second = groups.new_id(7);
    assert_ne!(second, id);
    groups.by_id.insert(second, 2);
    assert!(![0, id, second].contains(&groups.new_id(7)));
    // The second turns out to be the first: it still leads somewhere.
    groups.by_id.remove(&second);
    groups.aliases.add(second, id);
    assert!(![0, id, second].contains(&groups.new_id(7)));
    // What it led to is gone.
    groups.by_id.remove(&id);
    groups.by_id.insert(9, 3);
    groups.aliases.add(id, 9);
    groups.by_id.remove(&9);
    assert_eq!(groups.new_id(7), id);
    assert_eq!(groups.aliases.resolve(second), id);
}

/// Words that nobody wrote, of letters only.
fn word(mut n: u64) -> String {
    let mut word = String::from("w");
    n = super::super::bytes::mix(n);
    for _ in 0..8 {
        word.push(char::from(b'g' + u8::try_from(n % 20).unwrap()));
        n /= 20;
    }
    word
}

#[test]
fn what_is_remembered_of_long_lines_goes_with_them() {
    let mut miner = TemplateMiner::default();
    for i in 0..6000_u64 {
        // Four of five differ at one place only and become one.
        let base = 1000 * (i / 5);
        let mut words: Vec<String> = (0..255).map(|at| word(base + at)).collect();
        words[100] = word(base + 500 + i % 5);
        miner.mine(&words.join(" "));
    }
    let groups = &miner.groups;
    assert!(groups.n_evicted > 0, "{:?}", miner.stats());
    let templates = groups.by_key.iter();
    let n_places: usize = templates
        .map(|(_, group, _)| group.pattern.tokens.len())
        .sum();
    assert!(
        groups.contexts.len() <= n_places,
        "{}",
        groups.contexts.len()
    );
    let n: usize = groups.contexts.values().map(Vec::len).sum();
    assert!(n <= n_places, "{n} of {n_places}");
}

#[test]
fn a_new_kind_has_an_id_though_every_place_is_taken_and_used() {
    let mut miner = TemplateMiner::default();
    let line = |i: u64| format!("{} {} {}", word(3 * i), word(3 * i + 1), word(3 * i + 2));
    let n = LIMITS.templates as u64;
    for i in (0..n).chain(0..n) {
        miner.mine(&line(i));
    }
    assert_eq!(miner.stats().n_templates, LIMITS.templates);
    for i in n..n + 3 {
        let template = miner.template(&line(i));
        let alone = TemplateMiner::default().mine(&line(i));
        assert_eq!((template.id(), template.text()), (alone, line(i).as_str()));
    }
    assert_eq!(miner.stats().n_templates, LIMITS.templates);
}

#[test]
fn states_that_no_miner_saves_are_refused_with_their_place() {
    let mut miner = TemplateMiner::default();
    let id = miner.mine("order 7 booked");
    let state = miner.save();
    let mut wrong = |change: &dyn Fn(&mut Value)| {
        let mut changed = state.clone();
        change(&mut changed);
        let error = miner.load(&changed).unwrap_err().to_string();
        assert_eq!(miner.text(id), Some("order <*> booked"));
        error
    };
    assert!(wrong(&|state| state["version"] = 9.into()).contains("version = 9"));
    assert!(wrong(&|state| state["templates"][0]["id"] = 0.into()).contains("templates[0].id = 0"));
    let large = 1_u64 << 53;
    assert!(wrong(&|state| state["templates"][0]["id"] = large.into()).contains("templates[0].id"));
    assert!(wrong(&|state| state["templates"][0]["age"] = 2.into()).contains("templates[0].age"));
    assert!(
        wrong(&|state| state["templates"][0]["tokens"][1][3] = 999.into()).contains("tokens[1]")
    );
    assert!(wrong(&|state| state["n_born"] = u64::MAX.into()).contains("n_born"));
    for aliases in [
        serde_json::json!([[1, 1]]),
        serde_json::json!([[1, 0]]),
        serde_json::json!([[7, 8], [8, 9], [9, 7]]),
        serde_json::json!([[7, 8], [7, 9]]),
    ] {
        let last = format!("aliases[{}]", aliases.as_array().unwrap().len() - 1);
        assert!(wrong(&|state| state["aliases"] = aliases.clone()).contains(&last));
    }
    let many = vec![1; 100_000];
    assert!(
        wrong(&|state| state["templates"][0]["absorbed"] = many.clone().into())
            .contains("templates[0].absorbed = 100000")
    );
    assert!(wrong(&|state| state["more"] = 1.into()).contains("more"));
    assert!(wrong(&|state| *state = Value::Null).contains("template_miner"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Few words, so that holes open and templates unite all the time.
    #[test]
    fn a_stored_miner_goes_on_as_if_nothing_had_happened(
        lines in prop::collection::vec("(a|b|c|dd|ee|ff|7)( (a|b|c|dd|gg|hh|7|x[a-z])){1,7}", 1..200),
        middle in 0_usize..200,
    ) {
        let middle = middle.min(lines.len());
        let mut whole = TemplateMiner::default();
        let expected: Vec<u64> = lines.iter().map(|line| whole.mine(line)).collect();
        let mut first = TemplateMiner::default();
        for line in &lines[..middle] {
            first.mine(line);
        }
        let mut second = TemplateMiner::default();
        second.load(&first.save()).unwrap();
        let got: Vec<u64> = lines[middle..].iter().map(|line| second.mine(line)).collect();
        prop_assert_eq!(&got, &expected[middle..]);
        prop_assert_eq!(second.save(), whole.save());
        // Every id leads to a template that is there, and lines are neither lost nor counted twice.
        prop_assert!(expected.iter().all(|id| whole.text(*id).is_some()));
        let n: u64 = whole.templates().iter().map(|template| template.n_lines).sum();
        prop_assert_eq!(n, lines.len() as u64);
    }
}
