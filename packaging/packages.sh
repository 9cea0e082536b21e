#!/usr/bin/env bash
# Makes packages of a binary that is built.
#
#   packages.sh tools                install what makes packages into target/tools, and end
#   packages.sh extras BINARY        manual pages and completions, as the binary tells them
#   packages.sh build BINARY [fast]  extras, then a .deb and a .rpm in target/packages; fast where
#                                    nobody minds how large they are
#   packages.sh formula [URL]        an archive of the sources of this commit, and Homebrew's formula
#                                    for it, in target/packages; URL is where the archive will be had
#
# What goes where in a package is in Cargo.toml. `make packages` builds the binary, tests take theirs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/bed/cargo_tool.sh
. tests/bed/cargo_tool.sh

fetch_tools() {
  cargo_tool cargo-deb 3.8.0 && deb=$tool
  cargo_tool cargo-generate-rpm 0.21.1 && rpm=$tool
  rm -rf "$tools/build"
}

make_extras() {
  local binary=$1 out=target/packaging
  rm -rf "$out"
  mkdir -p "$out"
  "$binary" man "$out/man"
  "$binary" completions bash >"$out/stampd.bash"
  "$binary" completions fish >"$out/stampd.fish"
  "$binary" completions zsh >"$out/_stampd"
}

build() {
  local binary=$1 stage=$PWD/target/packaging/cargo deb_flags=() rpm_flags=(--payload-compress zstd)
  if [ "${2:-}" = fast ]; then deb_flags=(--fast) rpm_flags=(--payload-compress none); fi
  fetch_tools
  make_extras "$binary"
  # Where both look for what cargo built. The debug information stays with whoever built it.
  mkdir -p "$stage/release" target/packages
  strip -o "$stage/release/stampd" "$binary"
  rm -f target/packages/*.deb target/packages/*.rpm
  CARGO_TARGET_DIR=$stage "$deb" --no-build --no-strip --locked "${deb_flags[@]}" \
    --output target/packages/
  "$rpm" --target-dir "$stage" "${rpm_flags[@]}" --output target/packages/
}

make_formula() {
  local version archive sha256
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
  archive=target/packages/stampd-$version.tar.gz
  mkdir -p target/packages
  git archive --format=tar.gz --prefix="stampd-$version/" --output="$archive" HEAD
  sha256=$(openssl dgst -sha256 -r "$archive" | cut -d ' ' -f 1)
  sed -e "s|@URL@|${1:-file://$PWD/$archive}|" -e "s|@SHA256@|$sha256|" \
    packaging/homebrew/stampd.rb >target/packages/stampd.rb
}

case ${1:-} in
  tools) fetch_tools ;;
  extras) make_extras "$2" ;;
  build) build "$2" "${3:-}" ;;
  formula) make_formula "${2:-}" ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
