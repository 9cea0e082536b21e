#!/usr/bin/env bash
# The first minute: builds the agent and runs it in the foreground on this very checkout, with a
# spool in a scratch state directory and no servers. Ctrl-C ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/run"
target=$(cd "$target" && pwd)
cat >"$target/run/stampd.toml" <<TOML
[agent]
state_dir = "$target/run/state"
runtime_dir = "$target/run/runtime"

[[repo]]
path = "$PWD"
namespace = "stampd.demo.checkout"
TOML
cargo build --locked
cat >&2 <<WORDS

To talk to it from another terminal, type there first:
  export STAMPD_CONFIG=$target/run/stampd.toml PATH=$target/debug:\$PATH

WORDS
exec "$target/debug/stampd" --config "$target/run/stampd.toml" run
