//! Names that a repair has no business with, by language.
//!
//! A pattern is a path and everything below it; `*.x` is the last name of any longer path; `=x` is
//! the path and nothing below it. Modules of JavaScript begin with `@`, Go's are import paths.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::RefusalReason::{
    self, Deserialization, Destruction, Environment, Evaluation, Exit, ForeignCode, Network,
    OpenPermissions, Process, Reflection, SilencedLog, SkippedTest, SuppressedLint, SwallowedError,
    UnsafeCode, UnverifiedTls, WeakCryptography,
};
use crate::Language;

type Rules = &'static [(RefusalReason, &'static str)];

const RUST: Rules = &[
    (
        Process,
        "std.process.Command Command.new tokio.process async_process async_std.process nix.unistd duct \
         subprocess std.os.unix.process std.process.Child",
    ),
    (Exit, "std.process.exit std.process.abort"),
    (
        UnsafeCode,
        "std.mem.transmute std.mem.transmute_copy std.mem.zeroed std.mem.uninitialized transmute \
         std.intrinsics std.hint.unreachable_unchecked *.get_unchecked *.get_unchecked_mut \
         *.unwrap_unchecked *.from_utf8_unchecked *.assume_init *.from_raw *.from_raw_parts \
         *.unreachable_unchecked *.transmute unsafe",
    ),
    (
        ForeignCode,
        "libc libloading dlopen winapi windows_sys syscalls std.arch asm global_asm include include_str \
         include_bytes no_mangle link_name link_section export_name",
    ),
    (
        Network,
        "std.net.TcpStream std.net.TcpListener std.net.UdpSocket std.net.ToSocketAddrs std.os.unix.net \
         TcpStream TcpListener UdpSocket tokio.net async_std.net smol.net mio.net socket2 reqwest hyper \
         ureq isahc surf curl minreq attohttpc tungstenite tokio_tungstenite quinn lettre ssh2 \
         trust_dns_resolver hickory_resolver",
    ),
    (
        Evaluation,
        "rhai mlua rlua wasmtime wasmer deno_core boa_engine pyo3 v8",
    ),
    (
        Environment,
        "std.env.set_var std.env.remove_var std.env.set_current_dir",
    ),
    (
        Destruction,
        "std.fs.remove_dir_all std.fs.remove_dir std.fs.remove_file tokio.fs.remove_dir_all \
         tokio.fs.remove_dir tokio.fs.remove_file fs.remove_dir_all fs.remove_dir fs.remove_file",
    ),
    (
        UnverifiedTls,
        "openssl.ssl.SslVerifyMode.NONE SslVerifyMode.NONE *.dangerous",
    ),
    (
        SwallowedError,
        "std.panic.catch_unwind catch_unwind *.catch_unwind std.panic.set_hook",
    ),
    (SilencedLog, "log.set_max_level"),
];

