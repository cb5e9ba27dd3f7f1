#!/usr/bin/env bash
# Makes a sample anew: a data folder as a kill leaves it, with checkpoints and ticks behind them. README.md says what is in it.
#
#   make.sh AISLE one|two    AISLE is the binary that writes it, built from the commit of which the sample is to be
#
# Ticks are minted by a clock, so no two samples are the same; each is checked with the binary that wrote it before this ends.
# `two` needs a Kafka broker of its own, which scripts/kafka.sh starts (KAFKA_PORT, by default 19862).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
aisle=$(realpath "$1")
sample=$2
work=$(mktemp -d)
ending=()
end() {
  [ -z "${running:-}" ] || kill -KILL "$running" || true
  for each in "${ending[@]}"; do $each || true; done
  rm -rf "$work"
}
trap end EXIT
fail() { echo "make.sh: $*" >&2; exit 1; }

# Waits until something holds, asked ever again.
await() {
  local deadline=$((SECONDS + 120))
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "\"$*\" does not come to hold"
    [ -z "${running:-}" ] || kill -0 "$running" 2>/dev/null || { cat "$work/said" >&2; fail "the run ended too soon"; }
    sleep 0.02
  done
}

# Runs in the background until something holds, and ends that by a signal.
run_until() { # signal, what...
  local signal=$1
  shift
  "$aisle" run aisle.toml --workers 2 --speed 400 >"$work/said" 2>&1 &
  running=$!
  await "$@"
  kill "-$signal" "$running"
  wait "$running" 2>/dev/null || true
  running=
}

# Runs to the end of the input in a copy of this folder.
run_copy() { # copy, more arguments...
  local copy=$1
  shift
  cp -a . "$copy"
  (cd "$copy" && "$aisle" run aisle.toml --once "$@") >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "it does not go on"; }
  grep -o 'restored as of tick [0-9]*, [0-9]* ticks are replayed' "$work/said" || fail "no checkpoint was used"
}

