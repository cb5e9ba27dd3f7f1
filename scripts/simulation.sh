#!/usr/bin/env bash
# The long run of the simulation: seeded clusters with crashes, torn writes and checkpoints, whose outputs are held against
# uninterrupted ones and the naive model. Usage: scripts/simulation.sh [RUNS]      10,000 by default, some 20 minutes
set -euo pipefail
cd "$(dirname "$0")/.."
export AISLE_RUNS=${1:-10000}
exec cargo test --release --package dataflows --test engine -- --nocapture simulation::crashes
