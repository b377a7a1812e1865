//! Java: all programs are compiled at once and run in threads of one virtual machine.

use std::fmt::Write;
use std::fs;

use homeostasis::core::testing::engine::{self, Scratch};

use crate::{Examination, Program, printed, program, run, whole};

/// Members of a class with a method `run`.
const PROGRAMS: &[Program] = &[
    program(
        "static void run() { throw new IllegalStateException(\"no tea\"); } //#1",
        "java.lang.IllegalStateException: no tea @shop.NAME.run#1",
    ),
    program(
        "static int f(int[] a) { return a[7]; } //#1\nstatic void run() { f(new int[3]); }",
        "java.lang.ArrayIndexOutOfBoundsException: Index 7 out of bounds for length 3 @shop.NAME.f#1",
    ),
    program(
        "static int f(String s) { return s.length(); } //#1\nstatic void run() { f(null); }",
        "java.lang.NullPointerException: Cannot invoke \"String.length()\" because \"<parameter1>\" is null @shop.NAME.f#1",
    ),
    program(
        "static void g() throws Exception { throw new java.io.IOException(\"disk\"); } //#2\nstatic void run() {\n  try { g(); } catch (Exception e) {\n    throw new RuntimeException(\"start\", e); //#1\n  }\n}",
        "java.lang.RuntimeException: start @shop.NAME.run#1 <caused by java.io.IOException: disk @shop.NAME.g#2>",
    ),
    program(
        "static void run() {\n  try { Integer.parseInt(\"x\"); } catch (Exception e) { //#2\n    throw new RuntimeException(e); //#1\n  }\n}",
        "java.lang.RuntimeException: java.lang.NumberFormatException: For input string: \"x\" @shop.NAME.run#1 <caused by java.lang.NumberFormatException: For input string: \"x\" @shop.NAME.run#2>",
    ),
    program(
        "static class R implements AutoCloseable { public void close() { throw new IllegalArgumentException(\"close\"); } } //#2\nstatic void run() {\n  try (R r = new R()) { throw new UnsupportedOperationException(\"body\"); } //#1\n}",
        "java.lang.UnsupportedOperationException: body @shop.NAME.run#1 <suppressed java.lang.IllegalArgumentException: close @shop.NAME$R.close#2>",
    ),
    program(
        "static void run() {\n  Exception a = new Exception(\"a\"), b = new Exception(\"b\", new Error(\"c\")); //#1\n  a.addSuppressed(b);\n  throw new RuntimeException(\"d\", a); //#2\n}",
        "java.lang.RuntimeException: d @shop.NAME.run#2 <caused by java.lang.Exception: a @shop.NAME.run#1 <suppressed java.lang.Exception: b @shop.NAME.run#1 <caused by java.lang.Error: c @shop.NAME.run#1>>>",
    ),
    program(
        "static void run() throws Exception {\n  Exception a = new Exception(\"a\"); //#1\n  Exception b = new Exception(\"b\", a); //#2\n  a.initCause(b);\n  throw a;\n}",
        "java.lang.Exception: a @shop.NAME.run#1 <caused by java.lang.Exception: b @shop.NAME.run#2 <caused by java.lang.Exception: a>>",
    ),
    program(
        "static class Closed extends RuntimeException { Closed(String m) { super(m); } }\nstatic void run() { throw new Closed(\"today\\nand tomorrow\"); } //#1",
        "shop.NAME$Closed: today\nand tomorrow @shop.NAME.run#1",
    ),
    program(
        "static void run() { Runnable r = () -> { throw new Error(\"lambda\"); }; //#1\n  r.run(); }",
        "java.lang.Error: lambda @shop.NAME.lambda$run$0#1",
    ),
    program(
        "static void run() { java.util.List.of(1, 2).stream().map(n -> n / 0).toList(); } //#1",
        "java.lang.ArithmeticException: / by zero @shop.NAME.lambda$run$0#1",
    ),
    program(
        "static void run() { f(0); }\nstatic int f(int n) { return f(n + 1) + 1; } //#1",
        "java.lang.StackOverflowError:  @shop.NAME.f#1",
    ),
    program(
        "static void run() { Object o = \"s\"; Integer i = (Integer) o; } //#1",
        "java.lang.ClassCastException: class java.lang.String cannot be cast to class java.lang.Integer (java.lang.String and java.lang.Integer are in module java.base of loader 'bootstrap') @shop.NAME.run#1",
    ),
    program(
        "final int n;\nNAME() { n = 1; throw new IllegalArgumentException(); } //#1\nstatic void run() { new NAME(); }",
        "java.lang.IllegalArgumentException:  @shop.NAME.<init>#1",
    ),
    program(
        "static class S { static int x = 1 / Integer.parseInt(\"0\"); } //#1\nstatic void run() { System.out.print(S.x); } //#2",
        "java.lang.ExceptionInInitializerError:  @shop.NAME.run#2 <caused by java.lang.ArithmeticException: / by zero @shop.NAME$S.<clinit>#1>",
    ),
    program(
        "static void run() throws Exception {\n  var f = java.util.concurrent.CompletableFuture.supplyAsync(() -> { throw new IllegalStateException(\"async\"); }); //#1\n  f.get(); //#2\n}",
        "java.util.concurrent.ExecutionException: java.lang.IllegalStateException: async @shop.NAME.run#2 <caused by java.lang.IllegalStateException: async @shop.NAME.lambda$run$0#1>",
    ),
    program(
        "static void run() { new java.util.ArrayList<>(java.util.List.of(1)).iterator().forEachRemaining(x -> { throw new java.util.NoSuchElementException(\"end: \" + x); }); } //#1",
        "java.util.NoSuchElementException: end: 1 @shop.NAME.lambda$run$0#1",
    ),
    program(
        "static void run() throws Exception { java.nio.file.Files.readString(java.nio.file.Path.of(\"/no/such/file\")); } //#1",
        "java.nio.file.NoSuchFileException: /no/such/file @shop.NAME.run#1",
    ),
    program(
        "static void run() throws Exception { Class.forName(\"no.Such\"); } //#1",
        "java.lang.ClassNotFoundException: no.Such @shop.NAME.run#1",
    ),
    program(
        "static void run() throws Throwable { NAME.class.getDeclaredMethod(\"f\").invoke(null); } //#1\nstatic void f() { throw new IllegalStateException(\"reflected\"); } //#2",
        "java.lang.reflect.InvocationTargetException:  @shop.NAME.run#1 <caused by java.lang.IllegalStateException: reflected @shop.NAME.f#2>",
    ),
    program(
        "static void run() { new Thread() { { if (isDaemon() || true) throw new IllegalStateException(\"anonymous\"); } }; } //#1",
        "java.lang.IllegalStateException: anonymous @shop.NAME$1.<init>#1",
    ),
    program(
        "static <T extends Comparable<T>> void f(T a) { assert a == null; throw new AssertionError(a); } //#1\nstatic void run() { f(7); }",
        "java.lang.AssertionError: 7 @shop.NAME.f#1",
    ),
];

