//! Log messages, line by line, as a template miner reads them.
#![no_main]

use homeostasis::signals::TemplateMiner;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::LOG_MESSAGE);
    let mut miner = TemplateMiner::default();
    let half = text.lines().count() / 2;
    let mut restored = None;
    for (number, line) in text.lines().enumerate() {
        if number == half {
            let mut second = TemplateMiner::default();
            second
                .load(&miner.save())
                .expect("a miner reads what a miner saves");
            restored = Some(second);
        }
        let template = miner.template(line);
        assert_eq!(miner.resolve(template.id()), template.id(), "{line:?}");
        let text = miner.text(template.id()).expect("a template that was just given");
        assert!(text.starts_with(template.text()), "{line:?}");
        for variable in template.variables(line) {
            assert!(line.contains(variable), "{variable:?} of {line:?}");
        }
        assert!(
            template
                .absorbed()
                .iter()
                .all(|id| miner.resolve(*id) == template.id())
        );
        if let Some(second) = &mut restored {
            assert_eq!(second.mine(line), template.id(), "{line:?}");
        }
    }
    if let Some(second) = restored {
        assert_eq!(second.save(), miner.save());
    }
    let n: u64 = miner
        .templates()
        .iter()
        .map(|template| template.n_lines)
        .sum();
    assert_eq!(n, text.lines().count() as u64);
});
