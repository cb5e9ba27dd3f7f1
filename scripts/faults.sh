#!/usr/bin/env bash
# Faults against the real binary: killed at named points around every append, synchronisation, checkpoint, transaction and
# step of the outbox; a real broker killed, frozen, away; full disks, clock steps, poison, flipped bits. Each run goes on
# and is held against its own two logs and the naive model. Prints one table; fails if anything was lost, duplicated, wrong.
#
#   scripts/faults.sh [--quick|--long] [part of a test's name]     --quick, the default, leaves out what takes longest
set -euo pipefail
cd "$(dirname "$0")/.."

names=() skipped=(--skip long_ --skip engine::)
for argument in "$@"; do
  case $argument in
    --quick) ;;
    --long) skipped=(--skip engine::) ;;
    -*) echo "faults.sh: does not know \"$argument\"; see the head of the script" >&2; exit 2 ;;
    *) names+=("$argument") ;;
  esac
done

table=$(mktemp)
export AISLE_FAULTS_TABLE=$table
finish() {
  # Brokers of the tests' own: nobody else uses them.
  KAFKA_PORT=19632 scripts/kafka.sh stop >/dev/null 2>&1 || true
  KAFKA_PORT=19642 scripts/kafka.sh stop --nodes 3 >/dev/null 2>&1 || true
  if [ -s "$table" ]; then
    echo
    echo "| fault | how it is known that it fired | lost | duplicated | wrong | s |"
    echo "|---|---|---|---|---|---|"
    cat "$table"
    echo
    echo "$(wc -l <"$table") faults, of which $(grep -vc '| 0 | 0 | 0 | [0-9.]* |$' "$table" || true) did harm"
  fi
  rm -f "$table"
}
trap finish EXIT

# More features than the points themselves only where the build is shared with something else, as CI does.
cargo test --no-fail-fast --workspace --features "${AISLE_FEATURES:-aisle/faults}" --test faults --test broker_faults -- \
  --test-threads 1 "${skipped[@]}" "${names[@]}"
