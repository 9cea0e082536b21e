#!/usr/bin/env bash
# Puts the release build in place: install.sh PREFIX, such as /usr/local or a scratch root's /usr.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# = 1 ] || { echo "type: packaging/install.sh PREFIX" >&2 && exit 2; }
prefix=$1
binary=${STAMPD_BINARY:-${CARGO_TARGET_DIR:-target}/release/stampd}
[ -x "$binary" ] || { echo "$binary is not there; type: make install" >&2 && exit 1; }

packaging/packages.sh extras "$binary"
install -D -m 755 "$binary" "$prefix/bin/stampd"
install -D -m 644 -t "$prefix/share/man/man1" target/packaging/man/*.1
install -D -m 644 target/packaging/stampd.bash "$prefix/share/bash-completion/completions/stampd"
install -D -m 644 target/packaging/stampd.fish "$prefix/share/fish/vendor_completions.d/stampd.fish"
install -D -m 644 target/packaging/_stampd "$prefix/share/zsh/site-functions/_stampd"
echo "$prefix/bin/stampd is in place; \`stampd setup\` does the rest" >&2
