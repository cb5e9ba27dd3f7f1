#!/usr/bin/env bash
# Starts a real schema registry with Confluent's interface on loopback: Apicurio Registry, which keeps schemas in memory.
#
#   scripts/registry.sh start     prints one line: the base address, such as http://127.0.0.1:19481/apis/ccompat/v7
#   scripts/registry.sh status    says whether it runs; fails unless it does
#   scripts/registry.sh stop      ends it and removes everything it wrote
#   scripts/registry.sh kill|pause|resume    SIGKILL, SIGSTOP, SIGCONT; `start` starts or resumes it, without its schemas
#                                            if it was killed
#
# `start` may be called again and by many at once. Settings:
#   REGISTRY_PORT    its port (19481); whoever kills or pauses it takes his own
#   REGISTRY_URL     use that registry instead: nothing is started or stopped
#   AISLE_CACHE      folder for artifacts (~/.cache/aisle)
#   AISLE_RUNS       folder for what runs (/tmp/aisle-UID)
# shellcheck source=component.sh source-path=SCRIPTDIR
. "$(dirname "$0")/component.sh"

version=3.0.9
artifacts=$cache/registry-$version
port=${REGISTRY_PORT:-19481}
run=$runs/registry-$port
url=http://127.0.0.1:$port/apis/ccompat/v7

# Resolves the registry by Maven, once; it appears in the cache all at once or not at all.
fetch_artifacts() {
  need java default-jre-headless
  need curl curl
  [ -d "$artifacts" ] && return
  need mvn maven
  exec 8>"$cache/registry.lock"
  flock 8
  if [ ! -d "$artifacts" ]; then
    echo "$script: fetching Apicurio Registry $version into $artifacts" >&2
    local making archive=io.apicurio:apicurio-registry-app:$version:tar.gz:all
    making=$(mktemp -d "$cache/registry.XXXXXX")
    (cd "$making" && mvn -q -B -Dstyle.color=never dependency:get "-Dartifact=$archive" -Dtransitive=false &&
      mvn -q -B -Dstyle.color=never dependency:copy "-Dartifact=$archive" -DoutputDirectory=.) >&2 8>&- 9>&- ||
      { rm -rf "$making"; fail "Maven could not resolve Apicurio Registry $version; its answer is above"; }
    tar -xzf "$making"/*.tar.gz -C "$making"
    rm "$making"/*.tar.gz
    mv "$making" "$artifacts"
  fi
  exec 8>&-
}

answers() { curl -fsS -m 2 -o "$run/answer" "$url/subjects" 2>/dev/null; }

start() {
  fetch_artifacts
  local id
  id=$(process_of "$run")
  if [ -n "$id" ]; then
    kill -CONT "$id"
  else
    [ ! -f "$run/process" ] || wait_until_free "$port" 10
    refuse_busy_port "$port" REGISTRY_PORT
    rm -rf "$run"
    mkdir -p "$run"
    local jar
    jar=$(find "$artifacts" -name '*-runner.jar' | head -n 1)
    launch "$run" env QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_HTTP_PORT="$port" \
      java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$run" -jar "$jar"
  fi
  wait_until_ready "$run" 120 answers
  echo "$url"
}

if [ -n "${REGISTRY_URL:-}" ]; then
  need curl curl
  case ${1:-} in
    start | status)
      curl -fsS -m 5 -o /dev/null "$REGISTRY_URL/subjects" || fail "nothing answers at $REGISTRY_URL (REGISTRY_URL)"
      echo "$REGISTRY_URL"
      ;;
    stop) echo "$script: REGISTRY_URL is set; that registry is not ours to stop" >&2 ;;
    *) fail "\"${1:-}\" is for a registry that this script started; REGISTRY_URL is set" ;;
  esac
  exit
fi

case ${1:-} in
  status) single_status "$run" "$url" answers; exit ;;
  start | stop | kill | pause | resume) folders; lock "$runs/registry-$port.lock" ;;
esac
case ${1:-} in
  start) start ;;
  stop) end_process "$run" KILL 10; rm -rf "$run" ;;
  kill | pause | resume) fault "$run" "$1" ;;
  *) fail "start, stop, status, kill, pause or resume; see the head of the script" ;;
esac
