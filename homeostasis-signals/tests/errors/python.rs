//! Python, the one written in C.

use std::fs;

use homeostasis::core::testing::engine::{self, Scratch};

use crate::{Examination, Program, printed, program, run, whole};

const PROGRAMS: &[Program] = &[
    program(
        "def f(d):\n    return d['x'] #1\nf({})",
        "KeyError: 'x' @f#1",
    ),
    program(
        "def f(n): return 1 // n #1\nf(0)",
        "ZeroDivisionError: integer division or modulo by zero @f#1",
    ),
    program(
        "def f():\n    try:\n        int('x') #2\n    except ValueError as e:\n        raise RuntimeError('bad config') from e #1\nf()",
        "RuntimeError: bad config @f#1 <caused by ValueError: invalid literal for int() with base 10: 'x' @f#2>",
    ),
    program(
        "def f():\n    try:\n        {}['x'] #2\n    except KeyError:\n        missing() #1\nf()",
        "NameError: name 'missing' is not defined @f#1 <during KeyError: 'x' @f#2>",
    ),
    program(
        "def a(): raise OSError('disk') #3\ndef b():\n    try:\n        a()\n    except OSError as e:\n        raise ValueError('read') from e #2\ntry:\n    b()\nexcept ValueError:\n    raise RuntimeError('start') #1",
        "RuntimeError: start @<module>#1 <during ValueError: read @b#2 <caused by OSError: disk @a#3>>",
    ),
    program(
        "try:\n    int('x')\nexcept ValueError:\n    raise RuntimeError('alone') from None #1",
        "RuntimeError: alone @<module>#1",
    ),
    program(
        "def f(n): raise ValueError(n) #2\nfound = []\nfor n in range(2):\n    try:\n        f(n)\n    except ValueError as e:\n        found.append(e)\nraise ExceptionGroup('two', found) #1",
        "ExceptionGroup: two (2 sub-exceptions) @<module>#1 <member ValueError: 0 @f#2> <member ValueError: 1 @f#2>",
    ),
    program(
        "def f():\n    try:\n        {}[1] #3\n    except KeyError as e:\n        raise OSError('no') from e #2\ntry:\n    f()\nexcept OSError as e:\n    inner = ExceptionGroup('inner', [TypeError('bare')])\n    raise BaseExceptionGroup('outer', [e, inner, KeyboardInterrupt()]) from None #1",
        "BaseExceptionGroup: outer (3 sub-exceptions) @<module>#1 <member OSError: no @f#2 <caused by KeyError: 1 @f#3>> <member ExceptionGroup: inner (1 sub-exception) <member TypeError: bare>> <member KeyboardInterrupt: >",
    ),
    program(
        "try:\n    raise ExceptionGroup('g', [ValueError('a')]) #2\nexcept* ValueError as e:\n    raise RuntimeError('after') from e #1",
        "RuntimeError: after @<module>#1 <caused by ExceptionGroup: g (1 sub-exception) @<module>#2 <member ValueError: a>>",
    ),
    program(
        "e = ValueError('no')\ne.add_note('seen in\\norder 7')\nraise e #1",
        "ValueError: no\nseen in\norder 7 @<module>#1",
    ),
    program(
        "exec(compile('def f(:\\n  pass', 'plugin.py', 'exec')) #1",
        "SyntaxError: invalid syntax @ plugin.py:1",
    ),
    program("def f(: #1\n    pass", "SyntaxError: invalid syntax @#1"),
    program(
        "def f(n): return f(n + 1) #1\nf(0)",
        "RecursionError: maximum recursion depth exceeded @f#1",
    ),
    program(
        "a = lambda: b(); b = lambda: a() #1\na()",
        "RecursionError: maximum recursion depth exceeded @<lambda>#1",
    ),
    program(
        "class Shop:\n    class Closed(Exception): pass\nraise Shop.Closed('today\\nand tomorrow') #1",
        "Shop.Closed: today\nand tomorrow @<module>#1",
    ),
    program(
        "import json\ndef load(text):\n    return json.loads(text) #1\nload('{\"a\": }')",
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 7 (char 6) @load#1",
    ),
    program(
        "import asyncio\nasync def f(): raise ConnectionError('peer') #1\nasync def main(): await asyncio.gather(f(), asyncio.sleep(0))\nasyncio.run(main())",
        "ConnectionError: peer @f#1",
    ),
    program(
        "import threading\ndef f(): raise LookupError('gone') #1\nt = threading.Thread(target=f); t.start(); t.join()",
        "LookupError: gone @f#1",
    ),
    program(
        "import logging\ndef f(): return [][3] #1\ntry:\n    f()\nexcept IndexError:\n    logging.exception('cannot pick')",
        "IndexError: list index out of range @f#1",
    ),
    program(
        "from concurrent.futures import ThreadPoolExecutor\ndef f(n): return 1 / n #1\nwith ThreadPoolExecutor(1) as pool: print(pool.submit(f, 0).result())",
        "ZeroDivisionError: division by zero @f#1",
    ),
    program(
        "b'\\xff\\xfe'.decode('utf-8') #1",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte @<module>#1",
    ),
    program(
        "class A:\n    def f(self):\n        return [self.y for _ in 'a'] #1\nA().f()",
        "AttributeError: 'A' object has no attribute 'y' @<listcomp>#1",
    ),
    program("raise ValueError #1", "ValueError:  @<module>#1"),
    program(
        "def f(x):\n    assert x > 0, f'not {x}' #1\nf(-1)",
        "AssertionError: not -1 @f#1",
    ),
    program(
        "import asyncio, gc\nasync def f(): raise OSError(5, 'late') #1\nasync def main():\n    asyncio.ensure_future(f())\n    await asyncio.sleep(0)\nasyncio.run(main()); gc.collect()",
        "OSError: [Errno 5] late @f#1",
    ),
    program(
        "import importlib\nimportlib.import_module('no_such_module') #1",
        "ModuleNotFoundError: No module named 'no_such_module' @<module>#1",
    ),
];

#[test]
fn what_python_raises_is_read() {
    let Some(python) = engine::find("python3", &["/usr/bin"]) else {
        return;
    };
    // Groups and their display came with 3.11.
    let version = run(
        &python,
        &["-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
        &std::env::temp_dir(),
        &[],
    );
    if !version.status.success() {
        return engine::missing("Python 3.11 is not installed");
    }
    let folder = Scratch::new();
    let mut examination = Examination::of("python");
    for (n, program) in PROGRAMS.iter().enumerate() {
        let file = format!("c{n:02}.py");
        fs::write(folder.path().join(&file), program.source).unwrap();
        let path = folder.path().join(&file);
        let output = run(&python, &[path.to_str().unwrap()], folder.path(), &[]);
        examination.examine(&file, program, &printed(&output), whole);
    }
    examination.pass(20);
}
