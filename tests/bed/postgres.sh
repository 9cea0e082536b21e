# shellcheck shell=bash
# PostgreSQL of the test bed. Sourced by bed.sh.
#
# `fsync` is off: no test asks whether PostgreSQL survives a power cut. BED_FSYNC=on, as the
# benchmarks say, pays for it.

# initdb and postgres refuse root; the package brings a user for them.
postgres_user() {
  [ "$(id -u)" = 0 ] || return 0
  if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

as_user() {
  local user=$1
  shift
  if [ -z "$user" ]; then
    "$@"
  else
    setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"
  fi
}

postgres_start() {
  local bin user dir=$scratch/postgres password
  bin=$(postgres_bin)
  user=$(postgres_user)
  password=$(random_word)
  mkdir "$dir"
  printf '%s' "$password" >"$dir/password"
  cp "$scratch/tls/server.pem" "$scratch/tls/server.key" "$dir/"
  chmod 600 "$dir/server.key" "$dir/password"
  [ -z "$user" ] || chown -R "$user" "$dir"
  (cd "$dir" && as_user "$user" "$bin/initdb" --pgdata="$dir/data" --username=postgres \
    --pwfile="$dir/password" --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync) \
    >"$scratch/initdb.log" 2>&1 </dev/null || {
    cat "$scratch/initdb.log" >&2
    fail "initdb failed; its words are above"
  }
  postgres_port=$(free_port)
  (cd "$dir" && : >"$scratch/postgres.log")
  start_server "$scratch/postgres.log" "$user" "$bin/postgres" -D "$dir/data" \
    -c listen_addresses=127.0.0.1 -c port="$postgres_port" -c unix_socket_directories= \
    -c fsync="${BED_FSYNC:-off}" -c full_page_writes="${BED_FSYNC:-off}" -c max_connections=200 \
    -c ssl=on -c ssl_cert_file="$dir/server.pem" -c ssl_key_file="$dir/server.key"
  postgres_pid=$started
  export STAMPD_TEST_POSTGRES="postgres://postgres:$password@127.0.0.1:$postgres_port/postgres"
}

postgres_wait() {
  wait_until PostgreSQL "$postgres_pid" "$scratch/postgres.log" \
    "$(postgres_bin)/pg_isready" --quiet --host=127.0.0.1 --port="$postgres_port"
}
