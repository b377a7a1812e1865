//! Generated documents and edits: exact change, exact way back, no panic.

use homeostasis_patch::{ConfigEdit, ConfigPath, FilePatch, Format, PathSegment};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z :#'\"\\[\\]{},&*!|>%@`\\\\\n\t-]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = scalar();
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]{1,2}", inner, 1..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]{1,2}", tree(), 1..5)
        .prop_map(|m| Value::Object(m.into_iter().collect()))
}

/// Block YAML with comments; scalars as JSON, which YAML reads alike for this purpose.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, child) in map {
                out.push_str(&format!("{pad}{key}:"));
                yaml_child(child, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for child in items {
                out.push_str(&format!("{pad}-"));
                yaml_child(child, indent, out);
            }
        }
        _ => unreachable!("only collections are blocks"),
    }
}

fn yaml_child(child: &Value, indent: usize, out: &mut String) {
    match child {
        Value::Object(_) | Value::Array(_) => {
            out.push('\n');
            yaml(child, indent + 2, out);
        }
        Value::String(s) => {
            let escaped: String = s
                .chars()
                .map(|c| match c {
                    '"' | '\\' => format!("\\{c}"),
                    c if c.is_ascii_graphic() || c == ' ' => c.to_string(),
                    c => format!("\\U{:08x}", u32::from(c)),
                })
                .collect();
            out.push_str(&format!(" \"{escaped}\"  # note\n"));
        }
        number => out.push_str(&format!(" {number}  # note\n")),
    }
}

fn toml(root: &Map<String, Value>) -> String {
    // Inline values under the root: enough to cross arrays and inline tables.
    let mut source = "# top\nzz = 0\n".to_owned();
    for (key, value) in root {
        let edit = ConfigEdit::insert(
            ConfigPath::new(vec![PathSegment::Key(key.clone())]).unwrap(),
            value.clone(),
        );
        source = edit.apply(&source, Format::Toml).unwrap();
        source = format!("{}  # note\n", source.trim_end());
    }
    source
}

/// JSON is flow YAML, once its text is ASCII.
fn flow_yaml(value: &Value) -> String {
    let json = serde_json::to_string_pretty(value).unwrap() + " # note\n";
    let escape = |c: char| match c {
        ' '..='~' | '\n' => c.to_string(),
        c => format!("\\U{:08x}", u32::from(c)),
    };
    json.chars().map(escape).collect()
}

fn render(format: Format, flow: bool, value: &Value) -> String {
    match format {
        Format::Yaml if flow => flow_yaml(value),
        Format::Json => serde_json::to_string_pretty(value).unwrap() + "\n",
        Format::Toml => toml(value.as_object().unwrap()),
        _ => {
            let mut out = "# top\n".to_owned();
            yaml(value, 0, &mut out);
            out
        }
    }
}

/// All paths of a value.
fn paths(value: &Value, at: &mut Vec<PathSegment>, out: &mut Vec<Vec<PathSegment>>) {
    let children: Vec<(PathSegment, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| (PathSegment::Key(k.clone()), v))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (PathSegment::Index(i), v))
            .collect(),
        _ => return,
    };
    for (step, child) in children {
        at.push(step);
        out.push(at.clone());
        paths(child, at, out);
        at.pop();
    }
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Toml => "c.toml",
        Format::Yaml => "c.yaml",
        _ => "c.json",
    }
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Toml), Just(Format::Yaml), Just(Format::Json)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_scalar_can_be_set_and_comments_stay(
        format in any_format(), flow in any::<bool>(), doc in document(), new in scalar(), pick in any::<prop::sample::Index>(),
    ) {
        let source = render(format, flow, &doc);
        let mut all = Vec::new();
        paths(&doc, &mut Vec::new(), &mut all);
        let path = ConfigPath::new(pick.get(&all).clone()).unwrap();
        let leaf = path.segments().iter().fold(&doc, |v, s| match s {
            PathSegment::Key(k) => &v[k.as_str()],
            PathSegment::Index(i) => &v[*i],
        });
        let edit = ConfigEdit::set(path, new.clone()).expecting(leaf.clone());
        let edited = edit.apply(&source, format).unwrap();
        if !leaf.is_object() && !leaf.is_array() {
            prop_assert_eq!(edited.matches("# note").count() >= source.matches("# note").count(), true);
            prop_assert_eq!(edited.lines().count(), source.lines().count());
        }
        // Idempotent: setting what is there changes data to the same data.
        let again = ConfigEdit::set(edit.path.clone(), new.clone()).expecting(new);
        prop_assert_eq!(again.apply(&edited, format).unwrap(), edited);
    }

    #[test]
    fn edits_and_their_inverse_restore_the_bytes(
        format in any_format(), flow in any::<bool>(), doc in document(), new in scalar(), verb in 0..3,
        pick in any::<prop::sample::Index>(),
    ) {
        let source = render(format, flow, &doc);
        let mut all = Vec::new();
        paths(&doc, &mut Vec::new(), &mut all);
        let mut steps = pick.get(&all).clone();
        let edit = match verb {
            0 => ConfigEdit::set(ConfigPath::new(steps).unwrap(), new),
            1 => ConfigEdit::remove(ConfigPath::new(steps).unwrap()),
            _ => {
                if let Some(PathSegment::Key(k)) = steps.last_mut() { k.push_str("zz"); }
                ConfigEdit::insert(ConfigPath::new(steps).unwrap(), new)
            }
        };
        match FilePatch::from_edits(name(format), &source, vec![edit]) {
            Ok(patch) => {
                let edited = patch.apply(&source).unwrap();
                prop_assert_eq!(patch.inverted().apply(&edited).unwrap(), source);
            }
            // Only the removal of a block's only entry may be refused; equal values change nothing.
            Err(error) => prop_assert!(
                matches!(error, homeostasis_patch::FilePatchError::NoChange { .. })
                    || (verb == 1 && format == Format::Yaml && format!("{error:?}").contains("only entry")),
                "{error:?}\n{source}"
            ),
        }
    }

    #[test]
    fn no_source_panics(
        format in any_format(),
        source in prop_oneof![
            any::<String>(), r#"[\[\]{}:,"'#&*!|>=\- \n\ta-c0-9.?]{0,60}"#,
            r"(a|b|- |\? |\n|  |: |&x |\*x|<<: |\{|\}|\[|\]|,|#|\r\n|é|'|1|= ){0,20}",
        ],
        path in prop_oneof![Just("a"), Just("[0]"), Just("a[0]"), Just("a.b"), Just("b[1].a")],
        value in scalar(),
    ) {
        let path: ConfigPath = path.parse().unwrap();
        for edit in [
            ConfigEdit::set(path.clone(), value.clone()),
            ConfigEdit::set(path.clone(), json!({"x": [value.clone()]})),
            ConfigEdit::insert(path.clone(), value),
            ConfigEdit::remove(path),
        ] {
            let _ = edit.apply(&source, format);
        }
    }
}
