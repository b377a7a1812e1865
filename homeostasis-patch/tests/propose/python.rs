//! Programs of Python: run, healed, run again.

use homeostasis_core::testing::engine;
use serde_json::Value;

use super::*;

/// Runs the function `check` of the module `shop` and tells what it raised as JSON.
const DRIVER: &str = r#"
import json, sys, traceback
try:
    import shop
    shop.check()
except BaseException as error:
    frames = []
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        column = getattr(frame, "colno", None)
        frames.append([frame.filename, frame.lineno, 0 if column is None else column + 1])
    print(json.dumps([type(error).__name__, str(error), frames]))
    sys.exit(1)
"#;

/// One program for each kind of error; `check` calls it with more than the failing input.
const PROGRAMS: [(&str, &str); 20] = [
    (
        "KeyError",
        "def price(o):\n    total = 2 * o['price']\n    return total + o['tax']\n\ndef check():\n    assert price({'price': 2, 'tax': 1}) == 5\n    assert price({'price': 2}) == 4\n",
    ),
    (
        "KeyError",
        "def rate(rates, name):\n    if not name:\n        return -1\n    found = rates[name]\n    return found * 2\n\ndef check():\n    assert rate({'a': 2}, 'a') == 4\n    assert rate({}, '') == -1\n    assert rate({}, 'b') == -1\n",
    ),
    (
        "IndexError",
        "def newest(orders: list) -> str:\n    last = orders[-1]\n    return last.upper()\n\ndef check():\n    assert newest(['a', 'b']) == 'B'\n    assert newest([]) == ''\n",
    ),
    (
        "IndexError",
        "def word(s, i):\n    start = i\n    while s[i] != ' ':\n        i += 1\n    return s[start:i]\n\ndef check():\n    assert word('ab cd', 0) == 'ab'\n    assert word('ab cd', 3) == 'cd'\n",
    ),
    (
        "AttributeError",
        "def city(user) -> str:\n    address = user.get('address')\n    return address.strip().title()\n\ndef check():\n    assert city({'address': ' rome '}) == 'Rome'\n    assert city({}) == ''\n",
    ),
    (
        "TypeError",
        "def discount(user):\n    if user == {}:\n        return 0\n    return user['level'] * 5\n\ndef check():\n    assert discount({'level': 2}) == 10\n    assert discount({}) == 0\n    assert discount(None) == 0\n",
    ),
    (
        "TypeError",
        "def names(items):\n    out = []\n    for item in items:\n        out.append(item['name'])\n    return out\n\ndef check():\n    assert names([{'name': 'a'}]) == ['a']\n    assert names(None) == []\n",
    ),
    (
        "TypeError",
        "def weight(items):\n    total = 0\n    for item in items:\n        total += item.get('weight')\n    return total\n\ndef check():\n    assert weight([{'weight': 2}, {'weight': 3}]) == 5\n    assert weight([{'weight': 2}, {}]) == 2\n",
    ),
    (
        "TypeError",
        "def label(name, n):\n    return name + ': ' + n\n\ndef check():\n    assert label('a', 'b') == 'a: b'\n    assert label('a', 3) == 'a: 3'\n",
    ),
    (
        "ZeroDivisionError",
        "def mean(xs) -> float:\n    total = sum(xs)\n    return total / len(xs)\n\ndef check():\n    assert mean([1, 3]) == 2\n    assert mean([]) == 0.0\n",
    ),
    (
        "ValueError",
        "def quantity(text):\n    if not text:\n        return None\n    n = int(text)\n    return n + 1\n\ndef check():\n    assert quantity('2') == 3\n    assert quantity('') is None\n    assert quantity('two') is None\n",
    ),
    (
        "ValueError",
        "def settings(lines):\n    found = {}\n    for line in lines:\n        key, value = line.split('=')\n        found[key] = value\n    return found\n\ndef check():\n    assert settings(['a=1']) == {'a': '1'}\n    assert settings(['a=1', 'url=http://x?y=z']) == {'a': '1', 'url': 'http://x?y=z'}\n",
    ),
    (
        "ValueError",
        "def settings(lines):\n    found = {}\n    for line in lines:\n        key, value = line.split('=')\n        found[key] = value\n    return found\n\ndef check():\n    assert settings(['a=1']) == {'a': '1'}\n    assert settings(['', 'b=2']) == {'b': '2'}\n",
    ),
    (
        "ValueError",
        "def top(prices) -> int:\n    best = max(prices)\n    return best * 2\n\ndef check():\n    assert top([1, 2]) == 4\n    assert top([]) == 0\n",
    ),
    (
        "UnicodeDecodeError",
        "def text(body):\n    return body.decode('utf-8').strip()\n\ndef check():\n    assert text(b' a ') == 'a'\n    assert text('\\u00e9'.encode()) == '\\u00e9'\n    assert text(b'a\\xff').startswith('a')\n",
    ),
    (
        "JSONDecodeError",
        "import json\n\ndef parse(body) -> dict:\n    data = json.loads(body)\n    return data\n\ndef check():\n    assert parse('{\"a\": 1}') == {'a': 1}\n    assert parse('<html>') == {}\n",
    ),
    (
        "FileNotFoundError",
        "def load(path) -> str:\n    with open(path) as file:\n        return file.read()\n\ndef check():\n    assert 'def load' in load('shop.py')\n    assert load('no-such-file') == ''\n",
    ),
    (
        "RuntimeError",
        "def purge(sessions):\n    for key, alive in sessions.items():\n        if not alive:\n            del sessions[key]\n    return sessions\n\ndef check():\n    assert purge({'a': True}) == {'a': True}\n    assert purge({'a': False, 'b': True}) == {'b': True}\n",
    ),
    (
        "UnboundLocalError",
        "def best(xs, least):\n    for x in xs:\n        if x > least:\n            found = x * 2\n    return found\n\ndef check():\n    assert best([3], 1) == 6\n    assert best([], 1) == 0\n",
    ),
    (
        "NameError",
        "def ship(orders, express):\n    if express:\n        return len(ordres) * 2\n    return len(orders)\n\ndef check():\n    assert ship([1], False) == 1\n    assert ship([1, 2], True) == 4\n",
    ),
];

