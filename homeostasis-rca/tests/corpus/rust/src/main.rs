//! Rust programs that fail: `service FAMILY N` runs one, `service` lists them with their category.
//! `service LIST` is read by `rust.py`, which keeps what they print.
#![allow(unconditional_panic, unconditional_recursion, arithmetic_overflow, clippy::all)]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::env;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, SystemTime};

type Case = (&'static str, &'static str, fn());

#[derive(Debug)]
struct ConfigError(String);
#[derive(Debug)]
struct ValidationError { field: &'static str, reason: &'static str }
#[derive(Debug)]
enum AuthError { InvalidToken, Forbidden { user: u32 } }
#[derive(Debug)]
enum UpstreamError { Status(u16), CircuitOpen { service: &'static str } }
#[derive(Debug)]
struct DeadlockDetected;
#[derive(Debug)]
struct PoolExhausted { size: usize }

fn listener() -> TcpListener { TcpListener::bind("127.0.0.1:0").unwrap() }
fn reset() -> TcpStream {
    let l = listener();
    let c = TcpStream::connect(l.local_addr().unwrap()).unwrap();
    let (mut s, _) = l.accept().unwrap();
    (&c).write_all(b"unread").unwrap();
    thread::sleep(Duration::from_millis(20));
    let mut one = [0];
    s.read_exact(&mut one).unwrap();
    drop(s);
    thread::sleep(Duration::from_millis(20));
    c
}
fn os(code: i32) -> io::Result<()> { Err(io::Error::from_raw_os_error(code)) }
fn poisoned<T: Send + 'static>(value: T) -> Arc<Mutex<T>> {
    let m = Arc::new(Mutex::new(value));
    let n = Arc::clone(&m);
    std::panic::set_hook(Box::new(|_| {}));
    let _ = thread::spawn(move || { let _g = n.lock().unwrap(); panic!("x") }).join();
    let _ = std::panic::take_hook();
    m
}

const CASES: &[Case] = &[
    ("option", "application_error", || { let m: HashMap<&str, u32> = HashMap::new(); black_box(m.get("pear").unwrap()); }),
    ("option", "application_error", || { let v: Vec<u32> = vec![]; black_box(v.iter().max().unwrap()); }),
    ("option", "application_error", || { let v: Vec<u32> = vec![]; v.first().expect("an order has at least one line"); }),
    ("option", "application_error", || { let x: Result<u32, u32> = Ok(3); x.unwrap_err(); }),
    ("option", "application_error", || { let x: Option<u32> = Some(3); assert!(x.is_none(), "slot taken twice"); }),
    ("option", "application_error", || { let m: HashMap<&str, u32> = HashMap::new(); black_box(m["pear"]); }),
    ("option", "application_error", || { let m: BTreeMap<u8, u32> = BTreeMap::new(); black_box(m[&3]); }),
    ("bounds", "application_error", || { let v = black_box(vec![1; 12]); black_box(v[v.len()]); }),
    ("bounds", "application_error", || { let v = black_box(vec![1, 2]); black_box(&v[1..5]); }),
    ("bounds", "application_error", || { let v = black_box(vec![1, 2, 3]); let (a, b) = black_box((2, 1)); black_box(&v[a..b]); }),
    ("bounds", "application_error", || { let v = black_box(vec![1, 2, 3]); black_box(&v[7..]); }),
    ("bounds", "application_error", || { let s = black_box("größe"); black_box(&s[..3]); }),
    ("bounds", "application_error", || { let s = black_box("abc"); black_box(&s[5..]); }),
    ("bounds", "application_error", || { let mut v = black_box(vec![1]); v.insert(5, 1); }),
    ("bounds", "application_error", || { let mut v = black_box(vec![1]); v.swap_remove(5); }),
    ("bounds", "application_error", || { let mut v = black_box(vec![1]); v.split_off(5); }),
    ("bounds", "application_error", || { let mut v = black_box(vec![1]); v.drain(3..); }),
    ("bounds", "application_error", || { let v = black_box(vec![1]); v.split_at(4); }),
    ("bounds", "application_error", || { let v = black_box(vec![1]); black_box(v.chunks(black_box(0)).count()); }),
    ("bounds", "application_error", || { let v = black_box(vec![1]); black_box(v.windows(black_box(0)).count()); }),
    ("bounds", "application_error", || { let d: VecDeque<u8> = black_box(VecDeque::new()); black_box(d[2]); }),
    ("bounds", "application_error", || { let mut d: VecDeque<u8> = VecDeque::new(); d.swap(1, 2); }),
    ("bounds", "application_error", || { let mut s = String::from("é"); s.truncate(1); }),
    ("bounds", "application_error", || { let mut s = String::from("é"); s.insert(1, 'x'); }),
    ("bounds", "application_error", || { black_box((0..9).step_by(black_box(0)).count()); }),
    ("bounds", "application_error", || { let mut a = [const { String::new() }; 2]; a.clone_from_slice(&black_box(vec![String::new(); 3])); }),
    ("bounds", "application_error", || { let mut a = [1, 2, 3]; a.rotate_left(black_box(9)); }),
    ("arithmetic", "application_error", || { let x = black_box(0u32); black_box(x - 1); }),
    ("arithmetic", "application_error", || { let x = black_box(i64::MAX); black_box(x * 2); }),
    ("arithmetic", "application_error", || { let x = black_box(0); black_box(5 / x); }),
    ("arithmetic", "application_error", || { let x = black_box(i32::MIN); black_box(-x); }),
    ("arithmetic", "application_error", || { let x = black_box(40u32); black_box(1u32 << x); }),
    ("arithmetic", "application_error", || { let x = black_box(i32::MIN); black_box(x.abs()); }),
    ("arithmetic", "application_error", || { let x = black_box(10u8); black_box(x.pow(9)); }),
    ("arithmetic", "application_error", || { black_box(Duration::from_secs(1) * u32::MAX * u32::MAX * u32::MAX); }),
    ("arithmetic", "application_error", || { black_box(Duration::MAX + black_box(Duration::from_secs(1))); }),
    ("arithmetic", "application_error", || { black_box(Duration::from_secs_f64(black_box(-1.0))); }),
    ("arithmetic", "application_error", || { black_box(SystemTime::UNIX_EPOCH + Duration::MAX); }),
    ("arithmetic", "application_error", || { black_box(5.0f64.clamp(black_box(9.0), black_box(1.0))); }),
    ("arithmetic", "application_error", || { black_box(5.clamp(black_box(9), black_box(1))); }),
    ("arithmetic", "application_error", || { black_box(black_box(0u32).ilog2()); }),
    ("invariant", "application_error", || assert!(black_box(1) > 2)),
    ("invariant", "application_error", || assert!(black_box(1) > 2, "stock may not be negative")),
    ("invariant", "application_error", || assert_ne!(black_box(3), 3)),
    ("invariant", "application_error", || assert_eq!(black_box(vec![1]), vec![2])),
    ("invariant", "application_error", || unreachable!()),
    ("invariant", "application_error", || unreachable!("no such phase: {}", black_box(7))),
    ("invariant", "application_error", || unimplemented!("refunds")),
    ("invariant", "application_error", || todo!()),
    ("invariant", "application_error", || unimplemented!()),
    ("invariant", "application_error", || panic!("invariant violated: cursor went backwards")),
    ("invariant", "application_error", || panic!("unexpected state: {:?}", black_box("Closing"))),
    ("invariant", "application_error", || debug_assert!(black_box(false), "sorted input")),
    ("cell", "application_error", || { let c = RefCell::new(1); let _a = c.borrow_mut(); let _b = c.borrow_mut(); }),
    ("cell", "application_error", || { let c = RefCell::new(1); let _a = c.borrow(); let _b = c.borrow_mut(); }),
    ("cell", "application_error", || { let c = RefCell::new(1); let _a = c.borrow_mut(); let _b = c.borrow(); }),
    ("cell", "application_error", || { let c: OnceLock<u8> = OnceLock::new(); c.set(1).unwrap(); c.set(2).unwrap(); }),
    ("cell", "application_error", || { let c = RefCell::new(1); let _a = c.borrow(); c.try_borrow_mut().unwrap(); }),
    ("cell", "application_error", || { let a: Box<dyn std::any::Any> = Box::new(1u8); a.downcast::<String>().unwrap(); }),
    ("cell", "application_error", || { std::sync::Arc::try_unwrap({ let a = Arc::new(1); std::mem::forget(Arc::clone(&a)); a }).unwrap(); }),
    ("cell", "application_error", || { let v: Vec<f64> = vec![f64::NAN, 1.0]; v.iter().max_by(|a, b| a.partial_cmp(b).unwrap()); }),
    ("cell", "application_error", || { <[u8; 4]>::try_from(&black_box(vec![1u8])[..]).unwrap(); }),
    ("cell", "application_error", || { std::alloc::Layout::from_size_align(8, 3).unwrap(); }),

    ("poison", "concurrency", || { *poisoned(1).lock().unwrap() = 2; }),
    ("poison", "concurrency", || { poisoned(1).lock().expect("the ledger lock"); }),
    ("poison", "concurrency", || { poisoned(1).try_lock().unwrap(); }),
    ("poison", "concurrency", || {
        let m = Arc::new(RwLock::new(1)); let n = Arc::clone(&m);
        let _ = thread::spawn(move || { let _g = n.write().unwrap(); panic!("writer gave up") }).join();
        m.read().unwrap();
    }),
    ("try_lock", "concurrency", || { let m = Mutex::new(1); let _g = m.lock().unwrap(); m.try_lock().unwrap(); }),
    ("try_lock", "concurrency", || { let m = RwLock::new(1); let _g = m.read().unwrap(); m.try_write().unwrap(); }),
    ("try_lock", "concurrency", || { let m = Mutex::new(1); let _g = m.lock().unwrap(); m.try_lock().expect("the account is locked by another request"); }),
    ("try_lock", "concurrency", || { Err::<(), _>(DeadlockDetected).unwrap() }),
    ("try_lock", "concurrency", || panic!("lock on account 7 not acquired within 500 ms")),
    ("try_lock", "concurrency", || panic!("possible deadlock: worker 3 waits for worker 1")),
    ("channel", "concurrency", || { let (s, r) = channel::<u8>(); drop(s); r.recv().expect("the feeder thread is alive"); }),
    ("channel", "concurrency", || { let (s, r) = channel::<u8>(); drop(r); s.send(1).expect("the writer thread is alive"); }),
    ("channel", "concurrency", || { let (s, r) = channel::<u8>(); drop(s); r.try_recv().unwrap(); }),
    ("channel", "concurrency", || { let (_s, r) = channel::<u8>(); r.try_recv().unwrap(); }),
    ("channel", "concurrency", || { let (_s, r) = channel::<u8>(); r.recv_timeout(Duration::from_millis(20)).unwrap(); }),
    ("channel", "concurrency", || { let (s, r) = channel::<u8>(); drop(s); r.recv_timeout(Duration::from_millis(20)).unwrap(); }),
    ("channel", "concurrency", || { let (s, r) = sync_channel::<u8>(1); drop(r); s.try_send(1).unwrap(); }),
    ("channel", "concurrency", || { let (s, r) = channel::<u8>(); drop(s); if let Err(e) = r.recv() { panic!("worker loop: {e}") } }),
    ("channel", "concurrency", || { let (s, r) = channel::<u8>(); drop(r); if let Err(e) = s.send(1) { panic!("dispatch: {e}") } }),
    ("join", "concurrency", || { thread::spawn(|| { let v: Vec<u8> = vec![]; v.iter().max().unwrap(); }).join().unwrap(); }),
    ("join", "concurrency", || { thread::Builder::new().name("indexer".into()).spawn(|| panic!("index is stale")).unwrap().join().unwrap(); }),
    ("join", "concurrency", || { thread::spawn(|| { "x".parse::<u8>().unwrap(); }).join().expect("the import thread panicked"); }),
    ("join", "concurrency", || { thread::scope(|s| { s.spawn(|| assert_eq!(black_box(1), 2)); }); }),
    ("join", "concurrency", || { thread::spawn(|| { black_box(1 / black_box(0)); }).join().unwrap(); }),

    ("variable", "configuration", || { env::var("DATABASE_URL").unwrap(); }),
    ("variable", "configuration", || { env::var("API_TOKEN").expect("API_TOKEN must be set"); }),
    ("variable", "configuration", || { env::var("QUEUE_URL").expect("QUEUE_URL"); }),
    ("variable", "configuration", || { "many".parse::<u16>().expect("WORKERS must be a number"); }),
    ("variable", "configuration", || { "5s".parse::<f64>().expect("TIMEOUT is not a number of seconds"); }),
    ("variable", "configuration", || { "yes".parse::<bool>().expect("DEBUG must be true or false"); }),
    ("variable", "configuration", || { "localhost".parse::<SocketAddr>().expect("LISTEN_ADDR must be an address and a port"); }),
    ("variable", "configuration", || panic!("missing environment variable: REDIS_URL")),
    ("variable", "configuration", || panic!("environment variable RETRIES has an invalid value")),
    ("variable", "configuration", || { env::var("HOME_REGION").map_err(|e| format!("HOME_REGION: {e}")).unwrap(); }),
    ("file", "configuration", || { fs::read_to_string("/etc/orders/config.toml").expect("cannot read configuration"); }),
    ("file", "configuration", || { fs::read_to_string("config.yaml").expect("config.yaml"); }),
    ("file", "configuration", || { File::open("settings.json").expect("open settings"); }),
    ("file", "configuration", || { Err::<(), _>(ConfigError("missing key `server.port`".into())).unwrap() }),
    ("file", "configuration", || { Err::<(), _>(ConfigError("unknown log level: loud".into())).expect("invalid configuration") }),
    ("file", "configuration", || panic!("config error: `workers` must be at least 1, got 0")),
    ("file", "configuration", || panic!("unknown option --prot, expected --port")),
    ("file", "configuration", || panic!("failed to load TLS certificate from /etc/orders/tls.pem: No such file or directory (os error 2)")),
    ("file", "configuration", || panic!("invalid config: TOML parse error at line 3, column 8")),

    ("number", "data_validation", || { "12a".parse::<i32>().unwrap(); }),
    ("number", "data_validation", || { "".parse::<u8>().unwrap(); }),
    ("number", "data_validation", || { "300".parse::<u8>().unwrap(); }),
    ("number", "data_validation", || { "-200".parse::<i8>().expect("a temperature"); }),
    ("number", "data_validation", || { "".parse::<f32>().unwrap(); }),
    ("number", "data_validation", || { u8::try_from(black_box(999i32)).expect("the quantity fits"); }),
    ("number", "data_validation", || { "0".parse::<std::num::NonZeroU8>().unwrap(); }),
    ("number", "data_validation", || { u64::from_str_radix("zz", 16).unwrap(); }),
    ("number", "data_validation", || { char::try_from(0xD800u32).unwrap(); }),
    ("number", "data_validation", || { "ab".parse::<char>().unwrap(); }),
    ("number", "data_validation", || { "maybe".parse::<bool>().expect("the flag of the row"); }),
    ("text", "data_validation", || { String::from_utf8(vec![0xff, 0xfe]).unwrap(); }),
    ("text", "data_validation", || { std::str::from_utf8(&black_box([b'a', 0xc3])).unwrap(); }),
    ("text", "data_validation", || { String::from_utf16(&[0xD800]).unwrap(); }),
    ("text", "data_validation", || { CString::new("a\0b").unwrap(); }),
    ("text", "data_validation", || { std::ffi::CStr::from_bytes_with_nul(b"abc").unwrap(); }),
    ("text", "data_validation", || { "999.1.1.1".parse::<IpAddr>().unwrap(); }),
    ("text", "data_validation", || { "10.0.0.1:http".parse::<SocketAddr>().unwrap(); }),
    ("text", "data_validation", || { let mut s = String::new(); (&[0xffu8][..]).read_to_string(&mut s).unwrap(); }),
    ("text", "data_validation", || { Err::<(), _>(io::Error::new(io::ErrorKind::InvalidData, "bad magic number")).unwrap() }),
    ("text", "data_validation", || { Err::<(), _>(io::Error::new(io::ErrorKind::InvalidInput, "record of negative length")).unwrap() }),
    ("rule", "data_validation", || { Err::<(), _>(ValidationError { field: "email", reason: "no @" }).unwrap() }),
    ("rule", "data_validation", || panic!("invalid order: quantity must be positive, got -2")),
    ("rule", "data_validation", || panic!("checksum mismatch: expected 9f, got 00")),
    ("rule", "data_validation", || panic!("malformed record at line 7: expected 5 columns, got 4")),
    ("rule", "data_validation", || panic!("failed to parse payload: expected value at line 1 column 5")),
    ("rule", "data_validation", || panic!("decode body: missing field `price` at line 1 column 40")),
    ("rule", "data_validation", || { SystemTime::UNIX_EPOCH.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(5)).unwrap(); }),
    ("rule", "data_validation", || panic!("unsupported schema version 9")),

