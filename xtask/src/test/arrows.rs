//! Which crate may depend on which: the libraries stay strangers to each other.

use anyhow::Result;

use super::step::Outcome;
use crate::workspace::{Dependency, Kind, Package, Workspace};

/// What a member of the workspace may depend on within the workspace.
#[derive(Debug)]
struct Rule {
    name: &'static str,
    any: &'static [&'static str],
    /// Only in its tests, examples and benches.
    dev: &'static [&'static str],
}

/// The crates that are useful alone.
pub(super) const LIBRARIES: &[&str] = &["vmm-core", "snapshot", "proxy-buffer", "scheduler"];

const RULES: &[Rule] = &[
    Rule {
        name: "vmm-core",
        any: &[],
        dev: &["guest"],
    },
    Rule {
        name: "snapshot",
        any: &[],
        dev: &["guest"],
    },
    Rule {
        name: "proxy-buffer",
        any: &[],
        dev: &["guest"],
    },
    Rule {
        name: "scheduler",
        any: &[],
        dev: &["guest"],
    },
    Rule {
        name: "guest",
        any: &[],
        dev: &[],
    },
    Rule {
        name: "platform",
        any: &["vmm-core", "snapshot", "proxy-buffer", "scheduler", "guest"],
        dev: &[],
    },
    Rule {
        name: "benches",
        any: &[
            "vmm-core",
            "snapshot",
            "proxy-buffer",
            "scheduler",
            "guest",
            "platform",
        ],
        dev: &[],
    },
    Rule {
        name: "xtask",
        any: &[],
        dev: &[],
    },
];

pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    let packages = workspace.packages();
    Ok(Outcome::of_problems(
        &check(packages),
        format!("{} crates", packages.len()),
    ))
}

/// Every arrow between members that no rule allows.
fn check(packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let Some(rule) = RULES.iter().find(|rule| rule.name == package.name) else {
            problems.push(format!("{} has no rule in xtask's arrows.rs", package.name));
            continue;
        };
        // A crate may name itself: that is how its own tests turn its features on.
        let members = package.dependencies.iter().filter(|dependency| {
            dependency.name != package.name && packages.iter().any(|member| member.name == dependency.name)
        });
        let forbidden = members.filter(|dependency| !allows(rule, dependency));
        problems.extend(forbidden.map(|dependency| {
            let kind = match dependency.kind {
                None => "",
                Some(Kind::Dev) => " in its tests",
                Some(Kind::Build) => " in its build script",
            };
            format!("{} must not depend on {}{kind}", package.name, dependency.name)
        }));
    }
    problems
}

fn allows(rule: &Rule, dependency: &Dependency) -> bool {
    let name = dependency.name.as_str();
    rule.any.contains(&name) || (dependency.kind == Some(Kind::Dev) && rule.dev.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of `cargo metadata --no-deps`, with the fields that nobody reads here left out.
    fn metadata(packages: &str) -> Workspace {
        let text = format!(
            r#"{{"packages": [{packages}], "workspace_root": "/w", "target_directory": "/w/target", "version": 1}}"#
        );
        Workspace::parse(text.as_bytes()).unwrap()
    }

    const SNAPSHOT: &str = r#"{"name": "snapshot", "version": "0.1.0", "dependencies": [
        {"name": "crc32fast", "req": "^1", "kind": null},
        {"name": "snapshot", "req": "*", "kind": "dev"},
        {"name": "guest", "req": "^0.1.0", "kind": "dev"}]}"#;
    const GUEST: &str = r#"{"name": "guest", "version": "0.1.0", "dependencies": []}"#;

    #[test]
    fn other_crates_itself_and_the_guest_in_tests_are_allowed() {
        let workspace = metadata(&format!("{SNAPSHOT}, {GUEST}"));
        assert_eq!(check(workspace.packages()), [""; 0]);
    }

    #[test]
    fn every_forbidden_kind_of_dependency_is_found() {
        let vmm_core = r#"{"name": "vmm-core", "dependencies": [
            {"name": "snapshot", "kind": null},
            {"name": "snapshot", "kind": "dev", "rename": "harmless"},
            {"name": "guest", "kind": "build"}]}"#;
        let workspace = metadata(&format!("{vmm_core}, {SNAPSHOT}, {GUEST}"));
        assert_eq!(
            check(workspace.packages()),
            [
                "vmm-core must not depend on snapshot",
                "vmm-core must not depend on snapshot in its tests",
                "vmm-core must not depend on guest in its build script",
            ]
        );
    }

    #[test]
    fn a_new_crate_needs_a_rule() {
        let workspace = metadata(r#"{"name": "registry", "dependencies": []}"#);
        assert_eq!(
            check(workspace.packages()),
            ["registry has no rule in xtask's arrows.rs"]
        );
    }

    #[test]
    fn the_libraries_know_no_member() {
        for name in LIBRARIES {
            let rule = RULES.iter().find(|rule| rule.name == *name).unwrap();
            assert!(rule.any.is_empty(), "{name}");
            assert!(rule.dev.iter().all(|dev| *dev == "guest"), "{name}");
        }
    }
}