letters_of() { cat aisle-data/sinks/dead_letters/*.ndjson 2>/dev/null | grep -c "\"partition\":\"$1\"" || true; }
has_letters() { [ "$(letters_of web/0)" -ge 3 ] && [ "$(letters_of stores/0)" -ge 2 ]; }
manifests() { ls aisle-data/checkpoints/*/manifests 2>/dev/null || true; }
newest() { manifests | tail -n 1; }
progress() { grep -ho '"progress":[0-9]*' aisle-data/sinks/source_health/*.ndjson | tail -n 1 | cut -d : -f 2; }
# At least five ticks behind a checkpoint that is newer than `before`.
is_behind() {
  [ "$(manifests | wc -l)" -ge 2 ] && [ "$(newest)" != "$before" ] && [ "$(progress)" -ge $((10#$(newest) + 5)) ]
}

# One letter enters again as it was mended, and all of a code as they were, to be refused again.
enter_letters() {
  "$aisle" dead-letters list aisle-data --json --partition stores/0 --code not_json | head -n 1 | python3 -c '
import json, sys
letter = json.loads(sys.stdin.readline())
letter["record"] = json.loads(letter["record"].replace(",,", ",", 1))
print(json.dumps(letter))' >letters.ndjson
  "$aisle" dead-letters re-enter aisle-data --letters letters.ndjson
  "$aisle" dead-letters re-enter aisle-data --partition web/0 --code unknown_kind
  rm letters.ndjson
}

# What belongs to the machine on which it was made is no part of the sample.
forget_machine() { rm -f aisle-data/{LOCK,address,inputs-folder}; }

# Lines of SHA-256, bytes and path: of the outputs of a data folder, as far as ticks below the second argument go.
outputs() { # data folder, ticks
  (cd "$1" && python3 - "$2" <<'PYTHON'
import hashlib, json, pathlib, sys
upper = int(sys.argv[1])
for path in sorted(path for folder in ("sinks", "history") for path in pathlib.Path(folder).rglob("*.*")):
    data = path.read_bytes()
    if path.suffix == ".ndjson":
        lines = data.splitlines(keepends=True)
        kept = [said for said in lines if json.loads(said).get("tick", -1) < upper >= json.loads(said).get("progress", 0)]
        data = b"".join(kept)
        assert lines[: len(kept)] == kept, path
    print(hashlib.sha256(data).hexdigest(), len(data), path)
PYTHON
  )
}

make_one() {
  python3 "$here/records.py" input 1736000040000
  zstd -q --rm input/kiosk-*.ndjson
  run_until TERM has_letters
  enter_letters
  before=$(newest)
  run_until KILL is_behind
  run_copy "$work/ended" --workers 2
  # The log as of the end, everything else as of the kill.
  stat -c %s aisle-data/remap.log >killed-at-byte
  cp "$work/ended/aisle-data/remap.log" aisle-data/remap.log
  forget_machine
  outputs "$work/ended/aisle-data" 1000000000 >expected
  # The binary that wrote it writes the same from there.
  run_copy "$work/again" --workers 3
  outputs "$work/again/aisle-data" 1000000000 | diff expected - || fail "it is not the same again"
  "$aisle" replay "$work/again/aisle-data"
}

tool() { java -Xmx128m -cp "$(echo "${AISLE_CACHE:-$HOME/.cache/aisle}"/kafka-*/lib)/*" "org.apache.kafka.tools.$1" --bootstrap-server "$bootstrap" "${@:2}" 2>"$work/tool" || { cat "$work/tool" >&2; fail "$1"; }; }

topics=(web app kiosk stores wms)

# Sends the lines of files to their topics, a few at a time.
send() { # first file, last file, seconds between a few lines
  local topic
  for topic in "${topics[@]}"; do
    (for number in $(seq -f %02g "$1" "$2"); do cat "input/$topic-$number.ndjson" 2>/dev/null || true; done) |
      (while mapfile -n 6 few && [ "${#few[@]}" -gt 0 ]; do printf %s "${few[@]}"; sleep "$3"; done) |
      tool ConsoleProducer --topic "$topic" --command-property linger.ms=5 >/dev/null &
    sending+=($!)
  done
}

make_two() {
  export KAFKA_PORT=${KAFKA_PORT:-19862} AISLE_RUNS=$work/runs
  kafka=$here/../../../../scripts/kafka.sh
  ending+=("$kafka stop")
  "$kafka" stop
  bootstrap=$("$kafka" start)
  sed -i -E 's,^files = "input/([a-z]*)-.*,topic = "\1",' aisle.toml
  # Here time is that of a clock, and goes slower than that of the records.
  sed -i -E 's/^(idle_ms|retention_ms) = .*/\1 = 36000000/' aisle.toml
  printf '\n[kafka]\nbootstrap = "127.0.0.1:%s"\n' "$KAFKA_PORT" >>aisle.toml
  python3 "$here/records.py" input $((($(date +%s) - 7200) * 1000))
  for topic in "${topics[@]}"; do tool TopicCommand --create --topic "$topic" --config retention.ms=-1; done
  sending=()
  send 0 3 0
  wait "${sending[@]}"
  run_until TERM has_letters
  enter_letters
  before=$(newest) sending=()
  send 4 11 0.2
  run_until KILL is_behind
  wait "${sending[@]}"
  # Nothing is left of what lies before the checkpoint, and the change files say no more than it needs.
  python3 - aisle-data/checkpoints/*/manifests/"$(newest)" "${topics[@]}" >"$work/offsets" <<'PYTHON'
import json, pathlib, sys
position = json.loads(open(sys.argv[1]).readline())["position"]
below = [{"topic": topic, "partition": 0, "offset": offset} for topic, offset in zip(sys.argv[2:], position["next"])]
print(json.dumps({"version": 1, "partitions": below}))
for path in pathlib.Path("aisle-data/sinks").rglob("*.ndjson"):
    kept = []
    for said in path.read_bytes().splitlines(keepends=True):
        kept.append(said)
        if json.loads(said).get("progress", 0) >= position["upper"]:
            break
    path.write_bytes(b"".join(kept))
PYTHON
  tool DeleteRecordsCommand --offset-json-file "$work/offsets"
  rm -r input
  restored=$(run_copy "$work/again" --workers 3)
  echo "$restored"
  ticks=$(grep -o '[0-9]*' <<<"$restored" | paste -sd + | bc)
  [ "$(grep -o 'tick [0-9]*' <<<"$restored")" = "tick $((10#$(newest)))" ] || fail "another checkpoint was used"
  # By a clock files of history come and go, too.
  outputs "$work/again/aisle-data" "$ticks" | grep -v ' history/' >expected
  forget_machine
  # The broker, ended in good order.
  kill -TERM "$(cut -d ' ' -f 1 "$AISLE_RUNS/kafka-$KAFKA_PORT/node-1/process")"
  ended() { grep -q 'shut down completed' "$AISLE_RUNS/kafka-$KAFKA_PORT/node-1/log"; }
  await ended
  cp -a "$AISLE_RUNS/kafka-$KAFKA_PORT/node-1/data" broker
  # They are as long as they may become, and made anew from the logs.
  rm broker/*/*.{index,timeindex}
}

mkdir "$work/sample"
cd "$work/sample"
cp "$here/aisle.toml" .
"make_$sample"
rm -rf "${here:?}/$sample"
cp -a "$work/sample" "$here/$sample"
echo "$sample: $("$aisle" --version)"