const PYTHON: Rules = &[
    (
        Process,
        "subprocess os.system os.popen os.popen2 os.popen3 os.execl os.execle os.execlp os.execlpe \
         os.execv os.execve os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp os.spawnlpe os.spawnv \
         os.spawnve os.spawnvp os.spawnvpe os.posix_spawn os.posix_spawnp os.fork os.forkpty os.kill \
         os.killpg os.startfile posix pty commands popen2 pexpect plumbum sh.Command fabric invoke \
         asyncio.create_subprocess_exec asyncio.create_subprocess_shell *.subprocess_exec \
         *.subprocess_shell _posixsubprocess",
    ),
    (
        Evaluation,
        "eval exec compile execfile __import__ =importlib importlib.import_module importlib.reload importlib.util importlib.machinery importlib.__import__ importlib._bootstrap imp runpy code codeop timeit pdb zipimport \
         pkgutil.get_loader pkgutil.resolve_name pydoc.locate pandas.eval numexpr.evaluate \
         django.utils.module_loading.import_string werkzeug.utils.import_string jinja2.Template",
    ),
    (
        Deserialization,
        "pickle cPickle _pickle pickletools dill cloudpickle marshal shelve jsonpickle yaml.load \
         yaml.load_all yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all \
         yaml.Loader yaml.UnsafeLoader yaml.FullLoader yaml.CLoader joblib torch.load pandas.read_pickle \
         *.read_pickle",
    ),
    (ForeignCode, "ctypes _ctypes cffi mmap sysconfig distutils"),
    (
        Network,
        "socket socketserver ssl.wrap_socket urllib.request urllib2 urllib3 http.client http.server \
         httplib requests httpx aiohttp tornado.httpclient ftplib telnetlib smtplib smtpd poplib imaplib \
         nntplib xmlrpc paramiko websocket websockets pycurl boto3 asyncio.open_connection \
         asyncio.start_server asyncio.open_unix_connection multiprocessing.connection webbrowser dns",
    ),
    (Exit, "sys.exit os._exit os.abort =exit =quit SystemExit"),
    (
        Environment,
        "os.putenv os.unsetenv os.environ.update os.environ.pop os.environ.clear os.environ.setdefault \
         os.environ.popitem os.environb os.chdir os.chroot os.setuid os.setgid sys.path.append \
         sys.path.insert sys.path.extend site.addsitedir sys.setrecursionlimit",
    ),
    (
        Destruction,
        "shutil.rmtree os.remove os.unlink os.rmdir os.removedirs os.truncate *.unlink *.rmdir *.rmtree",
    ),
    (
        Reflection,
        "globals __builtins__ sys.modules sys._getframe sys.settrace sys.setprofile sys.meta_path \
         sys.path_hooks inspect.currentframe inspect.stack gc.get_objects gc.get_referrers \
         types.CodeType types.FunctionType types.ModuleType *.__subclasses__ *.__globals__ *.__code__ \
         *.__closure__ *.__bases__ *.__base__ *.__mro__ *.__getattribute__ *.__builtins__ *.__reduce__ \
         *.__reduce_ex__ *.__loader__ *.__spec__ *.__import__ *.f_globals *.f_locals *.f_back *.gi_frame \
         *.tb_frame",
    ),
    (
        UnverifiedTls,
        "ssl._create_unverified_context ssl.CERT_NONE ssl._create_default_https_context \
         *.disable_warnings *.CERT_NONE",
    ),
    (
        WeakCryptography,
        "hashlib.md5 hashlib.sha1 Crypto.Cipher.DES Crypto.Cipher.ARC4 *.MODE_ECB random.SystemRandom.seed",
    ),
    (SwallowedError, "sys.excepthook threading.excepthook"),
    (
        SuppressedLint,
        "warnings.filterwarnings warnings.simplefilter warnings.catch_warnings",
    ),
    (SilencedLog, "logging.disable"),
    (
        SkippedTest,
        "pytest.mark.skip pytest.mark.skipif pytest.mark.xfail pytest.skip pytest.xfail \
         pytest.importorskip unittest.skip unittest.skipIf unittest.skipUnless \
         unittest.expectedFailure unittest.SkipTest pytest.mark.skip *.skipTest",
    ),
];

const JAVASCRIPT: Rules = &[
    (
        Process,
        "@child_process @cluster @execa @shelljs @cross-spawn @zx @node-pty process.kill Deno.run \
         Deno.Command Bun.spawn Bun.spawnSync",
    ),
    (
        Evaluation,
        "eval Function @vm @vm2 @repl @module @worker_threads GeneratorFunction AsyncFunction \
         document.write document.writeln dangerouslySetInnerHTML \
         *.insertAdjacentHTML *.runInThisContext *.runInNewContext *.runInContext importScripts \
         *._compile module._load module.constructor",
    ),
    (
        Deserialization,
        "@node-serialize @serialize-to-js @funcster @cryo v8.deserialize @v8",
    ),
    (
        ForeignCode,
        "process.binding process.dlopen process._linkedBinding @ffi @ffi-napi @node-ffi WebAssembly \
         @bindings",
    ),
    (
        Network,
        "fetch XMLHttpRequest WebSocket EventSource RTCPeerConnection navigator.sendBeacon @net @http \
         @https @http2 @dgram @tls @dns @axios @got @node-fetch @undici @request @superagent @ws \
         @socket.io @nodemailer @ssh2 axios",
    ),
    (
        Exit,
        "process.exit process.abort process.reallyExit process.exitCode Deno.exit",
    ),
    (
        Environment,
        "process.chdir process.setuid process.setgid process.umask",
    ),
    (
        Destruction,
        "@fs.rm @fs.rmSync @fs.rmdir @fs.rmdirSync @fs.unlink @fs.unlinkSync @fs.truncate \
         @fs.truncateSync fs.rm fs.rmSync fs.rmdir fs.rmdirSync fs.unlink fs.unlinkSync @rimraf \
         @fs-extra.remove @del",
    ),
    (
        Reflection,
        "Reflect *.__proto__ *.__defineGetter__ *.__lookupGetter__ process.mainModule require.cache \
         Object.setPrototypeOf",
    ),
    (
        SkippedTest,
        "it.skipIf test.skipIf describe.skipIf it.runIf test.runIf describe.runIf it.skip test.skip describe.skip it.only test.only describe.only xit xtest xdescribe it.todo \
         test.todo suite.skip",
    ),
];

