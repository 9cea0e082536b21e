#!/usr/bin/env bash
# Type-checks the library and the program as macOS compiles them, from any Linux; no warning is allowed.
#
# Every line of Rust, ours and that of the dependencies, is checked for aarch64-apple-darwin. Nothing
# is linked or run, and the C of SQLite, OpenSSL and librdkafka is not compiled: cc and ar beside this
# file only leave what their build scripts look for. The standard library comes from rustup; where it
# has none to give, Debian's compiler builds one from its sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
target=aarch64-apple-darwin
out=${CARGO_TARGET_DIR:-target}/macos
flags=()

# Debian's rustc-web, and as root also the way to it.
use_debians_compiler() {
  local compiler=/usr/bin/rustc packages="rustc-web rust-web-src"
  if ! dpkg -s rustc-web rust-web-src >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || { echo "type: sudo apt-get install $packages" >&2 && return 1; }
    echo "installing $packages" >&2
    { apt-get update && apt-get install -y --no-install-recommends $packages; } \
      >"$out/apt.log" 2>&1 </dev/null || { tail -n 20 "$out/apt.log" >&2 && return 1; }
  fi
  export RUSTC=$compiler RUSTC_BOOTSTRAP=1
  flags=(-Zbuild-std=std,panic_abort)
}

if [ "$(uname)" = Darwin ]; then
  exec env RUSTFLAGS="-D warnings" cargo check --locked --lib --bins
fi
mkdir -p "$out/sdk"
out=$(cd "$out" && pwd)
if ! rustup target list --installed 2>/dev/null | grep -qx "$target" &&
  ! rustup target add "$target" >"$out/rustup.log" 2>&1; then
  use_debians_compiler || {
    echo "macos: no standard library for $target; type: rustup target add $target" >&2
    exit 1
  }
fi

stand_ins=$PWD/tests/bed/macos
export SDKROOT=$out/sdk CC=$stand_ins/cc CXX=$stand_ins/cc AR=$stand_ins/ar RANLIB=true
export CC_aarch64_apple_darwin=$CC CXX_aarch64_apple_darwin=$CXX AR_aarch64_apple_darwin=$AR
# Build scripts themselves, and what they link, are this machine's.
host=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p' | tr - _)
export HOST_CC=gcc HOST_CXX=g++ HOST_AR=ar "CC_$host=gcc" "CXX_$host=g++" "AR_$host=ar"
RUSTFLAGS="-D warnings" cargo check --locked --lib --bins --target "$target" --target-dir "$out" \
  "${flags[@]}"