#[test]
fn what_java_raises_is_read() {
    let places = ["/usr/bin", "/usr/lib/jvm/*/bin"];
    let (Some(javac), Some(java)) = (
        engine::find("javac", &places),
        engine::find("java", &places),
    ) else {
        return;
    };
    let scratch = Scratch::new();
    let folder = scratch.path();
    let mut cases = String::new();
    let mut files = vec![
        "-d".to_owned(),
        "classes".to_owned(),
        "Main.java".to_owned(),
    ];
    for (n, program) in PROGRAMS.iter().enumerate() {
        let name = format!("C{n:02}");
        let members = program.source.replace("NAME", &name);
        let file = format!("{name}.java");
        fs::write(
            folder.join(&file),
            format!("package shop; public class {name} {{ {members}\n}}"),
        )
        .unwrap();
        files.push(file);
        let _ = writeln!(cases, "case \"{name}\": {name}.run(); break;");
    }
    let main = format!(
        "package shop; public class Main {{
          @SuppressWarnings(\"unchecked\") static <E extends Throwable> void pass(Throwable t) throws E {{ throw (E) t; }}
          static void call(String name) throws Throwable {{ switch (name) {{ {cases} }} }}
          public static void main(String[] names) throws Exception {{
            for (String name : names) {{
              System.err.println(\"=== \" + name);
              Thread t = new Thread(() -> {{ try {{ call(name); }} catch (Throwable e) {{ Main.<RuntimeException>pass(e); }} }}, \"worker\");
              t.start(); t.join();
            }}
          }}
        }}"
    );
    fs::write(folder.join("Main.java"), main).unwrap();
    let arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    let compiled = run(&javac, &arguments, folder, &[]);
    assert!(compiled.status.success(), "{}", printed(&compiled));
    let names: Vec<String> = (0..PROGRAMS.len()).map(|n| format!("C{n:02}")).collect();
    let mut arguments = vec!["-Xss512k", "-cp", "classes", "shop.Main"];
    arguments.extend(names.iter().map(String::as_str));
    let output = printed(&run(&java, &arguments, folder, &[]));
    let mut examination = Examination::of("java");
    for (part, program) in output.split("=== ").skip(1).zip(PROGRAMS) {
        let (name, text) = part.split_once('\n').unwrap();
        examination.examine(&format!("{name}.java"), program, text, whole);
    }
    examination.pass(20);
}