const GO: Rules = &[
    (Process, "os/exec os.StartProcess os.FindProcess"),
    (UnsafeCode, "unsafe"),
    (
        WeakCryptography,
        "crypto/md5 crypto/sha1 crypto/des crypto/rc4",
    ),
    (
        ForeignCode,
        "C plugin syscall golang.org/x/sys runtime/cgo github.com/ebitengine/purego",
    ),
    (
        Network,
        "=net net.Dial net.DialTimeout net.Listen net.ListenPacket net.Dialer net.DialTCP net.DialUDP \
         net.LookupHost net.Resolver net.ListenConfig net/rpc net/smtp net/http.Get net/http.Head \
         net/http.Post net/http.PostForm net/http.NewRequest net/http.NewRequestWithContext \
         net/http.Client net/http.DefaultClient net/http.DefaultTransport net/http.Transport \
         net/http.ListenAndServe net/http.ListenAndServeTLS net/http.Serve net/http.Server \
         net/http/httputil net/http/pprof crypto/tls.Dial golang.org/x/net golang.org/x/crypto/ssh \
         google.golang.org/grpc github.com/gorilla/websocket",
    ),
    (Deserialization, "encoding/gob"),
    (Reflection, "reflect"),
    (
        Exit,
        "os.Exit log.Fatal log.Fatalf log.Fatalln runtime.Goexit",
    ),
    (
        Environment,
        "os.Setenv os.Unsetenv os.Clearenv os.Chdir syscall.Setuid",
    ),
    (
        Destruction,
        "os.Remove os.RemoveAll os.Truncate io/ioutil.RemoveAll",
    ),
    (
        Evaluation,
        "github.com/robertkrimen/otto github.com/dop251/goja github.com/traefik/yaegi",
    ),
    (SkippedTest, "t.Skip t.Skipf t.SkipNow b.Skip tb.Skip"),
];

const JAVA: Rules = &[
    (
        Process,
        "Runtime ProcessBuilder ProcessHandle java.lang.Process java.lang.ProcessBuilder",
    ),
    (
        Evaluation,
        "javax.script javax.tools ScriptEngineManager ScriptEngine GroovyShell GroovyClassLoader \
         SpelExpressionParser JexlBuilder JexlEngine JavaCompiler ToolProvider bsh.Interpreter",
    ),
    (
        Deserialization,
        "java.io.ObjectInputStream ObjectInputStream java.beans.XMLDecoder XMLDecoder XStream \
         com.thoughtworks.xstream SerializationUtils *.readObject *.readUnshared *.enableDefaultTyping",
    ),
    (
        Network,
        "java.net.Socket java.net.ServerSocket java.net.DatagramSocket java.net.MulticastSocket \
         java.net.URLConnection java.net.HttpURLConnection java.net.http java.rmi javax.naming \
         java.nio.channels.SocketChannel java.nio.channels.ServerSocketChannel javax.net.ssl.SSLSocket \
         Socket ServerSocket DatagramSocket SocketChannel HttpURLConnection HttpClient InitialContext \
         OkHttpClient RestTemplate WebClient *.openConnection *.openStream org.apache.http okhttp3",
    ),
    (
        ForeignCode,
        "System.load System.loadLibrary Native com.sun.jna java.lang.foreign jnr.ffi native",
    ),
    (UnsafeCode, "sun.misc jdk.internal Unsafe"),
    (Exit, "System.exit *.halt"),
    (
        Reflection,
        "Class.forName =java.lang.reflect java.lang.reflect.Method java.lang.reflect.Field java.lang.reflect.Constructor java.lang.reflect.Proxy java.lang.reflect.InvocationHandler java.lang.reflect.AccessibleObject java.lang.invoke MethodHandles java.lang.instrument java.beans.Statement java.beans.Expression java.beans.EventHandler \
         ClassLoader URLClassLoader java.net.URLClassLoader *.getDeclaredMethod *.getDeclaredMethods \
         *.getDeclaredField *.getDeclaredFields *.getDeclaredConstructor *.setAccessible *.loadClass \
         *.defineClass *.newInstance",
    ),
    (
        Environment,
        "System.setProperty System.setProperties System.clearProperty System.setSecurityManager",
    ),
    (
        Destruction,
        "Files.delete Files.deleteIfExists java.nio.file.Files.delete \
         java.nio.file.Files.deleteIfExists *.deleteOnExit *.deleteDirectory *.deleteRecursively",
    ),
    (
        UnverifiedTls,
        "HostnameVerifier X509TrustManager TrustManager NoopHostnameVerifier TrustAllStrategy \
         TrustSelfSignedStrategy AllowAllHostnameVerifier javax.net.ssl.HostnameVerifier \
         javax.net.ssl.X509TrustManager javax.net.ssl.TrustManager *.setHostnameVerifier \
         *.setDefaultHostnameVerifier",
    ),
    (
        SkippedTest,
        "Disabled Ignore org.junit.Ignore org.junit.jupiter.api.Disabled",
    ),
    (
        SuppressedLint,
        "SuppressWarnings SuppressFBWarnings java.lang.SuppressWarnings",
    ),
    (
        OpenPermissions,
        "PosixFilePermission.OTHERS_WRITE *.OTHERS_WRITE",
    ),
];

