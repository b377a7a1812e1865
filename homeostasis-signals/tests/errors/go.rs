//! Go: all programs are one binary.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use homeostasis::core::testing::engine::{self, Scratch};

use crate::{Examination, Program, printed, program, run, whole};

/// Functions, of which `NAME` is called.
const PROGRAMS: &[Program] = &[
    program(
        "func NAME() { panic(\"no tea\") } //#1",
        "panic: no tea @main.NAME#1",
    ),
    program(
        "func NAME_f(a []int) int { return a[7] } //#1\nfunc NAME() { NAME_f(make([]int, 3)) }",
        "panic: runtime error: index out of range [7] with length 3 @main.NAME_f#1",
    ),
    program(
        "type NAME_t struct{ n int }\nfunc (t *NAME_t) get() int { return t.n } //#1\nfunc NAME() { var t *NAME_t; t.get() }",
        "panic: runtime error: invalid memory address or nil pointer dereference @main.(*NAME_t).get#1",
    ),
    program(
        "func NAME_f(n int) int { return 1 / n } //#1\nfunc NAME() { NAME_f(0) }",
        "panic: runtime error: integer divide by zero @main.NAME_f#1",
    ),
    program(
        "func NAME() { var m map[string]int; m[\"x\"] = 1 } //#1",
        "panic: assignment to entry in nil map @main.NAME#1",
    ),
    program(
        "func NAME() { ch := make(chan int); <-ch } //#1",
        "fatal error: all goroutines are asleep - deadlock! @main.NAME#1",
    ),
    program(
        "func NAME() { ch := make(chan int); close(ch); close(ch) } //#1",
        "panic: close of closed channel @main.NAME#1",
    ),
    program(
        "func NAME() { var x interface{} = \"s\"; _ = x.(int) } //#1",
        "panic: interface conversion: interface {} is string, not int @main.NAME#1",
    ),
    program(
        "func NAME() { panic(fmt.Errorf(\"start: %w\", errors.New(\"disk\"))) } //#1",
        "panic: start: disk @main.NAME#1",
    ),
    program(
        "func NAME() { panic(fmt.Sprintf(\"one\\ntwo\")) } //#1",
        "panic: one\ntwo @main.NAME#1",
    ),
    program(
        "func NAME() {\n\tdefer func() {\n\t\tpanic(\"second\") //#1\n\t}()\n\tpanic(\"first\")\n}",
        "panic: second @main.NAME.func1#1 <during panic: first>",
    ),
    program(
        "func NAME() {\n\tdefer func() {\n\t\tr := recover()\n\t\tpanic(r) //#1\n\t}()\n\tpanic(\"again\")\n}",
        "panic: again @main.NAME.func1#1 <during panic: again>",
    ),
    program(
        "func NAME() {\n\tdone := make(chan int)\n\tgo func() { panic(\"goroutine\") }() //#1\n\t<-done\n}",
        "panic: goroutine @main.NAME.func1#1",
    ),
    program(
        "func NAME_f(n int) int { return NAME_f(n+1) + 1 } //#1\nfunc NAME() { debug.SetMaxStack(65536); NAME_f(0) }",
        "fatal error: stack overflow @main.NAME_f#1",
    ),
    program(
        "func NAME_f[T any](x T) T { panic(\"generic\") } //#1\nfunc NAME() { NAME_f(7) }",
        "panic: generic @main.NAME_f[...]#1",
    ),
    program(
        "func NAME() { sort.Slice([]int{2, 1}, func(i, j int) bool { panic(\"compare\") }) } //#1",
        "panic: compare @main.NAME.func1#1",
    ),
    program(
        "type NAME_e struct{ code int }\nfunc (e NAME_e) Error() string { return fmt.Sprint(\"code \", e.code) }\nfunc NAME() { panic(NAME_e{7}) } //#1",
        "panic: code 7 @main.NAME#1",
    ),
    program(
        "func NAME() { var mu sync.Mutex; mu.Unlock() } //#1",
        "fatal error: sync: unlock of unlocked mutex @main.NAME#1",
    ),
    program(
        "func NAME() { s := make([]int, 3); n := 5; _ = s[1:n:n] } //#1",
        "panic: runtime error: slice bounds out of range [::5] with capacity 3 @main.NAME#1",
    ),
    program(
        "func NAME() { var wg sync.WaitGroup; wg.Done() } //#1",
        "panic: sync: negative WaitGroup counter @main.NAME#1",
    ),
    program(
        "func NAME() { regexp.MustCompile(\"(\") } //#1",
        "panic: regexp: Compile(`(`): error parsing regexp: missing closing ): `(` @main.NAME#1",
    ),
    program(
        "func NAME() { n := -1; _ = make([]int, n) } //#1",
        "panic: runtime error: makeslice: len out of range @main.NAME#1",
    ),
    program(
        "func NAME() { log.Panicf(\"cannot %s\", \"book\") } //#1",
        "panic: cannot book @main.NAME#1",
    ),
];

const IMPORTS: [&str; 8] = [
    "errors",
    "fmt",
    "log",
    "os",
    "regexp",
    "runtime/debug",
    "sort",
    "sync",
];

#[test]
fn what_go_raises_is_read() {
    let Some(go) = engine::find("go", &["/usr/lib/go/bin", "/usr/local/go/bin"]) else {
        return;
    };
    let scratch = Scratch::new();
    let folder = scratch.path();
    let mut cases = String::new();
    for (n, program) in PROGRAMS.iter().enumerate() {
        let name = format!("c{n:02}");
        let source = program.source.replace("NAME", &name);
        let imports: String = IMPORTS
            .iter()
            .filter(|path| source.contains(&format!("{}.", path.rsplit('/').next().unwrap())))
            .fold(String::new(), |all, path| {
                all + &format!("import \"{path}\"; ")
            });
        // On the first line, so that the lines of the program stay.
        fs::write(
            folder.join(format!("{name}.go")),
            format!("package main; {imports}{source}\n"),
        )
        .unwrap();
        let _ = writeln!(cases, "\tcase \"{name}\":\n\t\t{name}()");
    }
    let main = format!(
        "package main\n\nimport \"os\"\n\nfunc main() {{\n\tswitch os.Args[1] {{\n{cases}\t}}\n}}\n"
    );
    fs::write(folder.join("main.go"), main).unwrap();
    fs::write(folder.join("go.mod"), "module programs\n\ngo 1.18\n").unwrap();
    // Kept between runs: it holds the compiled standard library.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    let environment = [
        ("GOCACHE", cache.to_str().unwrap()),
        ("GOPATH", cache.to_str().unwrap()),
        ("GOFLAGS", "-mod=mod"),
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("CGO_ENABLED", "0"),
    ];
    // Without inlining, so that frames are what the sources say.
    let built = run(
        &go,
        &["build", "-gcflags=-l", "-o", "programs", "."],
        folder,
        &environment,
    );
    assert!(built.status.success(), "{}", printed(&built));
    let mut examination = Examination::of("go");
    for (n, program) in PROGRAMS.iter().enumerate() {
        let name = format!("c{n:02}");
        let output = run(&folder.join("programs"), &[&name], folder, &[]);
        examination.examine(&format!("{name}.go"), program, &printed(&output), whole);
    }
    examination.pass(20);
}
