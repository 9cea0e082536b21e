#!/usr/bin/env bash
# Formatting, lints and what may come into the build, each without a warning.
#
# Of cargo-deny the part that needs no database from the network: bans, licences and sources. It is
# installed once into target/tools, unoptimised, since it runs for a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
deny_version=0.20.2
tools=${CARGO_TARGET_DIR:-target}/tools

cargo fmt --all --check
cargo clippy --locked --all-targets -- -D warnings

deny=$(command -v cargo-deny || echo "$tools/bin/cargo-deny")
if [ ! -x "$deny" ]; then
  echo "lint: installing cargo-deny $deny_version into $tools" >&2
  CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --root "$tools" \
    --version "$deny_version" cargo-deny
  rm -rf "$tools/build"
fi
"$deny" --log-level error --locked check --show-stats bans licenses sources
