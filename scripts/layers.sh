#!/usr/bin/env bash
# Proves what no manifest says about who may import whom (docs/architecture.md). What a package does not name it cannot
# import; but an I/O crate may come in below another crate, and the two domains are modules of one package.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse_below() { # package, which crates must not be below it
  local found
  found=$(cargo tree --quiet --edges normal --prefix none --format '{p}' --package "$1" | cut -d' ' -f1 | sort -u |
    grep -x -E "$2" || true)
  [ -z "$found" ] || { echo "layers.sh: below $1 there must not be: $found" >&2; exit 1; }
}

io='connectors|axum|hyper|tokio|ureq|zstd|zstd-sys|flate2|fs4|glob|clap|indicatif|ctrlc'
refuse_below operators "$io"
refuse_below methods "$io|timely|differential-dataflow"
refuse_below dataflows "$io"

refuse_import() { # who, whom
  if grep -rn "crate::$2" "dataflows/src/$1" "dataflows/src/$1.rs"; then
    echo "layers.sh: $1 must not import $2" >&2; exit 1
  fi
}
refuse_import experiment inventory
refuse_import inventory experiment
echo "layers.sh: every layer imports only what it may"
