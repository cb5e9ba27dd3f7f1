#!/usr/bin/env bash
# Starts a real object store with Amazon S3's interface on loopback: versitygw over a folder. Conditional puts
# (`If-None-Match: *`, `If-Match`) are honoured, also among racing writers.
#
#   scripts/object-store.sh start    prints NAME=VALUE lines, the variables that S3 clients read; the bucket exists
#   scripts/object-store.sh status   says whether it runs; fails unless it does
#   scripts/object-store.sh stop     ends it and removes everything it wrote, objects included
#   scripts/object-store.sh kill|pause|resume    SIGKILL, SIGSTOP, SIGCONT; `start` starts or resumes it with its objects
#
# `start` may be called again and by many at once. Settings:
#   OBJECT_STORE_PORT   its port (19581); whoever kills or pauses it takes his own
#   OBJECT_STORE_URL    its address, to use that store instead, with AWS_* as they are set: nothing is started or stopped
#   AISLE_CACHE         folder for artifacts (~/.cache/aisle)
#   AISLE_RUNS          folder for what runs (/tmp/aisle-UID)
# shellcheck source=component.sh source-path=SCRIPTDIR
. "$(dirname "$0")/component.sh"

version=v1.8.0
# What it needs, and what is fetched where there is none.
go_least=1.25
go_version=1.25.5
go_sum=8cea6783dab64d68b38f5b81ecd38d45155a3c06638991acc6af19e0fca80edb
artifacts=$cache/versitygw-$version
port=${OBJECT_STORE_PORT:-19581}
run=$runs/object-store-$port
url=http://127.0.0.1:$port
bucket=aisle
access_key=aisle
secret_key=aisle-test-only

# The Go that builds it: one at hand that is new enough, or the distribution from Go's module mirror, in a folder that goes
# with the build. What Debian 12 and Ubuntu 24.04 call golang-go is too old.
go_of() { # folder
  local found=0
  # Its answer is its own version, not one that it would fetch.
  if command -v go >/dev/null 2>&1; then found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true); fi
  if [ "$(printf '%s\n' "$go_least" "${found#go}" | sort -V | head -n 1)" = "$go_least" ]; then
    command -v go
    return
  fi
  [ "$(uname -m)" = x86_64 ] || fail "versitygw needs Go $go_least or newer in the PATH; see https://go.dev/dl"
  need unzip unzip
  echo "$script: fetching Go $go_version" >&2
  curl -fsSL --retry 3 -o "$1/go.zip" \
    "https://proxy.golang.org/golang.org/toolchain/@v/v0.0.1-go$go_version.linux-amd64.zip" >&2 ||
    fail "Go could not be fetched; install Go $go_least or newer, see https://go.dev/dl"
  echo "$go_sum  $1/go.zip" | sha256sum --check --quiet >&2 || fail "the archive of Go $go_version is not the one that is known"
  unzip -q "$1/go.zip" -d "$1/go"
  mv "$1/go/golang.org/toolchain@v0.0.1-go$go_version.linux-amd64" "$1/distribution"
  # The archive keeps no permissions.
  chmod +x "$1"/distribution/bin/* "$1"/distribution/pkg/tool/*/*
  echo "$1/distribution/bin/go"
}

# Builds it by Go's own installer, once; it appears in the cache all at once or not at all.
fetch_artifacts() {
  need curl curl
  [ -x "$artifacts/versitygw" ] && return
  exec 8>"$cache/versitygw.lock"
  flock 8
  if [ ! -x "$artifacts/versitygw" ]; then
    local making go
    making=$(mktemp -d "$cache/versitygw.XXXXXX")
    # Expanded now: where it fails, the variable is gone.
    trap "rm -rf $(printf %q "$making")" EXIT
    go=$(go_of "$making")
    echo "$script: building versitygw $version into $artifacts (a minute or two)" >&2
    mkdir "$making/bin"
    GOTOOLCHAIN=local GOBIN=$making/bin "$go" install "github.com/versity/versitygw/cmd/versitygw@$version" >&2 8>&- 9>&- ||
      fail "Go could not build versitygw $version; its answer is above"
    rm -rf "$artifacts"
    mv "$making/bin" "$artifacts"
    rm -rf "$making"
    trap - EXIT
  fi
  exec 8>&-
}

# Any answer will do: without a signature it is a refusal, but one of this server.
answers() { curl -sS -m 2 -o /dev/null "$url/" 2>/dev/null; }

start() {
  fetch_artifacts
  local id
  id=$(process_of "$run")
  if [ -n "$id" ]; then
    kill -CONT "$id"
  else
    [ ! -f "$run/process" ] || wait_until_free "$port" 10
    refuse_busy_port "$port" OBJECT_STORE_PORT
    # A bucket is a folder in its folder.
    mkdir -p "$run/objects/$bucket"
    launch "$run" env ROOT_ACCESS_KEY=$access_key ROOT_SECRET_KEY=$secret_key \
      "$artifacts/versitygw" --port "127.0.0.1:$port" --quiet posix "$run/objects"
  fi
  wait_until_ready "$run" 30 answers
  cat <<LINES
AWS_ENDPOINT=$url
AWS_ENDPOINT_URL=$url
AWS_ACCESS_KEY_ID=$access_key
AWS_SECRET_ACCESS_KEY=$secret_key
AWS_REGION=us-east-1
AWS_ALLOW_HTTP=true
AWS_BUCKET=$bucket
LINES
}

if [ -n "${OBJECT_STORE_URL:-}" ]; then
  case ${1:-} in
    start | status) env | grep '^AWS_' ;;
    stop) echo "$script: OBJECT_STORE_URL is set; that store is not ours to stop" >&2 ;;
    *) fail "\"${1:-}\" is for a store that this script started; OBJECT_STORE_URL is set" ;;
  esac
  exit
fi

case ${1:-} in
  status) single_status "$run" "$url" answers; exit ;;
  start | stop | kill | pause | resume) folders; lock "$runs/object-store-$port.lock" ;;
esac
case ${1:-} in
  start) start ;;
  stop) end_process "$run" KILL 10; rm -rf "$run" ;;
  kill | pause | resume) fault "$run" "$1" ;;
  *) fail "start, stop, status, kill, pause or resume; see the head of the script" ;;
esac
