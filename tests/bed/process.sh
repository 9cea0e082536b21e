# shellcheck shell=bash
# Processes of the test bed: start, wait for, stop by pid. Sourced by bed.sh.
#
# Job control is switched on around each start, so that every server and the command under test has
# a process group of its own: Ctrl-C reaches the bed alone, which then ends them in its own order.

server_pids=()
child=
scratch=
interrupted=
outlive=

say() { printf '%s\n' "bed: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

random_word() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

# A port below the range that the kernel hands to clients, so that none of those takes it between
# this check and the server's own bind.
free_port() {
  perl -MIO::Socket::INET -e '
    for (1 .. 200) {
      my $port = 20000 + int(rand(12000));
      my $free = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $port);
      if ($free) { print $port; exit 0 }
    }
    exit 1' || fail "found no free port on 127.0.0.1"
}

answers() {
  perl -MIO::Socket::INET -e '
    exit(IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => shift) ? 0 : 1)' "$1"
}

# start_server LOG USER COMMAND…: in the background; USER is empty for ourselves.
# Where setpriv exists, the kernel ends the server with us, even when we are killed.
start_server() {
  local log=$1 user=$2
  shift 2
  local wrap=()
  if command -v setpriv >/dev/null; then
    wrap=(setpriv)
    [ -n "$outlive" ] || wrap+=(--pdeathsig KILL)
    [ -z "$user" ] || wrap+=(--reuid "$user" --regid "$(id -g "$user")" --clear-groups)
    [ ${#wrap[@]} -gt 1 ] || wrap=()
  fi
  set -m
  "${wrap[@]}" "$@" >>"$log" 2>&1 </dev/null &
  set +m
  started=$!
  # We end it by its pid; the shell need not tell that it was killed.
  disown "$started"
  server_pids+=("$started")
}

# wait_until NAME PID LOG CHECK…: polls CHECK for a minute; a server that ends early is a failure.
wait_until() {
  local name=$1 pid=$2 log=$3 tries=0
  shift 3
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if ! kill -0 "$pid" 2>/dev/null || [ "$tries" -gt 600 ]; then
      tail -n 40 "$log" >&2
      fail "$name did not come up; its log is above"
    fi
    sleep 0.1
  done
}

# Runs the command under test and returns its exit code through the exit of the bed.
run_child() {
  local wrap=()
  if command -v setpriv >/dev/null; then wrap=(setpriv --pdeathsig TERM); fi
  set -m
  "${wrap[@]}" "$@" &
  child=$!
  set +m
  local code=0
  # A trapped signal ends `wait` early; the child is then asked to end, and waited for again.
  while :; do
    code=0
    wait "$child" || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  case $interrupted in
    INT) exit 130 ;;
    TERM) exit 143 ;;
    *) exit "$code" ;;
  esac
}

stop_child() {
  if [ -n "$child" ]; then
    kill -s "$1" -- "-$child" 2>/dev/null || true
  else
    exit 130
  fi
}

# Ends what the command left behind in its process group, the servers, and the scratch directory.
stop_everything() {
  trap '' INT TERM HUP
  if [ -n "$child" ] && kill -KILL -- "-$child" 2>/dev/null; then
    say "the command left processes behind; they were killed"
  fi
  local pid
  for pid in "${server_pids[@]}"; do
    # The data is scratch: there is nothing that an orderly shutdown would save. PostgreSQL takes
    # QUIT as its immediate shutdown, in which the postmaster ends its children first.
    kill -QUIT "$pid" 2>/dev/null || true
  done
  for pid in "${server_pids[@]}"; do stop_pid "$pid"; done
  [ -z "$scratch" ] || rm -rf "$scratch"
}

stop_pid() {
  local tries=0
  while kill -0 "$1" 2>/dev/null; do
    tries=$((tries + 1))
    # QUIT makes a JVM print its threads and go on, so it is killed after a moment.
    [ "$tries" -le 10 ] || kill -KILL "$1" 2>/dev/null || true
    [ "$tries" -le 100 ] || fail "process $1 does not end"
    sleep 0.05
  done
}
