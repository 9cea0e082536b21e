# shellcheck shell=bash
# Programs of the Rust registry that checks need. Sourced.
#
# Each is installed once into target/tools, unoptimised, since it runs for a second.

tools=${CARGO_TARGET_DIR:-target}/tools

# Sets `tool` to where the program NAME is, installed in VERSION when it is not there.
cargo_tool() {
  local name=$1 version=$2
  tool=$(command -v "$name" || echo "$tools/bin/$name")
  [ ! -x "$tool" ] || return 0
  echo "installing $name $version into $tools" >&2
  CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --root "$tools" \
    --version "$version" "$name"
}
