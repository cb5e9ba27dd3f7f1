#!/usr/bin/env bash
# Kills the real binary at named points around every append, synchronisation and checkpoint, lets it go on, and holds what
# it wrote against an undisturbed run. Prints the table. Usage: scripts/faults.sh [test-name-part]
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --package dataflows --features faults --test faults -- --nocapture --test-threads 1 "$@"
