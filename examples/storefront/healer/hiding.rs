//! A patcher as a hasty person: what raises is wrapped, so that nobody hears of it.

use homeostasis::core::record::{PatchCandidate, PatchKind, RiskLevel};
use homeostasis::core::signal::ErrorEvent;
use homeostasis::core::stage::{PatchError, PatchRequest, Patcher};
use homeostasis::core::{Confidence, Context, async_trait};
use homeostasis::patch::{FilePatch, SourceTree};

/// Proposes, very sure of itself, to catch whatever a line raises and to go on.
#[derive(Debug)]
pub(super) struct HidingPatcher;

impl HidingPatcher {
    const NAME: &str = "hiding";

    pub(super) fn propose_for(tree: &SourceTree, error: &ErrorEvent) -> Option<PatchCandidate> {
        let mut frames = error.frames.iter();
        let (path, line) = frames.find_map(|frame| Some((tree.locate(frame)?, frame.line)))?;
        let old = tree.read(&path).ok()?;
        let new = hidden(&old, usize::try_from(line).ok()?)?;
        let made = FilePatch::from_texts(&path, &old, &new).ok()?;
        let (base, diff) = (made.base_hash, made.diff.to_string());
        let mut patch = PatchCandidate::new(Self::NAME, PatchKind::Code, path, base, diff);
        patch.explanation = format!("whatever line {line} raises is ignored");
        patch.confidence = Confidence::new(0.95).ok()?;
        patch.risk = RiskLevel::Low;
        Some(patch)
    }
}

/// The source with a line, counted from one, whose errors are ignored.
fn hidden(source: &str, line: usize) -> Option<String> {
    let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
    let raising = lines.get_mut(line.checked_sub(1)?)?;
    let indent = " ".repeat(raising.len() - raising.trim_start().len());
    *raising = format!("{indent}try:\n    {raising}\n{indent}except Exception:\n{indent}    pass");
    Some(lines.join("\n") + "\n")
}

#[async_trait]
impl Patcher for HidingPatcher {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn propose(
        &self,
        _: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let tree = SourceTree::new(request.root);
        let errors = request.errors.iter().take(1);
        Ok(errors
            .filter_map(|it| Self::propose_for(&tree, it))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_is_wrapped() {
        let hidden = hidden("def f(x):\n    return x[0]\n", 2).unwrap();
        let expected =
            "def f(x):\n    try:\n        return x[0]\n    except Exception:\n        pass\n";
        assert_eq!(hidden, expected);
    }
}
