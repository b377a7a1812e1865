//! What must not be proposed: a way out that means success, a guard in front of what is asked under
//! a condition, a handler around more than what failed, effects done twice.

use super::*;

/// The added lines of all candidates for an error that passed at the line of `at`, with its column
/// and without.
fn added(file: &str, source: &str, error: &str, at: &str) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(file), source).unwrap();
    let (kind, message) = error.split_once(": ").unwrap_or((error, ""));
    let offset = source.find(at).unwrap();
    let start = source[..offset].rfind('\n').map_or(0, |end| end + 1);
    let line = source[..offset].matches('\n').count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap();
    let mut lines = Vec::new();
    for column in [0, offset - start + 1] {
        let mut error = ErrorEvent::new("", kind, message);
        error.frames.push(frame(file, number(line), number(column)));
        for candidate in propose(root.path(), &error).candidates {
            let new = candidate.diff.lines().filter(|line| line.starts_with('+'));
            lines.extend(new.skip(1).map(|line| line[1..].trim().to_owned()));
        }
    }
    lines
}

const NONE: &str = "AttributeError: 'NoneType' object has no attribute 'role'";

#[test]
fn no_way_out_means_success_or_a_grant() {
    let may = "def may_edit(user, page):\n    if page.is_public:\n        return True\n    return user.role == 'editor'\n";
    let lines = added("a.py", may, NONE, "user.role");
    assert!(lines.contains(&"return False".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"return True".to_owned()), "{lines:?}");

    let status = "def post(user):\n    if user == 'ping':\n        return 200\n    role = user.role\n    return store(role)\n";
    let lines = added("a.py", status, NONE, "user.role");
    assert!(!lines.contains(&"return 200".to_owned()), "{lines:?}");

    let skip = "def is_allowed(users):\n    for user in users:\n        if user.role == 'banned':\n            return False\n    return True\n";
    let lines = added("a.py", skip, NONE, "user.role");
    assert!(!lines.contains(&"continue".to_owned()), "{lines:?}");

    let go = "package p\n\nfunc Save(u *User) error {\n\tif u.Draft() {\n\t\treturn nil\n\t}\n\tname := u.Name\n\treturn write(name)\n}\n";
    let nil = "panic: runtime error: invalid memory address or nil pointer dereference";
    let lines = added("a.go", go, nil, "u.Name");
    assert!(!lines.contains(&"return nil".to_owned()), "{lines:?}");

    let rust = "fn pay(v: &[u8], n: usize) -> Result<(), E> {\n    if n == 7 {\n        return Ok(());\n    }\n    if n == 9 {\n        return Err(E::Nine);\n    }\n    let x = v[n];\n    send(x)\n}\n";
    let index = "panic: index out of bounds: the len is 1 but the index is 3";
    let lines = added("a.rs", rust, index, "v[n]");
    assert!(
        lines.contains(&"return Err(E::Nine);".to_owned()),
        "{lines:?}"
    );
    assert!(!lines.contains(&"return Ok(());".to_owned()), "{lines:?}");
}

#[test]
fn no_guard_is_set_in_front_of_what_is_asked_under_a_condition() {
    for body in [
        "if ready and user.role == 1:\n        save()",
        "x = ready or user.role",
        "x = ready < limit < user.role",
        "assert ready, user.role",
    ] {
        let source = format!("def f(user, ready, limit):\n    {body}\n    return 5\n");
        let lines = added("a.py", &source, NONE, "user.role");
        let guards = lines
            .iter()
            .filter(|line| line.starts_with("if user is None"));
        assert_eq!(guards.count(), 0, "{body}: {lines:?}");
    }
    let read = "TypeError: Cannot read properties of null (reading 'role')";
    for body in [
        "if (ready) return user.role;",
        "if (ready && user.role) {\n    save();\n  }",
        "for (let i = 0; i < user.role; i++) {\n    save();\n  }",
        "x = ready ?? user.role;",
    ] {
        let source = format!("function f(user, ready) {{\n  {body}\n  return 5;\n}}\n");
        let lines = added("a.js", &source, read, "user.role");
        let guards = lines
            .iter()
            .filter(|line| line.starts_with("if (user == null"));
        assert_eq!(guards.count(), 0, "{body}: {lines:?}");
    }
    let plain = "function f(user) {\n  const x = user.role;\n  return x;\n}\n";
    let lines = added("a.js", plain, read, "user.role");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("if (user == null"))
    );
}