    ("program", "dependency_failure", || { Command::new("wkhtmltopdf9").status().expect("run the pdf converter"); }),
    ("program", "dependency_failure", || { Command::new("no-such-helper").spawn().expect("failed to start helper"); }),
    ("program", "dependency_failure", || { let s = Command::new("false").status().unwrap(); assert!(s.success(), "backup tool failed: {s}"); }),
    ("program", "dependency_failure", || { let s = Command::new("sh").args(["-c", "kill -9 $$"]).status().unwrap(); panic!("converter died: {s}"); }),
    ("program", "dependency_failure", || { let s = Command::new("sh").args(["-c", "exit 127"]).status().unwrap(); panic!("command exited with {s}"); }),
    ("program", "dependency_failure", || { let s = Command::new("false").status().unwrap(); s.success().then_some(()).ok_or(format!("pg_dump: {s}")).unwrap(); }),
    ("upstream", "dependency_failure", || { Err::<(), _>(UpstreamError::Status(503)).unwrap() }),
    ("upstream", "dependency_failure", || { Err::<(), _>(UpstreamError::CircuitOpen { service: "inventory" }).unwrap() }),
    ("upstream", "dependency_failure", || panic!("inventory answered 500 Internal Server Error")),
    ("upstream", "dependency_failure", || panic!("upstream service unavailable: payments")),
    ("upstream", "dependency_failure", || panic!("cannot load plugin: libpricing.so: cannot open shared object file")),
    ("upstream", "configuration", || panic!("database error: relation \"orders\" does not exist")),
    ("upstream", "dependency_failure", || panic!("database disk image is malformed")),
    ("upstream", "dependency_failure", || panic!("bad gateway from recommender: 502")),