/// What the program raised; `None` if nothing.
fn raised(python: &Path, folder: &Path) -> Option<ErrorEvent> {
    // A cached module could be taken for the changed one: they differ by less than a second.
    let output = run(python, &["-B", "driver.py"], folder);
    if output.status.success() {
        return None;
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let told: Value = serde_json::from_str(printed.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{printed} {}", String::from_utf8_lossy(&output.stderr)));
    let mut error = ErrorEvent::new(
        "python",
        told[0].as_str().unwrap(),
        told[1].as_str().unwrap(),
    );
    for place in told[2].as_array().unwrap() {
        let number = |idx: usize| u32::try_from(place[idx].as_u64().unwrap()).unwrap();
        let file = place[0].as_str().unwrap();
        if !file.ends_with("driver.py") {
            error.frames.push(frame(file, number(1), number(2)));
        }
    }
    Some(error)
}

/// Which of the first five candidates heals, counted from 1, with columns in the frames or without.
fn healed_by(python: &Path, kind: &str, source: &str, has_columns: bool) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("driver.py"), DRIVER).unwrap();
    fs::write(folder.path().join("shop.py"), source).unwrap();
    let mut error = raised(python, folder.path()).unwrap();
    assert_eq!(error.kind, kind, "{}", error.message);
    if !has_columns {
        error.frames.iter_mut().for_each(|frame| frame.column = 0);
    }
    let proposal = propose(folder.path(), &error);
    let mut tried = vec![format!("{error:?}")];
    for (nth, candidate) in proposal.candidates.iter().take(5).enumerate() {
        apply(folder.path(), candidate, source);
        let now = raised(python, folder.path());
        tried.push(format!(
            "{}\n{}\n{now:?}",
            candidate.template, candidate.diff
        ));
        if now.is_none() {
            return Ok(nth + 1);
        }
    }
    Err(tried.join("\n"))
}

#[test]
fn python_programs_are_healed_within_five_candidates() {
    let Some(python) = engine::find("python3", &["/usr/bin", "/usr/local/bin"]) else {
        return;
    };
    let mut failures = Vec::new();
    for (nth, (kind, source)) in PROGRAMS.iter().enumerate() {
        for has_columns in [true, false] {
            match healed_by(&python, kind, source, has_columns) {
                Ok(candidate) => eprintln!("{nth} {kind}: candidate {candidate}"),
                Err(tried) => failures.push(format!("{nth} {kind} {has_columns}: {tried}")),
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn endless_recursion_is_refused_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.py"), "def f(n):\n    return f(n)\n").unwrap();
    let mut error = ErrorEvent::new(
        "python",
        "RecursionError",
        "maximum recursion depth exceeded",
    );
    error.frames.push(frame("a.py", 2, 12));
    let proposal = propose(root.path(), &error);
    assert!(proposal.candidates.is_empty());
    assert_eq!(proposal.refusals[0].template, "python/recursion");
    assert!(proposal.refusals[0].reason.contains("meaning"));
}
