#!/usr/bin/env bash
# Proves who may import whom (docs/architecture.md): by the manifest's dependency graph, not by good will.
set -euo pipefail
cd "$(dirname "$0")/.."

tree() { cargo tree --quiet --edges normal --prefix none --format '{p}' "$@" | cut -d' ' -f1 | sort -u; }

refuse() { # who, which crates it must not have, cargo tree arguments...
  local who=$1 pattern=$2 found
  shift 2
  found=$(tree "$@" | grep -x -E "$pattern" || true)
  [ -z "$found" ] || { echo "layers.sh: $who must not depend on: $found" >&2; exit 1; }
}

io='connectors|axum|hyper|tokio|ureq|zstd|zstd-sys|flate2|fs4|glob|clap|indicatif|ctrlc'
refuse "operators" "$io|dataflows|methods|bench" --package operators
refuse "methods" "$io|dataflows|operators|bench|timely|differential-dataflow" --package methods
# (tokio comes with object_store, which is asked from a thread of its own.)
refuse "connectors" "dataflows|methods|bench|axum" --package connectors
refuse "dataflows without the feature run" "$io|bench" --package dataflows --no-default-features

# The two domains never import each other.
if grep -rn 'crate::inventory' dataflows/src/experiment dataflows/src/experiment.rs; then
  echo "layers.sh: experiment must not import inventory" >&2; exit 1
fi
if grep -rn 'crate::experiment' dataflows/src/inventory dataflows/src/inventory.rs; then
  echo "layers.sh: inventory must not import experiment" >&2; exit 1
fi
echo "layers.sh: every layer imports only what it may"