    ("connect", "network", || { TcpStream::connect("127.0.0.1:1").unwrap(); }),
    ("connect", "network", || { TcpStream::connect("127.0.0.1:1").expect("connect to the broker"); }),
    ("connect", "network", || { TcpStream::connect("db.internal.invalid:5432").unwrap(); }),
    ("connect", "network", || { TcpStream::connect("inventory.invalid:80").expect("resolve inventory"); }),
    ("connect", "network", || { os(110).expect("connect to payments"); }),
    ("connect", "network", || { os(101).unwrap(); }),
    ("connect", "network", || { os(113).expect("reach replica"); }),
    ("connect", "network", || { Err::<(), _>(io::Error::new(io::ErrorKind::TimedOut, "connection timed out")).unwrap() }),
    ("connect", "network", || { std::os::unix::net::UnixStream::connect("/run/orders.sock").expect("connect to agent socket"); }),
    ("connect", "network", || { TcpStream::connect("no port").unwrap(); }),
    ("bind", "network", || { let l = listener(); TcpListener::bind(l.local_addr().unwrap()).unwrap(); }),
    ("bind", "network", || { TcpListener::bind("203.0.113.9:80").unwrap(); }),
    ("bind", "network", || { let a = UdpSocket::bind("127.0.0.1:0").unwrap(); UdpSocket::bind(a.local_addr().unwrap()).expect("bind the metrics port"); }),
    ("broken", "network", || { let mut c = reset(); let mut b = [0; 9]; loop { c.read_exact(&mut b).unwrap(); } }),
    ("broken", "network", || { let mut c = reset(); for _ in 0..9 { c.write_all(b"x").unwrap(); thread::sleep(Duration::from_millis(9)); } }),
    ("broken", "network", || { let l = listener(); let mut c = TcpStream::connect(l.local_addr().unwrap()).unwrap(); let (s, _) = l.accept().unwrap(); drop(s); c.read_exact(&mut [0; 4]).expect("read the header"); }),
    ("broken", "network", || { let l = listener(); let mut c = TcpStream::connect(l.local_addr().unwrap()).unwrap(); c.set_read_timeout(Some(Duration::from_millis(20))).unwrap(); c.read(&mut [0; 4]).unwrap(); }),
    ("broken", "network", || { let l = listener(); l.set_nonblocking(true).unwrap(); l.accept().unwrap(); }),
    ("broken", "network", || { UdpSocket::bind("127.0.0.1:0").unwrap().send(b"x").unwrap(); }),
    ("broken", "network", || { os(32).expect("send the answer"); }),
    ("broken", "network", || { os(103).expect("accept"); }),
    ("broken", "network", || { let u = UdpSocket::bind("127.0.0.1:0").unwrap(); u.set_read_timeout(Some(Duration::from_millis(20))).unwrap(); u.recv(&mut [0; 9]).expect("wait for the time server"); }),
    ("broken", "network", || { io::stdout().lock(); panic!("failed printing to stdout: Broken pipe (os error 32)") }),
    ("broken", "network", || panic!("request to payments timed out after 3s")),