const fn rules(language: Language) -> Rules {
    match language {
        Language::Rust => RUST,
        Language::Python => PYTHON,
        Language::JavaScript | Language::TypeScript | Language::Tsx => JAVASCRIPT,
        Language::Go => GO,
        Language::Java => JAVA,
    }
}

/// The rules of a language, found by name.
#[derive(Default)]
struct Index {
    /// Paths that cover what is below them.
    prefixes: HashMap<&'static str, RefusalReason>,
    exact: HashMap<&'static str, RefusalReason>,
    /// Last names of longer paths.
    members: HashMap<&'static str, RefusalReason>,
}

impl Index {
    fn of(rules: Rules) -> Self {
        let mut index = Self::default();
        for (reason, patterns) in rules {
            for pattern in patterns.split_ascii_whitespace() {
                let (map, name) = if let Some(member) = pattern.strip_prefix("*.") {
                    (&mut index.members, member)
                } else if let Some(exact) = pattern.strip_prefix('=') {
                    (&mut index.exact, exact)
                } else {
                    (&mut index.prefixes, pattern)
                };
                map.entry(name).or_insert(*reason);
            }
        }
        index
    }

    fn judge(&self, path: &str) -> Option<RefusalReason> {
        if let Some(reason) = self.exact.get(path) {
            return Some(*reason);
        }
        let ends = path.match_indices(['.', '/']).map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            if let Some(reason) = self.prefixes.get(&path[..end]) {
                return Some(*reason);
            }
        }
        let names: Vec<_> = path.split('.').collect();
        names
            .iter()
            .skip(1)
            .find_map(|name| self.members.get(name).copied())
    }
}

fn index(language: Language) -> &'static Index {
    static RUST_INDEX: LazyLock<Index> = LazyLock::new(|| Index::of(RUST));
    static PYTHON_INDEX: LazyLock<Index> = LazyLock::new(|| Index::of(PYTHON));
    static JAVASCRIPT_INDEX: LazyLock<Index> = LazyLock::new(|| Index::of(JAVASCRIPT));
    static GO_INDEX: LazyLock<Index> = LazyLock::new(|| Index::of(GO));
    static JAVA_INDEX: LazyLock<Index> = LazyLock::new(|| Index::of(JAVA));
    match language {
        Language::Rust => &RUST_INDEX,
        Language::Python => &PYTHON_INDEX,
        Language::JavaScript | Language::TypeScript | Language::Tsx => &JAVASCRIPT_INDEX,
        Language::Go => &GO_INDEX,
        Language::Java => &JAVA_INDEX,
    }
}

