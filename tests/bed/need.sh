# shellcheck shell=bash
# What the bed needs on the machine: found, installed when we may, or named with the one command to
# type. Sourced by bed.sh.

# Prints the directory of the newest PostgreSQL server that is at least 15.
postgres_bin() {
  local dir best='' version best_version=14
  for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin \
    /usr/local/opt/postgresql@*/bin "$(dirname "$(command -v postgres || echo /none)")"; do
    if ! [ -x "$dir/postgres" ] || ! [ -x "$dir/initdb" ] || ! [ -x "$dir/pg_isready" ]; then
      continue
    fi
    version=$("$dir/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
    if [ "$version" -gt "$best_version" ]; then best=$dir best_version=$version; fi
  done
  printf '%s' "$best"
}

# Java 17 or newer, as this Kafka needs.
has_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  [ -n "$version" ] && [ "$version" -ge 17 ]
}

missing_packages() {
  [ -n "$(postgres_bin)" ] || echo postgresql
  has_java || echo default-jre-headless
  [ -d "$kafka_libs" ] || command -v mvn >/dev/null || echo maven
  command -v openssl >/dev/null || echo openssl
  command -v git >/dev/null || echo git
  has_python || echo python3-venv
  # Both kinds of packages are read.
  command -v rpm >/dev/null || echo rpm
  command -v dpkg >/dev/null || echo dpkg
  # And Homebrew's formula.
  command -v ruby >/dev/null || echo ruby
  # Only the figures need a load generator.
  [ -z "${BED_BENCH:-}" ] || command -v wrk >/dev/null || echo wrk
}

need_tools() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  missing=${missing% }
  [ -n "$missing" ] || return 0
  local install="apt-get install -y --no-install-recommends $missing"
  if ! command -v apt-get >/dev/null; then
    fail "these are missing (Debian's names): $missing. install them, then try again"
  fi
  [ "$(id -u)" = 0 ] || fail "the tests need: $missing. type: sudo $install"
  say "installing $missing"
  # Runlevel 1 keeps Debian from starting a PostgreSQL of its own on port 5432.
  {
    apt-get update
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive $install
  } >"$cache/apt.log" 2>&1 </dev/null || {
    tail -n 20 "$cache/apt.log" >&2
    fail "could not install $missing; apt's words are above. type: $install"
  }
  missing=$(missing_packages | tr '\n' ' ')
  [ -z "${missing% }" ] || fail "still missing after the installation: $missing"
}