#[test]
fn no_handler_catches_more_than_what_failed() {
    let value = "ValueError: invalid literal for int() with base 10: 'x'";
    for body in [
        "if int(s):\n        save(s)",
        "for n in range(int(s)):\n        save(n)",
        "with lock(int(s)):\n        save(s)",
        "save(int(s))",
        "x = int(load(s))",
    ] {
        let source = format!("def f(s):\n    {body}\n    return 5\n");
        let lines = added("a.py", &source, value, "int(");
        assert!(!lines.contains(&"try:".to_owned()), "{body}: {lines:?}");
    }
    let simple = "def f(s):\n    x = int(s.strip())\n    return x\n";
    let lines = added("a.py", simple, value, "int(");
    assert!(lines.contains(&"try:".to_owned()), "{lines:?}");
}

#[test]
fn nothing_is_done_twice_that_is_not_proven_to_do_nothing() {
    for expression in [
        "ledger.transfer(s)",
        "enqueue(s)",
        "s[counter()]",
        "(yield)",
    ] {
        let source = format!("def f(s, ledger):\n    x = {expression}.role\n    return x\n");
        for line in added("a.py", &source, NONE, expression) {
            assert!(line.matches(expression).count() <= 1, "{line}");
            assert!(!line.starts_with("if "), "{expression}: {line}");
        }
    }
}

#[test]
fn what_a_caller_would_not_see_and_what_may_be_negative_is_left_alone() {
    let go = "package p\n\nfunc f(m map[string]int, k string) {\n\tm[k] = 1\n}\n";
    let lines = added("a.go", go, "panic: assignment to entry in nil map", "m[k]");
    assert!(lines.is_empty(), "{lines:?}");

    let rust = "fn f(a: i64, b: i64) -> Option<i64> {\n    let c = a - b;\n    Some(c)\n}\n";
    let lines = added(
        "a.rs",
        rust,
        "panic: attempt to subtract with overflow",
        "a - b",
    );
    assert!(!lines.contains(&"if a < b {".to_owned()), "{lines:?}");
}

#[test]
fn literals_are_not_asked_whether_they_are_nothing() {
    let source = "def f(n):\n    x = n * 2\n    return x\n";
    let error = "TypeError: unsupported operand type(s) for *: 'NoneType' and 'int'";
    let lines = added("a.py", source, error, "n * 2");
    assert!(lines.contains(&"if n is None:".to_owned()), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("2 is None")),
        "{lines:?}"
    );
}