/// What is wrong with a resolved path, if anything.
pub(super) fn judged(language: Language, path: &str) -> Option<RefusalReason> {
    // A chain of thousands of names is nobody's module.
    let path = path.get(..512).unwrap_or(path);
    index(language).judge(&plain(language, path))
}

/// What is wrong with a path that reaches a module through another one: `logging.os.system`.
pub(super) fn judged_within(
    language: Language,
    path: &str,
    is_module: bool,
) -> Option<RefusalReason> {
    if language != Language::Python {
        return None;
    }
    let path = path.get(..512).unwrap_or(path);
    let modules: &[&str] = if is_module {
        &[
            "os",
            "sys",
            "subprocess",
            "builtins",
            "ctypes",
            "importlib",
            "posix",
            "pty",
            "pickle",
            "marshal",
            "shutil",
            "socket",
            "runpy",
            "code",
            "codeop",
            "imp",
            "types",
            "gc",
            "inspect",
        ]
    } else {
        &[
            "os",
            "subprocess",
            "builtins",
            "ctypes",
            "importlib",
            "posix",
        ]
    };
    path.match_indices('.').find_map(|(at, _)| {
        let rest = &path[at + 1..];
        let head = rest.split('.').next().unwrap_or_default();
        if !modules.contains(&head) || !is_module && head == rest {
            return None;
        }
        // The module itself, taken from another one, is as good as its worst name.
        judged(language, rest).or_else(|| {
            (head == rest)
                .then(|| judged_glob(language, head))
                .flatten()
        })
    })
}

/// What is wrong with taking in all names of a module, if anything: some of them are dangerous.
pub(super) fn judged_glob(language: Language, module: &str) -> Option<RefusalReason> {
    let found = judged(language, module);
    let start = format!("{}.", plain(language, module));
    let below = |rule: &&(RefusalReason, &str)| {
        let mut patterns = rule.1.split_ascii_whitespace();
        patterns.any(|pattern| pattern.starts_with(&start))
    };
    found.or_else(|| {
        rules(language)
            .iter()
            .find(below)
            .map(|(reason, _)| *reason)
    })
}

/// The one spelling the tables use.
fn plain(language: Language, path: &str) -> String {
    let starts: &[&str] = match language {
        Language::Rust => &["core.", "alloc.", ".."],
        Language::Python => &["builtins.", "__builtins__.", "__builtin__."],
        Language::JavaScript | Language::TypeScript | Language::Tsx => &[
            "globalThis.",
            "window.",
            "self.",
            "global.",
            "top.",
            "frames.",
            "parent.",
            "globalThis.",
        ],
        Language::Java => &["java.lang."],
        Language::Go => &[],
    };
    for start in starts {
        if let Some(rest) = path.strip_prefix(start) {
            return match language {
                Language::Rust => format!("std.{rest}"),
                // Packages below java.lang keep their name.
                Language::Java if rest.starts_with(char::is_lowercase) => path.to_owned(),
                _ => rest.to_owned(),
            };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_is_below_it_and_nothing_beside_it() {
        for (language, path, reason) in [
            (Language::Python, "os.system", Some(Process)),
            (Language::Python, "os.systemd", None),
            (Language::Python, "os.path.join", None),
            (Language::Python, "builtins.eval", Some(Evaluation)),
            (Language::Python, "re.compile", None),
            (Language::Rust, "core.mem.transmute", Some(UnsafeCode)),
            (Language::Rust, "std.net.IpAddr", None),
            (Language::JavaScript, "globalThis.fetch", Some(Network)),
            (Language::JavaScript, "this.fetch", None),
            (Language::Go, "net/http.Get", Some(Network)),
            (Language::Go, "net/http.StatusOK", None),
            (Language::Go, "net/url", None),
            (
                Language::Java,
                "java.lang.Runtime.getRuntime",
                Some(Process),
            ),
            (Language::Java, "java.lang.reflect.Method", Some(Reflection)),
            (Language::Java, "request.getMethod", None),
        ] {
            assert_eq!(judged(language, path), reason, "{path}");
        }
    }

    #[test]
    fn all_names_of_a_module_are_judged_by_the_worst() {
        assert_eq!(judged_glob(Language::Python, "os"), Some(Process));
        assert_eq!(judged_glob(Language::Python, "math"), None);
        assert_eq!(judged_glob(Language::Rust, "std.process"), Some(Process));
    }
}
