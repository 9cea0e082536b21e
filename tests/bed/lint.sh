#!/usr/bin/env bash
# Formatting, lints and what may come into the build, each without a warning.
#
# Of cargo-deny the part that needs no database from the network: bans, licences and sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/bed/cargo_tool.sh
. tests/bed/cargo_tool.sh

cargo fmt --all --check
cargo clippy --locked --all-targets -- -D warnings

cargo_tool cargo-deny 0.20.2
rm -rf "$tools/build"
"$tool" --log-level error --locked check --show-stats bans licenses sources
