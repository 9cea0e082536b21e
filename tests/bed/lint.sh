#!/usr/bin/env bash
# Formatting and lints, each without a warning.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo fmt --all --check
cargo clippy --locked --all-targets -- -D warnings