    ("memory", "resource_exhaustion", || { black_box(Vec::<u8>::with_capacity(1 << 46)); }),
    ("memory", "resource_exhaustion", || { black_box(vec![0u64; 1 << 45]); }),
    ("memory", "resource_exhaustion", || { let mut v: Vec<u8> = vec![]; v.try_reserve(1 << 50).unwrap(); }),
    ("memory", "resource_exhaustion", || { os(12).expect("map the index"); }),
    ("memory", "resource_exhaustion", || { let mut s = String::new(); s.try_reserve_exact(1 << 47).expect("buffer"); }),
    ("memory", "resource_exhaustion", || { black_box(Vec::<u64>::with_capacity(black_box(usize::MAX))); }),
    ("files", "resource_exhaustion", || { os(24).unwrap(); }),
    ("files", "resource_exhaustion", || { os(24).expect("accept connection"); }),
    ("files", "resource_exhaustion", || { os(23).unwrap(); }),
    ("files", "resource_exhaustion", || { os(28).expect("write journal"); }),
    ("files", "resource_exhaustion", || { OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap(); }),
    ("files", "resource_exhaustion", || { os(122).expect("store upload"); }),
    ("files", "resource_exhaustion", || { os(27).unwrap(); }),
    ("threads", "resource_exhaustion", || { thread::Builder::new().stack_size(1 << 46).spawn(|| ()).unwrap(); }),
    ("threads", "resource_exhaustion", || { thread::Builder::new().stack_size(1 << 46).spawn(|| ()).expect("failed to spawn thread"); }),
    ("threads", "resource_exhaustion", || { os(11).expect("fork worker"); }),
    ("threads", "resource_exhaustion", || { fn depth(n: u64) -> u64 { black_box(depth(black_box(n) + 1)) + 1 } black_box(depth(0)); }),
    ("threads", "resource_exhaustion", || { thread::Builder::new().name("parser".into()).spawn(|| { fn depth(n: u64) -> u64 { black_box(depth(black_box(n) + 1)) + 1 } black_box(depth(0)); }).unwrap().join().unwrap(); }),
    ("pool", "resource_exhaustion", || { let (s, _r) = sync_channel::<u8>(1); s.try_send(1).unwrap(); s.try_send(2).unwrap(); }),
    ("pool", "resource_exhaustion", || { Err::<(), _>(PoolExhausted { size: 16 }).unwrap() }),
    ("pool", "resource_exhaustion", || panic!("connection pool exhausted: 16 of 16 in use")),
    ("pool", "resource_exhaustion", || panic!("job queue is full (capacity 1024)")),
    ("pool", "resource_exhaustion", || { let (s, _r) = sync_channel::<u8>(0); s.try_send(1).expect("queue job"); }),

