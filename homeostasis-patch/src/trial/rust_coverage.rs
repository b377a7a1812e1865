//! What instrumented programs of Rust say of the code that ran.
//!
//! Cargo runs a wrapper in place of the compiler for the packages of the workspace, and only for them:
//! dependencies are not built anew. The tools that read what the programs leave come with the
//! toolchain, as the component `llvm-tools`.
//!
//! Sources: The rustc book, "Instrumentation-based code coverage"; The Cargo book, "Configuration",
//! `build.rustc-workspace-wrapper`; `geninfo(1)`, "Tracefile format".

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::{fs, io};

/// The wrapper, in the folder of the tracer. It notes every program it has made, and the toolchain.
pub(super) const WRAPPER: &str = "rustc";
const WRAPPER_TEXT: &str = r#"#!/bin/sh
place=$(dirname "$0")
folder= name= extra= is_program= before=
for word in "$@"; do
    case "$before" in
    --out-dir) folder=$word ;;
    --crate-name) name=$word ;;
    --crate-type) [ "$word" = bin ] && is_program=1 ;;
    -C) case "$word" in extra-filename=*) extra=${word#*=} ;; esac ;;
    esac
    [ "$word" = --test ] && is_program=1
    before=$word
done
# Without a folder cargo only asks what the compiler can do.
if [ -n "$is_program" ] && [ -n "$folder" ]; then
    echo "$folder/$name$extra" >>"$place/programs"
    [ -e "$place/toolchain" ] || "$1" --print sysroot >"$place/toolchain"
fi
exec "$@" -Cinstrument-coverage
"#;

/// What makes one tracefile of all that the programs left, in the folder of the tracer. Its argument is
/// the file in question.
pub(super) const SUMMARY: &str = "summarize";
const SUMMARY_TEXT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
read -r toolchain <toolchain || exit 1
for tools in "$toolchain"/lib/rustlib/*/bin; do
    [ -x "$tools/llvm-cov" ] && break
done
[ -x "$tools/llvm-cov" ] || exit 127
ls | grep '\.profraw$' >raw
"$tools/llvm-profdata" merge --sparse --failure-mode=all --input-files=raw -o merged || exit 1
source=$1
set --
sort -u programs >once
while read -r program; do
    [ -f "$program" ] && set -- "$@" --object "$program"
done <once
"$tools/llvm-cov" export --format=lcov --instr-profile=merged "$@" --sources "$source" >tracefile
"#;

/// How the summary ends where the tools are missing.
pub(super) const NO_TOOLS: i32 = 127;
/// What it writes, in the folder of the tracer.
pub(super) const TRACEFILE: &str = "tracefile";
/// What instrumented programs write, one file each.
pub(super) const PROFILES: &str = "%p-%m.profraw";

/// Writes both programs.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    for (name, text) in [(WRAPPER, WRAPPER_TEXT), (SUMMARY, SUMMARY_TEXT)] {
        let path = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// What a `tracefile` says of `added`, lines of the file `traced` with the text `source`: those that
/// ran, and those that did not. `None` if it does not speak of the file. Lines without a letter or
/// digit are neither.
pub(super) fn judge(
    tracefile: &str,
    traced: &str,
    source: &str,
    added: &BTreeSet<u64>,
) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
    let (mut ran, mut missed) = (BTreeSet::new(), BTreeSet::new());
    let (mut is_told, mut is_ours) = (false, false);
    let says_something: BTreeSet<u64> = (1..)
        .zip(source.lines())
        .filter(|(_, line)| line.contains(char::is_alphanumeric))
        .map(|(number, _)| number)
        .collect();
    for line in tracefile.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            is_ours = file == traced;
            is_told |= is_ours;
        }
        let count = line.strip_prefix("DA:").filter(|_| is_ours);
        let Some((number, count)) = count.and_then(|told| told.split_once(',')) else {
            continue;
        };
        let (Ok(number), Ok(count)) = (number.parse::<u64>(), count.parse::<u64>()) else {
            continue;
        };
        if added.contains(&number) && says_something.contains(&number) {
            if count > 0 { &mut ran } else { &mut missed }.insert(number);
        }
    }
    missed.retain(|line| !ran.contains(line));
    is_told.then_some((ran, missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_file_in_question_are_told_by_their_counts() {
        let source = "fn price() {\n    if a {\n        b();\n    }\n    c();\n}\n";
        let tracefile = "SF:/p/other.rs\nDA:3,0\nend_of_record\n\
            SF:/p/shop.rs\nFN:1,price\nDA:1,4\nDA:2,4\nDA:3,1\nDA:4,0\nDA:5,0\nDA:x,y\nDA:9\nend_of_record\n";
        let added: BTreeSet<u64> = (2..=9).collect();
        let judged = judge(tracefile, "/p/shop.rs", source, &added);
        assert_eq!(judged, Some(([2, 3].into(), [5].into())));
        assert_eq!(judge(tracefile, "/p/third.rs", source, &added), None);
    }
}
