# Recipes for people; CI runs .ci/run. Nothing here is needed by the two commands of the README.

default:
    @just --list

# Format every member.
fmt:
    cargo fmt --all

# Lints, warnings denied.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The README's test command.
test:
    cargo test --release --locked

# The same tests on upstream CRD files: a directory with any upstream YAML.
test-crds dir:
    VWORKSPACE_CRDS={{dir}} cargo test --release --locked

# One run of the simulator, told by its verdict.
sim *args:
    cargo run --release -p sim -- run {{args}}

# The main job on an embedded cluster, told line by line.
demo:
    cargo run --release -p sim -- demo

# The embedded cluster on a real port.
up *args:
    cargo run --release -p sim -- up {{args}}

# Every crash point of install, upgrade, rollback and deletion.
enumerate:
    cargo run --release -p sim -- enumerate

# Is a run a function of case and commit?
meta:
    cargo run --release -p sim -- meta

# Recorded answers of a real API server against ours.
conformance corpus *args:
    cargo run --release -p sim -- conformance --corpus {{corpus}} {{args}}

# Figures beside their targets.
bench:
    cargo build --release -p operator
    cargo run --release -p sim -- bench

# Generate the CRDs into the chart.
crds:
    cargo run --release -p operator --bin crdgen -- charts/operator/files/crds

# Bans, licences and sources of the dependency tree (needs cargo-deny).
deny:
    cargo deny check bans licenses sources

# What CI runs.
ci:
    bash .ci/run
