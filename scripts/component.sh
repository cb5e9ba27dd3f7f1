# Common parts of the scripts that start a real component: kafka.sh, registry.sh, object-store.sh. To be sourced.
#
# A component lives in a folder of its own under $runs, named for it and its port, with everything it writes; `stop`
# removes the folder. Artifacts are kept in $cache. A lock per component makes `start` and `stop` safe from many
# tests at once. A process is known by its id *and* the moment it started, so an id used again is never taken for ours.
# Linux only: /proc, flock, setsid.
# shellcheck shell=bash
set -euo pipefail

script=$(basename "$0")
cache=${AISLE_CACHE:-${HOME:-/tmp}/.cache/aisle}
runs=${AISLE_RUNS:-/tmp/aisle-$(id -u)}

fail() { echo "$script: $*" >&2; exit 1; }

# Makes sure that a command is there. As root on Debian it installs the package, else it says how.
need() { # command, Debian package
  command -v "$1" >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "$script: installing $2" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"; } \
      >/dev/null 2>&1 9>&- || true
    hash -r
  fi
  command -v "$1" >/dev/null 2>&1 || fail "$1 is missing; install it, for example: apt-get install $2"
}

# Makes the two folders; the one under /tmp must be ours, since others may write there.
folders() {
  mkdir -p "$cache"
  (umask 077 && mkdir -p "$runs")
  [ -O "$runs" ] || fail "$runs belongs to somebody else; set AISLE_RUNS to a folder of yours"
}

# Holds the lock of that name until this script ends (descriptor 9, which no child may inherit). Waits for others.
lock() { # path
  command -v flock >/dev/null 2>&1 || fail "flock is missing; install it, for example: apt-get install util-linux"
  exec 9>"$1"
  flock -w 300 9 || fail "another $script has held $1 for five minutes"
}

# The moment a process started, in clock ticks since boot; nothing if there is none. A zombie counts as none.
started_at() { # process id
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # The name of the command may hold spaces and parentheses: count fields after the last one.
  stat=${stat##*) }
  case $stat in Z*) return 0 ;; esac
  echo "$stat" | cut -d' ' -f20
}

# The state letter of a process: T is stopped.
state_of() { local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0; stat=${stat##*) }; echo "${stat:0:1}"; }

# Starts a command in the background, away from this terminal's signals, in its folder, its output appended to `log`.
launch() { # folder, command...
  local folder=$1
  shift
  (cd "$folder" && exec setsid "$@" </dev/null >>"$folder/log" 2>&1 9>&-) &
  local id=$!
  echo "$id $(started_at "$id")" >"$folder/process"
}

# Prints the id of the folder's process if it is alive, else nothing.
process_of() { # folder
  local id began
  [ -s "$1/process" ] || return 0
  read -r id began <"$1/process"
  if [ -n "$began" ] && [ "$(started_at "$id")" = "$began" ]; then echo "$id"; fi
}

# Sends a signal to the folder's process; waits until it is gone where the signal ends it.
end_process() { # folder, signal, seconds to wait before SIGKILL
  local id deadline
  id=$(process_of "$1")
  [ -n "$id" ] || return 0
  kill "-$2" "$id" 2>/dev/null || true
  deadline=$((SECONDS + $3))
  while [ -n "$(process_of "$1")" ]; do
    [ $SECONDS -lt $deadline ] || kill -KILL "$id" 2>/dev/null || true
    sleep 0.05
  done
}

accepts() { # port
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A component that finds its port taken may look ready while another server answers: so it is refused beforehand.
refuse_busy_port() { # port, environment variable that chooses another
  accepts "$1" || return 0
  local owner=""
  command -v ss >/dev/null 2>&1 && owner=$(ss -Hltnp "sport = :$1" 2>/dev/null | grep -o 'users:.*' | head -1 || true)
  fail "port $1 is busy${owner:+ ($owner)}; set $2 to another"
}

# Waits until a check succeeds. Fails, with the end of the log, when the folder's process ends first or time is up.
wait_until_ready() { # folder, seconds, check...
  local folder=$1 seconds=$2 deadline=$((SECONDS + $2))
  shift 2
  until "$@"; do
    [ -n "$(process_of "$folder")" ] || { tail -n 15 "$folder/log" >&2; fail "the process ended; its log is above"; }
    [ $SECONDS -lt $deadline ] || { tail -n 15 "$folder/log" >&2; fail "not ready after $seconds s; its log is above"; }
    sleep 0.1
  done
}
