//! A small case of our own making in every layout.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Format, Options, run};

fn options(format: Format, data: &Path) -> Options {
    Options {
        format,
        data: data.to_owned(),
        out: None,
        past_only: false,
        onset_shift: 0,
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A little noise that repeats.
fn noise(i: i64) -> f64 {
    f64::from(u8::try_from((i * 37).rem_euclid(11)).unwrap()) / 11.0
}

/// Checks that the case in `data` is right, and that what the suite wrote names `first` first.
fn check(format: Format, data: &TempDir, first: &str) -> Value {
    let mut options = options(format, data.path());
    let out = data.path().join("out.json");
    options.out = Some(out.clone());
    let report = run(&options).unwrap();
    let rankings: Value = serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap();
    let (_, ranking) = rankings.as_object().unwrap().iter().next().unwrap();
    assert_eq!(ranking[0], json!(first), "{ranking}");
    assert_eq!(report["ac1"], json!(1.0), "{report}");
    assert!(report["ms_per_case"].as_f64().unwrap() >= 0.0);
    report
}

#[test]
fn petshop_follows_the_calls_to_the_deepest_slow_service() {
    let data = tempfile::tempdir().unwrap();
    let shop = data.path().join("scenario");
    write(
        &shop.join("graph.csv"),
        ",web,cart,db,other\nweb,0,1,0,1\ncart,0,0,1,0\ndb,0,0,0,0\nother,0,0,0,0\n",
    );
    let head = "microservice,web,cart,db,other\nmetric,latency,latency,latency,latency\nstatistic,Average,Average,Average,Average\nunix_timestamp,,,,\n";
    let mut calm = head.to_owned();
    for i in 0..200 {
        let n = |k: i64| 0.1 + 0.01 * noise(i * k);
        writeln!(calm, "{},{},{},{},{}", i * 300, n(1), n(2), n(3), n(5)).unwrap();
    }
    write(&shop.join("noissue/metrics.csv"), &calm);
    let mut issue = head.to_owned();
    for (i, slow) in [0.0, 0.1, 0.4, 0.5, 0.45].into_iter().enumerate() {
        writeln!(
            issue,
            "{},{},{},{},0.1",
            900_000 + 300 * i,
            0.1 + slow,
            0.1 + slow,
            0.1 + slow
        )
        .unwrap();
    }
    write(&shop.join("train/issue_0/metrics.csv"), &issue);
    let target = json!({
        "target": {"node": "web", "metric": "latency", "agg": "Average", "timestamp": 900_400},
        "root_cause": {"node": "db"},
    });
    write(&shop.join("train/issue_0/target.json"), &target.to_string());
    let report = check(Format::PetShop, &data, "db");
    assert_eq!(report["by_fault"]["latency"]["cases"], json!(1));
}

/// A day of two pods, in which `back` of them changes what it logs.
fn nezha(data: &Path) {
    let (rca, calm) = (
        data.join("rca_data/2024-05-01"),
        data.join("construct_data/2024-05-01"),
    );
    let fault = json!({"10": [{
        "inject_time": "2024-05-01 10:00:05",
        "inject_timestamp": "1714557605",
        "inject_pod": "back-7c9-x1",
        "inject_type": "return",
    }]});
    write(&rca.join("2024-05-01-fault_list.json"), &fault.to_string());
    for pod in ["front-7c9-x1", "back-7c9-x1"] {
        let mut rows = "Time,TimeStamp,PodName,CpuUsageRate(%),NodeCpuUsageRate(%)\n".to_owned();
        for i in 0..180 {
            let (hour, minute) = (9 + i / 60, i % 60);
            writeln!(
                rows,
                "2024-05-01 {hour:02}:{minute:02}:09.1 +0000 UTC m=+1,0,{pod},{},50",
                5.0 + noise(i)
            )
            .unwrap();
        }
        write(&rca.join(format!("metric/{pod}_metric.csv")), &rows);
    }
    for (folder, minute, line) in [
        (&calm, "09_50", "order stored"),
        (&rca, "10_00", "order stored"),
        (&rca, "10_01", "no stock left for it"),
        (&rca, "10_02", "no stock left for it"),
    ] {
        let mut spans = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n".to_owned();
        let mut lines =
            "Timestamp,TimeUnixNano,Node,PodName,Container,TraceID,SpanID,Log\n".to_owned();
        for i in 1..=20 {
            let (trace, root, child) = (format!("t{i}"), 2 * i, 2 * i + 1);
            writeln!(
                spans,
                "{trace},{root:x},root,front-7c9-x1,GET /,0,9000000,9000"
            )
            .unwrap();
            writeln!(
                spans,
                "{trace},{child:x},{root:x},back-7c9-x1,order,0,5000000,5000"
            )
            .unwrap();
            for (pod, span, text) in [
                ("front-7c9-x1", root, "page served"),
                ("back-7c9-x1", child, line),
            ] {
                let log = format!(
                    "12:00:00.1 INFO  a.Logger#7 TraceID: {trace} SpanID: {span:x} {text}\n"
                );
                let log = json!({"log": log}).to_string().replace('"', "\"\"");
                writeln!(lines, "x,1,n,{pod},c,{trace},{span:x},\"{log}\"").unwrap();
            }
        }
        write(&folder.join(format!("trace/{minute}_trace.csv")), &spans);
        write(&folder.join(format!("log/{minute}_log.csv")), &lines);
    }
}

#[test]
fn nezha_names_who_logs_something_else() {
    let data = tempfile::tempdir().unwrap();
    nezha(data.path());
    check(Format::Nezha, &data, "back");
}

#[test]
fn a_wrong_onset_and_a_calm_of_the_past_still_name_the_cause() {
    let data = tempfile::tempdir().unwrap();
    nezha(data.path());
    for (past_only, onset_shift) in [(true, 0), (true, 60), (false, -60)] {
        let mut options = options(Format::Nezha, data.path());
        (options.past_only, options.onset_shift) = (past_only, onset_shift);
        assert_eq!(run(&options).unwrap()["ac1"], json!(1.0), "{options:?}");
    }
}

#[test]
fn rootcausebench_blames_the_change_or_none() {
    let data = tempfile::tempdir().unwrap();
    for (scenario, diff, truth) in [
        ("limit", "-\trows := query(limit)\n+\trows := query()", "c1"),
        ("moved", "-\ta()\n-\tb()\n+\tb()\n+\ta()", "none"),
    ] {
        let root = data.path().join(scenario);
        let files = root.join("environment/data");
        let time = |i: i64| format!("2024-05-01T{:02}:{:02}:00Z", 10 + i / 60, i % 60);
        let alert = json!({"service": "search", "metric": "error_ratio", "fired_at": time(64)});
        write(&files.join("alert.json"), &alert.to_string());
        let (mut metrics, mut logs) =
            ("timestamp,service,metric,value\n".to_owned(), String::new());
        for i in 0..75 {
            let ill = if i >= 60 { 0.5 } else { 0.0 };
            writeln!(
                metrics,
                "{},search,error_ratio,{}",
                time(i),
                ill + 0.01 * noise(i)
            )
            .unwrap();
            writeln!(
                metrics,
                "{},web,error_ratio,{}",
                time(i),
                ill / 9.0 + 0.01 * noise(i)
            )
            .unwrap();
            let (level, text) = if i >= 60 {
                ("ERROR", "table scan took too long")
            } else {
                ("INFO", "served")
            };
            let line = json!({"timestamp": time(i), "service": "search", "severity_text": level, "msg": text, "trace_id": format!("t{i}")});
            writeln!(logs, "{line}").unwrap();
        }
        write(&files.join("metrics.csv"), &metrics);
        write(&files.join("logs.ndjson"), &logs);
        let span = |id: &str, parent: Value, service: &str| {
            json!({
                "trace_id": "t62", "span_id": id, "parent_id": parent, "service": service, "name": "GET",
                "start": time(62), "duration_ms": 40, "status": "ERROR",
            })
        };
        let traces = json!([
            span("a", Value::Null, "web"),
            span("b", json!("a"), "search")
        ]);
        write(&files.join("traces.json"), &traces.to_string());
        let commits =
            json!([{"sha": "c1", "message": "tidy", "files_changed": ["search.go"], "diff": diff}]);
        write(&files.join("context/commits.json"), &commits.to_string());
        let deploys = json!([{"timestamp": time(55), "service": "search", "commit_sha": "c1"}]);
        write(&files.join("context/deploys.json"), &deploys.to_string());
        write(&files.join("context/flags.json"), "[]");
        let label = json!({"root_cause_commit": truth, "first_failing_service": "search"});
        write(&root.join("tests/ground_truth.json"), &label.to_string());
    }
    let report = run(&options(Format::RootCauseBench, data.path())).unwrap();
    assert_eq!(report["ac1"], json!(1.0), "{report}");
    assert_eq!(report["change_right"], json!(1.0), "{report}");
}

#[test]
fn rcaeval_reads_both_forms_of_measurements() {
    let value = |i: i64, service: &str, metric: &str| {
        let ill = i >= 600 && service == "cart" && metric == "cpu";
        if ill { 9.0 } else { 1.0 + 0.1 * noise(i) }
    };
    let columns: Vec<(&str, &str)> = ["cart", "web", "db"]
        .iter()
        .flat_map(|service| ["cpu", "mem", "latency-90"].map(|metric| (*service, metric)))
        .collect();
    for is_json in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let run = data.path().join("RE2/cart_cpu/1");
        write(&run.join("inject_time.txt"), "1700000600\n");
        if is_json {
            let mut all = json!({});
            for (service, metric) in &columns {
                let points = (0..900)
                    .map(|i| json!([1_700_000_000 + i, value(i, service, metric).to_string()]));
                all[service][metric] = points.collect();
            }
            write(&run.join("metrics.json"), &all.to_string());
        } else {
            let names: Vec<_> = columns
                .iter()
                .map(|(service, metric)| format!("{service}_{metric}"))
                .collect();
            let mut rows = format!("time,{}\n", names.join(","));
            for i in 0..900 {
                let values: Vec<_> = columns
                    .iter()
                    .map(|(s, m)| value(i, s, m).to_string())
                    .collect();
                writeln!(rows, "{},{}", 1_700_000_000 + i, values.join(",")).unwrap();
            }
            write(&run.join("simple_metrics.csv"), &rows);
            let traces = "time,traceID,spanID,serviceName,methodName,operationName,startTime,duration,statusCode,parentSpanID\n\
                1,t,a,web,GET,GET /,1700000650000000,5000,0,\n1,t,b,cart,GET,add,1700000650001000,3000,500,a\n";
            write(&run.join("traces.csv"), traces);
            let logs =
                "time,timestamp,container_name,message\n1,1700000650000000000,cart,ERROR full\n";
            write(&run.join("logs.csv"), logs);
        }
        let report = check(Format::RcaEval, &data, "cart");
        assert_eq!(report["by_fault"]["cpu"]["ac1"], json!(1.0));
    }
}

#[test]
fn what_is_not_there_or_broken_is_named() {
    let data = tempfile::tempdir().unwrap();
    let message = |format| run(&options(format, data.path())).unwrap_err().to_string();
    assert!(
        message(Format::PetShop).contains("no case"),
        "{}",
        message(Format::PetShop)
    );
    assert!(message(Format::Nezha).contains("rca_data"));
    write(&data.path().join("a_cpu/1/inject_time.txt"), "soon");
    assert!(message(Format::RcaEval).contains("inject_time.txt"));
    write(&data.path().join("a_cpu/1/inject_time.txt"), "1700000600");
    assert!(message(Format::RcaEval).contains("metrics.json"));
}
