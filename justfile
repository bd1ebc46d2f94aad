# Everything a developer runs. `just ci` is what CI runs.

default:
    @just --list

# One command: gateway, simulated WhatsApp and a demo tenant with two virtual phones.
sandbox:
    cargo run --features sandbox -- sandbox

# What the README calls "the tests".
test:
    cargo test --workspace --features sandbox

# A client that was written elsewhere, against the sandbox. Needs Node 20 or later.
interop:
    npm ci --prefix tests/interop
    cargo test --features sandbox --test interop -- --ignored

# A normal build must refuse the sandbox's certificate chain: this needs a build without the feature.
test-release-chain:
    cargo test -p roost-engine --no-default-features

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features sandbox -- -D warnings

# Licences, sources and banned crates. Advisories need the network: `cargo deny check advisories`.
deny:
    cargo deny --all-features check licenses bans sources

# Hostile input for the sandbox's decoders; needs a C++ compiler.
fuzz seconds="60":
    fuzz/run {{seconds}}

ci:
    .ci/run
