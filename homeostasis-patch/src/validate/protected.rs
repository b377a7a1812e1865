//! Paths that are not a project's, and files that no patch may touch.

use super::ValidatorConfig;

/// Folders, anywhere in a path, in lower case.
const FOLDERS: &str = ".circleci .ci .buildkite .cargo .homeostasis .husky .devcontainer .vscode \
    .idea .ssh .aws .kube .gnupg tests test __tests__ __mocks__ testdata spec e2e node_modules \
    vendor seccomp apparmor selinux sandbox";

/// File names, in lower case.
const NAMES: &str = "build.rs cargo.toml cargo.lock rust-toolchain rust-toolchain.toml clippy.toml \
    rustfmt.toml deny.toml typos.toml setup.py setup.cfg pyproject.toml pipfile tox.ini pytest.ini \
    noxfile.py conftest.py sitecustomize.py usercustomize.py package.json package-lock.json \
    npm-shrinkwrap.json pnpm-lock.yaml pnpm-workspace.yaml bun.lockb deno.json deno.jsonc \
    tsconfig.json jsconfig.json go.mod go.sum go.work go.work.sum pom.xml build.gradle \
    build.gradle.kts settings.gradle settings.gradle.kts gradle.properties gradle.lockfile makefile \
    gnumakefile justfile taskfile.yml cmakelists.txt jenkinsfile azure-pipelines.yml \
    bitbucket-pipelines.yml appveyor.yml cloudbuild.yaml codeowners procfile vagrantfile \
    skaffold.yaml tiltfile fly.toml chart.yaml flake.nix id_rsa id_ed25519 authorized_keys \
    known_hosts sudoers crontab";

/// How file names begin, in lower case.
const BEGINNINGS: &str = ".git .env .travis .drone .pre-commit .eslint .prettier .babel .npmrc \
    .yarnrc .bash .profile .zsh .docker .netrc .pypirc .coveragerc .golangci .pylintrc .flake8 \
    .mypy .ruff dockerfile containerfile docker-compose compose.y homeostasis. requirements \
    constraints.txt seccomp apparmor jest.config vitest.config webpack.config rollup.config \
    vite.config babel.config eslint.config karma.conf playwright.config cypress.config next.config \
    gulpfile gruntfile test_";

/// How paths end, in lower case.
const ENDINGS: &str = "_test.py _test.go _test.rs _tests.rs /tests.rs /test.rs /tests.py .pem .key \
    .p12 .pfx .jks .lock .service .dockerfile .tf .tfvars";

/// What stands before the last extension of a test: `cart.spec.ts`.
const TEST_PARTS: &str = ".test. .tests. .spec. .e2e. .bench.";

/// How Java names its tests: camel case tells `CartTest` from `Attest`.
const JAVA_ENDINGS: &str = "Test.java Tests.java TestCase.java IT.java";

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split_ascii_whitespace()
}

/// Not the one plain spelling of a file inside the project.
pub(super) fn is_odd(path: &str) -> bool {
    let odd_part = |part: &str| {
        matches!(part, "" | "." | "..") || part.ends_with(['.', ' ']) || part.starts_with(' ')
    };
    let odd_char = |c: char| c.is_control() || "\\:*?\"<>|".contains(c);
    path.starts_with('~') || path.chars().any(odd_char) || path.split('/').any(odd_part)
}

/// Why no patch may touch the file, if so.
pub(super) fn protection(path: &str, config: &ValidatorConfig) -> Option<String> {
    if config.exempt_files.contains(path) {
        return None;
    }
    let covers = |listed: &&String| match listed.strip_suffix('/') {
        Some(folder) => path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/')),
        None => path == *listed,
    };
    if let Some(listed) = config.protected_files.iter().find(covers) {
        return Some(format!("{path} ({listed} is protected)"));
    }
    let lower = format!("/{}", path.to_lowercase());
    let (folders, name) = lower.rsplit_once('/')?;
    let is_guarded = |part: &&str| part.starts_with(".git") || words(FOLDERS).any(|f| f == *part);
    if let Some(folder) = folders.split('/').find(is_guarded) {
        return Some(format!("{path} (folder {folder})"));
    }
    let is_named = words(NAMES).any(|known| known == name)
        || words(BEGINNINGS).any(|start| name.starts_with(start))
        || words(ENDINGS).any(|end| lower.ends_with(end))
        || words(JAVA_ENDINGS).any(|end| path.ends_with(end))
        || words(TEST_PARTS).any(|part| name.contains(part));
    is_named.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_inside_the_project_is_plain() {
        for path in ["a.py", "src/cart item.rs", "a/b-c/d_e.test", ".hidden/a"] {
            assert!(!is_odd(path), "{path}");
        }
        for path in [
            "", "/a", "a/", "a//b", "./a", "a/../b", "a\\b", "C:a", "~/a", "a. /b", "a\u{0}b",
        ] {
            assert!(is_odd(path), "{path}");
        }
    }

    #[test]
    fn listed_files_are_protected_and_exempt_ones_are_not() {
        let config = ValidatorConfig {
            protected_files: ["auth/".to_owned(), "src/keys.rs".to_owned()].into(),
            exempt_files: ["deploy/docker-compose.yml".to_owned()].into(),
            ..ValidatorConfig::default()
        };
        for (path, is_protected) in [
            ("auth/login.py", true),
            ("authors.py", false),
            ("src/keys.rs", true),
            ("deploy/docker-compose.yml", false),
            ("other/docker-compose.yml", true),
            ("SRC/TEST/java/A.java", true),
            ("src/latest.py", false),
            ("src/contest.rs", false),
            ("src/Attest.java", false),
            ("src/CartTest.java", true),
        ] {
            assert_eq!(protection(path, &config).is_some(), is_protected, "{path}");
        }
    }
}