    ("permission", "security", || { os(13).unwrap(); }),
    ("permission", "security", || { os(1).expect("drop privileges"); }),
    ("permission", "security", || { os(13).expect("open key store"); }),
    ("permission", "security", || { os(30).expect("write report"); }),
    ("permission", "security", || { Err::<(), _>(io::Error::new(io::ErrorKind::PermissionDenied, "token lacks scope")).unwrap() }),
    ("auth", "security", || { Err::<(), _>(AuthError::InvalidToken).unwrap() }),
    ("auth", "security", || { Err::<(), _>(AuthError::Forbidden { user: 7 }).expect("authorize") }),
    ("auth", "security", || panic!("signature verification failed")),
    ("auth", "security", || panic!("401 Unauthorized from registry")),
    ("auth", "security", || panic!("invalid peer certificate: UnknownIssuer")),
    ("auth", "security", || panic!("access denied: user 7 may not refund")),
    ("auth", "security", || panic!("path escapes the upload directory: ../../etc/passwd")),
    ("auth", "security", || panic!("HMAC mismatch on webhook")),

    ("nothing", "unknown", || panic!()),
    ("nothing", "unknown", || panic!("oops")),
    ("nothing", "unknown", || panic!("something went wrong")),
    ("nothing", "unknown", || panic!("error")),
    ("nothing", "unknown", || panic!("failed")),
    ("nothing", "unknown", || { Err::<(), ()>(()).unwrap() }),
    ("nothing", "unknown", || { std::panic::panic_any(7u8); }),
    ("nothing", "unknown", || { Err::<(), _>(io::Error::other("unknown error")).unwrap() }),
    ("nothing", "unknown", || { Err::<(), Box<dyn std::error::Error>>("internal error".into()).unwrap() }),
];

fn main() {
    let mut args = env::args().skip(1);
    let Some(number) = args.next() else {
        for (number, (family, category, _)) in CASES.iter().enumerate() {
            println!("{number} {family} {category}");
        }
        return;
    };
    let case: usize = number.parse().expect("a number of the list");
    (CASES[case].2)();
}
