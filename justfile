# Everything a developer runs. `just ci` is what CI runs.

default:
    @just --list

# One command: gateway, simulated WhatsApp and a demo tenant with two virtual phones.
sandbox:
    cargo run --features sandbox -- sandbox

# What the README calls "the tests".
test:
    cargo test --workspace --features sandbox

# What was written elsewhere: a client against the sandbox, libraries against webhooks, tools that test the
# API by its description. Needs Node 20 or later, and Python 3 with venv.
interop:
    npm ci --prefix tests/interop
    python3 -m venv tests/interop/.venv
    tests/interop/.venv/bin/pip install --quiet --require-hashes -r tests/interop/requirements.txt
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
