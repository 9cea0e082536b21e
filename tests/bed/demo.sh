#!/usr/bin/env bash
# The first minute: builds the agent and runs it in the foreground on this very checkout, with a
# spool in a scratch state directory and no servers. Ctrl-C ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

scratch=${CARGO_TARGET_DIR:-target}/run
mkdir -p "$scratch"
cat >"$scratch/stampd.toml" <<TOML
[agent]
state_dir = "$(cd "$scratch" && pwd)/state"

[[repo]]
path = "$PWD"
namespace = "stampd.demo.checkout"
TOML
cargo build --locked
exec "${CARGO_TARGET_DIR:-target}/debug/stampd" --config "$scratch/stampd.toml" run
