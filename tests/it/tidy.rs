//! The layer rules of ARCHITECTURE.md, held by reading the source text. A rule that is only written down is broken by
//! the next refactoring; here it fails with the file, the line and the rule.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers of the operator library from the bottom up. A module may use its own layer and those before it.
const LAYERS: &[&[&str]] = &[
    &["api"],
    &["cluster_api", "transport"],
    &["foreign", "protocol"],
    &["engine", "policy"],
    &["reconcile", "admission"],
    &["config"],
    &["runtime"],
    &["telemetry"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// Every `.rs` file below `folder`, as (path relative to the workspace, text), in a stable order.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("readable folder").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    let root = root();
    let mut paths = Vec::new();
    walk(&root.join(folder), &mut paths);
    assert!(!paths.is_empty(), "no source below {folder}: the rule would hold of nothing");
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below the root").display().to_string();
            (name, fs::read_to_string(&path).expect("source is UTF-8"))
        })
        .collect()
}

/// Lines of code with their numbers: no comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.is_empty()
    })
}

/// Fails with every place where `pattern` stands outside `allowed`.
fn only_in(folder: &str, patterns: &[&str], allowed: &[&str], rule: &str) {
    let mut found = Vec::new();
    for (name, text) in sources(folder) {
        if allowed.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for (number, line) in code(&text) {
            if let Some(pattern) = patterns.iter().find(|pattern| line.contains(**pattern)) {
                found.push(format!("{name}:{number}: `{pattern}`: {rule}"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

#[test]
fn operator_modules_use_only_what_lies_below_them() {
    let mut found = Vec::new();
    for (name, text) in sources("operator/src") {
        let inner = name.trim_start_matches("operator/src/");
        let module = inner.split(['/', '.']).next().expect("a path has a first part");
        if ["main", "lib", "bin"].contains(&module) {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{name}: module `{module}` has no layer: add it to LAYERS"));
        for (number, line) in code(&text) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let used = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
                if layer(used).is_some_and(|used| used > own) {
                    found.push(format!("{name}:{number}: `{module}` may not use `{used}`, which lies above it"));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn kube_is_named_only_behind_the_seam() {
    let adapter = ["operator/src/cluster_api/kube/"];
    only_in(
        "operator/src",
        &["kube::Client", "kube::Api", "kube::api::Api"],
        &adapter,
        "kube's client lives in the adapter",
    );
    // A store's writer is fed watcher events, so the type is named there too; the function is not.
    let watcher = ["operator/src/cluster_api/kube/", "operator/src/runtime/controllers"];
    only_in("operator/src", &["runtime::watcher"], &watcher, "the watcher lives in the adapter");
    only_in(
        "operator/src",
        &["runtime::Controller", "runtime::reflector", "runtime::controller"],
        &["operator/src/runtime/controllers", "operator/src/cluster_api/kube/"],
        "controllers and stores live in runtime/controllers",
    );
}

#[test]
fn each_outside_library_has_one_home() {
    only_in("operator/src", &["reqwest::"], &["operator/src/transport/reqwest.rs"], "reqwest has one home");
    for folder in ["operator/src", "fakes/src", "sim/src"] {
        only_in(folder, &["turmoil::"], &["sim/src/wire/network.rs"], "turmoil has one home");
    }
}

#[test]
fn fakes_read_only_the_wire_types_of_the_operator() {
    let allowed = ["operator::api", "operator::protocol"];
    let mut found = Vec::new();
    for (name, text) in sources("fakes/src") {
        for (number, line) in code(&text) {
            for (at, _) in line.match_indices("operator::") {
                if !allowed.iter().any(|prefix| line[at..].starts_with(prefix)) {
                    found.push(format!("{name}:{number}: a fake that shares operator code shares its misreadings"));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_api_server_stands_alone() {
    let mut found = Vec::new();
    for (name, text) in sources("fakes/src/apiserver") {
        for (number, line) in code(&text) {
            let ours = line.match_indices("crate::").any(|(at, _)| !line[at..].starts_with("crate::apiserver"));
            if ours || line.contains("operator::") {
                found.push(format!("{name}:{number}: the API server depends on nothing else of ours"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_operator_depends_on_neither_fakes_nor_simulator() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is part of the repository");
    let package = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"operator\"\n"))
        .expect("the operator is in Cargo.lock");
    for banned in ["\"fakes\"", "\"sim\"", "\"turmoil\"", "\"tests\""] {
        assert!(!package.contains(banned), "operator depends on {banned}");
    }
}

#[test]
fn selects_are_biased() {
    let mut found = Vec::new();
    for folder in ["operator/src", "fakes/src", "sim/src"] {
        for (name, text) in sources(folder) {
            let lines: Vec<(usize, &str)> = code(&text).collect();
            for (index, (number, line)) in lines.iter().enumerate() {
                let opens = line.contains("select! {") || line.contains("select!{");
                let biased = lines.get(index + 1).is_some_and(|(_, next)| next.trim_start().starts_with("biased"));
                if opens && !biased {
                    found.push(format!("{name}:{number}: a select without `biased;` starts at a random branch"));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn sources_of_unrepeatable_runs_are_absent() {
    only_in(
        "operator/src",
        &["any_semantic", "streaming_lists", "generate_name", "events::Recorder", "HashMap", "HashSet"],
        &[],
        "not reproducible, or older than what was already seen (design §7, §17)",
    );
    let refusal = ["operator/src/reconcile/intake/work.rs"];
    only_in(
        "operator/src",
        &["generateName"],
        &refusal,
        "names are pure functions; a job that asks for another is refused",
    );
}

#[test]
fn unsafe_code_lives_in_the_entropy_shim_alone() {
    for (name, folder) in [("operator", "operator/src"), ("fakes", "fakes/src")] {
        let head = fs::read_to_string(root().join(folder).join("lib.rs")).expect("a crate has a lib.rs");
        assert!(head.contains("#![forbid(unsafe_code)]"), "{name} must forbid unsafe code");
    }
    only_in(
        "sim/src",
        &["allow(unsafe_code)", "expect(unsafe_code)"],
        &["sim/src/entropy.rs"],
        "one place for unsafe code",
    );
}

#[test]
fn the_repository_names_no_place_it_was_made_in() {
    // Absolute paths and toolchain pins of one machine would break the two commands everywhere else.
    assert!(!root().join("rust-toolchain.toml").exists() && !root().join("rust-toolchain").exists());
    for folder in ["operator", "fakes", "sim", "tests"] {
        only_in(&format!("{folder}/src"), &["\"/work/", "\"/root/", "\"/home/"], &[], "no path of one machine");
    }
}
