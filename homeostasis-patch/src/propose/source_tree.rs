//! The sources of a project, read and never written.

use std::path::{Component, Path, PathBuf};

use homeostasis_core::signal::Frame;

use crate::FilePatchError;
use crate::project_file::ProjectFile;

/// Folders of other people's code.
const FOREIGN: [&str; 8] = [
    "site-packages",
    "dist-packages",
    "node_modules",
    "vendor",
    ".cargo",
    ".rustup",
    ".venv",
    "target",
];

/// Where packages of Java begin.
const JAVA_ROOTS: [&str; 3] = ["src/main/java", "src", ""];

/// The text files of a project below a root: at most 4 MiB each, UTF-8, reached over no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    root: PathBuf,
}

impl SourceTree {
    /// The tree below `root`, which itself may be reached through links.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FilePatchError::Missing`], [`FilePatchError::Refused`] and [`FilePatchError::Io`].
    pub fn read(&self, path: &str) -> Result<String, FilePatchError> {
        Ok(ProjectFile::read(&self.root, path)?.text().to_owned())
    }

    /// The file of a frame, relative to the root, if it lies in the project.
    ///
    /// A path of another machine (a container's `/app/shop/cart.py`) is found by the longest end
    /// of it that exists below the root, of two names at least unless it is relative.
    /// Java's frames name a file only; its folder is that of the package.
    pub fn locate(&self, frame: &Frame) -> Option<String> {
        let file = frame.file.strip_prefix("file://").unwrap_or(&frame.file);
        let path = Path::new(file);
        let below = path.canonicalize().ok().filter(|_| path.is_absolute());
        let root = self.root.canonicalize().ok()?;
        let inside = below
            .as_deref()
            .and_then(|path| path.strip_prefix(&root).ok());
        let names = names(inside.unwrap_or(path))?;
        if names.is_empty() || names.iter().any(|name| FOREIGN.contains(name)) {
            return None;
        }
        if names.len() == 1 && path.extension().is_some_and(|end| end == "java") {
            return self.locate_java(&frame.function, names[0]);
        }
        let n_least = if path.is_absolute() && inside.is_none() {
            2
        } else {
            1
        };
        (0..names.len())
            .take_while(|start| names.len() - start >= n_least)
            .map(|start| names[start..].join("/"))
            .find(|path| self.holds(path))
    }

    fn locate_java(&self, function: &str, file: &str) -> Option<String> {
        let mut folders: Vec<_> = function.split('.').collect();
        folders.truncate(folders.len().saturating_sub(2));
        folders.push(file);
        let end = folders.join("/");
        JAVA_ROOTS
            .iter()
            .map(|root| format!("{root}/{end}").trim_start_matches('/').to_owned())
            .find(|path| self.holds(path))
    }

    fn holds(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }
}

/// The names of a path without its root; `None` if it climbs or is not UTF-8.
fn names(path: &Path) -> Option<Vec<&str>> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str, function: &str) -> Frame {
        Frame {
            file: file.to_owned(),
            function: function.to_owned(),
            ..Frame::default()
        }
    }

    #[test]
    fn a_frame_is_found_by_the_longest_end_that_exists_and_never_outside() {
        let root = tempfile::tempdir().unwrap();
        for path in ["shop/cart.py", "src/main/java/com/shop/Cart.java"] {
            let at = root.path().join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, "").unwrap();
        }
        let tree = SourceTree::new(root.path());
        let found = |file: &str, function: &str| tree.locate(&frame(file, function));
        let absolute = root.path().join("shop/cart.py");
        let cart = Some("shop/cart.py".to_owned());
        assert_eq!(found(absolute.to_str().unwrap(), ""), cart);
        assert_eq!(found("/app/shop/cart.py", ""), cart);
        assert_eq!(found("./shop/cart.py", ""), cart);
        assert_eq!(found("/usr/lib/cart.py", ""), None);
        assert_eq!(found("../shop/cart.py", ""), None);
        assert_eq!(found("/x/site-packages/shop/cart.py", ""), None);
        assert_eq!(
            found("Cart.java", "com.shop.Cart.total").as_deref(),
            Some("src/main/java/com/shop/Cart.java")
        );
        assert_eq!(found("", ""), None);
    }
}
