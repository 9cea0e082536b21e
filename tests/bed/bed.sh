#!/usr/bin/env bash
# The test bed: a PostgreSQL and an Apache Kafka on free loopback ports.
#
#   bed.sh run COMMAND…   start both, run COMMAND with their addresses in its environment, stop both
#   bed.sh up             start both, print their addresses and leave them running
#   bed.sh down           stop what `up` started
#
# Promises: a server that cannot be had is a failure, never a skip; whatever `run` started is gone
# when it returns, also after Ctrl-C, a failure or a kill; nothing outside the scratch directory and
# target/bed is written. Addresses given by the caller's environment are used and not started anew.
#
# For COMMAND, and printed by `up`:
#   STAMPD_TEST_POSTGRES     URL of a superuser, with password; TLS is offered on the same port
#   STAMPD_TEST_KAFKA        host:port, plaintext
#   STAMPD_TEST_KAFKA_SASL   host:port, SASL_SSL with SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN
#   STAMPD_TEST_USER, STAMPD_TEST_PASSWORD   who may log in there
#   STAMPD_TEST_SCHEMATHESIS   the program that makes up requests from the contract of the API
#   STAMPD_TEST_CA           PEM file of the authority that signed both servers' certificates, which
#                            are valid for `localhost` and 127.0.0.1
set -euo pipefail

bed_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_root=$(cd "$bed_dir/../.." && pwd)
cache=${CARGO_TARGET_DIR:-$repo_root/target}/bed
up_file=$cache/servers.env

# shellcheck source=tests/bed/process.sh
. "$bed_dir/process.sh"
# shellcheck source=tests/bed/need.sh
. "$bed_dir/need.sh"
# shellcheck source=tests/bed/postgres.sh
. "$bed_dir/postgres.sh"
# shellcheck source=tests/bed/kafka.sh
. "$bed_dir/kafka.sh"
# shellcheck source=tests/bed/schemathesis.sh
. "$bed_dir/schemathesis.sh"

# Makes the scratch directory, keys and both servers; the answer is in the STAMPD_TEST_* variables.
start_servers() {
  mkdir -p "$cache"
  need_tools
  kafka_jars
  # Only the figures do without.
  [ -n "${BED_BENCH:-}" ] || schemathesis_fetch
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/stampd-bed.XXXXXX")
  # PostgreSQL runs as another user when we are root, and must be able to walk in.
  chmod 755 "$scratch"
  make_certificates
  export STAMPD_TEST_USER=stampd STAMPD_TEST_CA=$scratch/tls/ca.pem
  STAMPD_TEST_PASSWORD=$(random_word)
  export STAMPD_TEST_PASSWORD
  kafka_format
  kafka_start
  postgres_start
  postgres_wait
  kafka_wait
}

# One authority and one certificate for both servers, made anew for each bed.
make_certificates() {
  local tls=$scratch/tls
  mkdir "$tls"
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
      -subj "/CN=stampd test bed authority" -keyout "$tls/ca.key" -out "$tls/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
      -subj "/CN=localhost" -keyout "$tls/server.key" -out "$tls/server.csr"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >"$tls/ext"
    openssl x509 -req -in "$tls/server.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" \
      -CAcreateserial -days 30 -extfile "$tls/ext" -out "$tls/server.pem"
  } >"$tls/log" 2>&1 || fail "openssl made no certificates: $(tail -n 3 "$tls/log")"
}

run() {
  [ $# -gt 0 ] || fail "nothing to run: bed.sh run COMMAND…"
  trap 'stop_everything' EXIT
  trap 'interrupted=INT; stop_child INT' INT
  trap 'interrupted=TERM; stop_child TERM' TERM HUP
  if [ -z "${STAMPD_TEST_POSTGRES:-}" ] || [ -z "${STAMPD_TEST_KAFKA:-}" ]; then
    start_servers
  elif [ -z "${STAMPD_TEST_SCHEMATHESIS:-}" ]; then
    mkdir -p "$cache"
    schemathesis_fetch
  fi
  run_child "$@"
}

up() {
  if [ -f "$up_file" ]; then
    fail "servers are already up (see $up_file); stop them with: make servers-stop"
  fi
  trap 'stop_everything' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  outlive=yes
  start_servers
  {
    local name
    for name in ${!STAMPD_TEST_*}; do printf 'export %s=%q\n' "$name" "${!name}"; done
    printf 'bed_pids="%s"\nbed_scratch=%q\n' "${server_pids[*]}" "$scratch"
  } >"$up_file"
  trap - EXIT
  say "PostgreSQL  $STAMPD_TEST_POSTGRES"
  say "Kafka       $STAMPD_TEST_KAFKA (plaintext), $STAMPD_TEST_KAFKA_SASL (SASL_SSL)"
  say "to use them: . $up_file && cargo test"
  say "to stop them: make servers-stop"
}

down() {
  [ -f "$up_file" ] || fail "no servers are up"
  local bed_pids bed_scratch
  # shellcheck disable=SC1090
  . "$up_file"
  read -ra server_pids <<<"$bed_pids"
  scratch=$bed_scratch
  stop_everything
  rm -f "$up_file"
}

case ${1:-} in
  run) shift && run "$@" ;;
  up) up ;;
  down) down ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
