#!/usr/bin/env bash
# Installs what is missing and runs every test. Usage: scripts/test.sh
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # command, Debian package
  command -v "$1" >/dev/null 2>&1 && return
  echo "test.sh: installing $2"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2" >/dev/null ||
    { echo "test.sh: could not install $2; install $1 by hand" >&2; exit 1; }
}
command -v cargo >/dev/null 2>&1 || { echo "test.sh: cargo is missing; install Rust 1.90 or newer with rustup" >&2; exit 1; }
need cc gcc

stage() { # title, command...
  local title=$1 began=$SECONDS
  shift
  echo "== $title"
  "$@"
  echo "== $title: $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
}

# What the tests start ends with them, also when they fail; what ran before goes on.
started=()
for component in kafka registry object-store; do
  "scripts/$component.sh" status >/dev/null 2>&1 || started+=("$component")
done
end_components() {
  local component
  for component in "${started[@]}"; do "scripts/$component.sh" stop >/dev/null 2>&1 || true; done
}
trap end_components EXIT

stage "layers" scripts/layers.sh
stage "without Kafka and history" cargo check --quiet --package aisle --no-default-features
stage "build" cargo build --workspace --all-targets
stage "tests" cargo test --workspace