#[test]
fn what_cannot_be_checked_does_not_pass_the_check() {
    let range = "panic: range end index 16 out of range for slice of length 3";
    let rust = "fn open(tag: &[u8], key: &Key) -> Result<Vec<u8>, Bad> {\n    if !mac_ok(&tag[..16], key) {\n        return Err(Bad::Tag);\n    }\n    Ok(decrypt(tag))\n}\n";
    let lines = added("a.rs", rust, range, "tag[..16]");
    let expected = "if tag.get(..16).is_none() || !mac_ok(&tag[..16], key) {";
    assert!(lines.contains(&expected.to_owned()), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("is_some() &&")),
        "{lines:?}"
    );
    for invented in ["unwrap_or", "min("] {
        let is_there = lines.iter().any(|line| line.contains(invented));
        assert!(!is_there, "{lines:?}");
    }

    let python = "def admit(user, page):\n    if user.role == 'banned':\n        raise Denied('no')\n    page.show()\n";
    let lines = added("a.py", python, NONE, "user.role");
    assert!(
        lines.contains(&"raise Denied('no')".to_owned()),
        "the same way out: {lines:?}"
    );
    assert!(!lines.contains(&"return".to_owned()), "{lines:?}");
    let is_let_pass = |line: &String| line.contains("if user is not None else None) == 'banned'");
    assert!(!lines.iter().any(is_let_pass), "{lines:?}");

    let key = "KeyError: 'state'";
    let python = "def take(order):\n    if order['state'] == 'void':\n        return None\n    return book(order)\n";
    let lines = added("a.py", python, key, "order['state']");
    assert!(
        !lines.iter().any(|line| line.contains(".get('state'")),
        "{lines:?}"
    );
    let open = python.replace("== 'void'", "!= 'paid'");
    let lines = added("a.py", &open, key, "order['state']");
    let refused = "if order.get('state', None) != 'paid':";
    assert!(lines.contains(&refused.to_owned()), "{lines:?}");

    let read = "TypeError: Cannot read properties of null (reading 'role')";
    let js = "function admit(user) {\n  if (user.role === 'banned') {\n    throw new Denied();\n  }\n  return show();\n}\n";
    let lines = added("a.js", js, read, "user.role");
    assert!(
        !lines.iter().any(|line| line.contains("user?.role")),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"throw new Denied();".to_owned()),
        "{lines:?}"
    );

    let go = "package p\n\nfunc Admit(u *User) error {\n\tif u.Role == banned {\n\t\treturn ErrBanned\n\t}\n\treturn show()\n}\n";
    let nil = "panic: runtime error: invalid memory address or nil pointer dereference";
    let lines = added("a.go", go, nil, "u.Role");
    assert!(lines.contains(&"return ErrBanned".to_owned()), "{lines:?}");

    let java = "class A {\n  void admit(User user) {\n    if (user.role().equals(banned)) {\n      throw new Denied();\n    }\n    show();\n  }\n}\n";
    let null = "java.lang.NullPointerException: Cannot invoke \"String.equals(Object)\" because the return value is null";
    let lines = added("a.java", java, null, "user.role");
    assert!(!lines.contains(&"return;".to_owned()), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("Objects.equals")),
        "{lines:?}"
    );
}

#[test]
fn functions_of_permission_without_a_name_of_their_own_only_say_no() {
    let read = "TypeError: Cannot read properties of null (reading 'role')";
    for head in [
        "const mayEdit = (user, page) => {",
        "exports.mayEdit = function (user, page) {",
        "const rules = { mayEdit: (user, page) => {",
        "class Rules { mayEdit = (user, page) => {",
        "function mayEdit(user, page) { return page.rules.every((rule) => {",
    ] {
        let tail = match head {
            it if it.starts_with("const rules") => "} };",
            it if it.starts_with("class") => "}; }",
            it if it.starts_with("function") => "}); }",
            _ => "};",
        };
        let source = format!(
            "{head}\n  if (page === 3) {{\n    return 'edit';\n  }}\n  const role = user.role;\n  return page.has(role);\n{tail}\n"
        );
        let lines = added("a.js", &source, read, "user.role");
        assert!(
            !lines.contains(&"return 'edit';".to_owned()),
            "{head}: {lines:?}"
        );
        let open = source.replace("mayEdit", "modeOf");
        let lines = added("a.js", &open, read, "user.role");
        assert!(
            lines.contains(&"return 'edit';".to_owned()),
            "{head}: {lines:?}"
        );
    }
}

#[test]
fn signed_numbers_in_a_condition_are_asked_by_what_overflows() {
    let rust = "fn f(a: i64, b: i64) {\n    if a - b > 3 {\n        g();\n    }\n}\n";
    let error = "panic: attempt to subtract with overflow";
    let lines = added("a.rs", rust, error, "a - b");
    let expected = "if a.checked_sub(b).is_some() && a - b > 3 {";
    assert!(lines.contains(&expected.to_owned()), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("a >= b")),
        "{lines:?}"
    );
}
