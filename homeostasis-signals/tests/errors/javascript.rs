//! Node.

use std::fs;

use homeostasis::core::testing::engine::{self, Scratch};

use crate::{Examination, Program, printed, program, run, whole};

const PROGRAMS: &[Program] = &[
    program(
        "function f() { throw new Error('no tea'); } //#1\nf();",
        "Error: no tea @f#1",
    ),
    program(
        "const f = o => o.x.y; //#1\nf({});",
        "TypeError: Cannot read properties of undefined (reading 'y') @f#1",
    ),
    program(
        "function f() {\n  return missing; //#1\n}\nf();",
        "ReferenceError: missing is not defined @f#1",
    ),
    program(
        "function g() { throw new TypeError('inner'); } //#2\nfunction f() {\n  try { g(); } catch (cause) {\n    throw new Error('outer', { cause }); //#1\n  }\n}\nf();",
        "Error: outer @f#1 <caused by TypeError: inner @g#2>",
    ),
    program(
        "const a = () => Promise.reject(new Error('a')); //#1\nconst b = () => Promise.reject(new RangeError('b')); //#2\nPromise.any([a(), b()]);",
        "AggregateError: All promises were rejected <member Error: a @a#1> <member RangeError: b @b#2>",
    ),
    program(
        "function f() {\n  const errors = [new Error('one'), new TypeError('two')]; //#2\n  throw new AggregateError(errors, 'both'); //#1\n}\nf();",
        "AggregateError: both @f#1 <member Error: one @f#2> <member TypeError: two @f#2>",
    ),
    program(
        "const fs = require('fs');\nfunction load() { return fs.readFileSync('/no/such/file'); } //#1\nload();",
        "Error: ENOENT: no such file or directory, open '/no/such/file' @load#1",
    ),
    program(
        "class ShopError extends Error { constructor(m) { super(m); this.name = 'ShopError'; this.shop = 7; } } //#1\nfunction f() { throw new ShopError('closed'); } //#2\nf();",
        "ShopError: closed @f#2",
    ),
    program(
        "class Closed extends Error {}\nfunction f() { throw new Closed('today'); } //#1\nf();",
        "Closed: today @f#1",
    ),
    program(
        "function f() { throw new Error('one\\ntwo\\n\\nthree'); } //#1\nf();",
        "Error: one\ntwo\n\nthree @f#1",
    ),
    program("throw 'just text'; //#1", "throw: just text @#1"),
    program("throw null; //#1", "throw: null @#1"),
    program(
        "async function f() {\n  await null;\n  throw new Error('late'); //#1\n}\nf();",
        "Error: late @f#1",
    ),
    program(
        "Promise.reject('a reason'); //#1",
        "UnhandledPromiseRejection: This error originated either by throwing inside of an async function without a catch block, or by rejecting a promise which was not handled with .catch(). The promise rejected with the reason \"a reason\".",
    ),
    program(
        "const parse = t => JSON.parse(t); //#1\nparse('x');",
        "SyntaxError: Unexpected token 'x', \"x\" is not valid JSON @parse#1",
    ),
    program(
        "function f() { return eval('missing'); } //#1\nf();",
        "ReferenceError: missing is not defined @eval#1",
    ),
    program(
        "class Shop {\n  constructor() { this.open.at(); } //#1\n}\nnew Shop();",
        "TypeError: Cannot read properties of undefined (reading 'at') @new Shop#1",
    ),
    program(
        "try { null.x; } catch (e) { console.error(e); } //#1",
        "TypeError: Cannot read properties of null (reading 'x') @Object.<anonymous>#1",
    ),
    program(
        "const f = n => f(n + 1) + 1; //#1\nf(0);",
        "RangeError: Maximum call stack size exceeded @f#1",
    ),
    program(
        "const assert = require('assert');\nfunction f() { assert.strictEqual(1, 2); } //#1\nf();",
        "AssertionError: Expected values to be strictly equal:\n\n1 !== 2 @f#1",
    ),
    program(
        "const a = new Error('a'); //#3\nconst b = new Error('b', { cause: a }); //#2\nconst c = new Error('c', { cause: b }); //#1\nconsole.error('cannot book', c);",
        "Error: c @Object.<anonymous>#1 <caused by Error: b @Object.<anonymous>#2 <caused by Error: a @Object.<anonymous>#3>>",
    ),
    program(
        "setTimeout(() => { [].reduce((a, b) => a); }, 0); //#1",
        "TypeError: Reduce of empty array with no initial value @Timeout._onTimeout#1",
    ),
    program(
        "function f() { Buffer.from(7); } //#1\nf();",
        "TypeError: The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object. Received type number (7) @f#1",
    ),
    program(
        "require('net').connect(1, '127.0.0.1'); //#1",
        "Error: connect ECONNREFUSED 127.0.0.1:1",
    ),
    program(
        "function f() {\n  let = ; //#1\n}",
        "SyntaxError: Unexpected token ';' @#1",
    ),
    program(
        "require('./no_such_module'); //#1",
        "Error: Cannot find module './no_such_module'\nRequire stack:\n- NAME @Object.<anonymous>#1",
    ),
    program(
        "export default 1;\nfunction f() { throw new Error('module'); } //#1\nf();",
        "Error: module @f#1",
    ),
    program(
        "function f() { throw new Error('kept', { cause: 'a word' }); } //#1\nf();",
        "Error: kept @f#1 <caused by throw: a word>",
    ),
];

#[test]
fn what_node_raises_is_read() {
    let Some(node) = engine::find("node", &["/usr/bin", "/usr/local/bin"]) else {
        return;
    };
    let folder = Scratch::new();
    let mut examination = Examination::of("javascript");
    for (n, program) in PROGRAMS.iter().enumerate() {
        let module = program.source.starts_with("export");
        let file = format!("c{n:02}.{}", if module { "mjs" } else { "js" });
        let path = folder.path().join(&file);
        fs::write(&path, program.source).unwrap();
        let path = path.to_str().unwrap();
        let output = run(&node, &[path], folder.path(), &[]);
        // Where the message holds a path, that of this run is no part of the expectation.
        let text = printed(&output).replace(&format!("- {path}"), &format!("- c{n:02}"));
        examination.examine(&file, program, &text, whole);
    }
    examination.pass(20);
}
