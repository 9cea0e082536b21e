# shellcheck shell=bash
# Schemathesis, which makes up requests from the contract of the API. Sourced by bed.sh.
#
# Installed by pip from requirements.txt once, into an environment of its own under target/bed.

schemathesis_version=$(sed -n 's/^schemathesis==//p' "$bed_dir/requirements.txt")
schemathesis_home=$cache/schemathesis-$schemathesis_version

# Python 3.10 or newer that can make an environment with pip in it, which Debian packs apart.
has_python() {
  python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

schemathesis_fetch() {
  # An environment knows its own path and cannot be moved, so a mark says that it is whole.
  if [ ! -f "$schemathesis_home/whole" ]; then
    say "fetching schemathesis $schemathesis_version"
    rm -rf "$schemathesis_home"
    {
      python3 -m venv "$schemathesis_home" &&
        "$schemathesis_home/bin/pip" install --quiet --disable-pip-version-check \
          -r "$bed_dir/requirements.txt"
    } >"$cache/pip.log" 2>&1 </dev/null || {
      tail -n 20 "$cache/pip.log" >&2
      fail "pip could not install schemathesis $schemathesis_version; its words are above"
    }
    : >"$schemathesis_home/whole"
  fi
  export STAMPD_TEST_SCHEMATHESIS=$schemathesis_home/bin/schemathesis
}
