#!/usr/bin/env bash
# Shows that the tests can fail: applies each patch of scripts/mutants to a copy of the checkout, runs the tests that
# should catch it, and says whether they did. Outside of CI: every mutant is built anew.
# Usage: scripts/mutants.sh [PATTERN]      for example: scripts/mutants.sh '0[1-3]*'
set -euo pipefail
cd "$(dirname "$0")/.."
pattern=${1:-*}
copy=$(mktemp -d)
trap 'git worktree remove --force "$copy/aisle" >/dev/null 2>&1; rm -rf "$copy"' EXIT
git worktree add --quiet --detach "$copy/aisle" HEAD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$copy/target}

missed=0
for patch in scripts/mutants/$pattern.patch; do
  name=$(basename "$patch" .patch)
  git -C "$copy/aisle" checkout --quiet .
  if ! git -C "$copy/aisle" apply "$PWD/$patch"; then
    echo "BROKEN  $name: the patch does not apply any more; see scripts/mutants/README.md"
    missed=$((missed + 1))
    continue
  fi
  began=$SECONDS
  log=$copy/$name.log
  if (cd "$copy/aisle" && cargo test --quiet --package operators --features simulation --lib --test time &&
      cargo test --quiet --package dataflows --test engine) >"$log" 2>&1; then
    echo "MISSED  $name ($((SECONDS - began)) s)"
    missed=$((missed + 1))
  elif grep -q -E '^error(\[|: could not compile)' "$log"; then
    echo "BROKEN  $name: the patch does not compile any more; see scripts/mutants/README.md"
    missed=$((missed + 1))
  else
    echo "caught  $name ($((SECONDS - began)) s) by: $(grep -E '^    [a-z_:]+$' "$log" | sort -u | tr -s ' \n' ' ')"
  fi
done
exit $((missed > 0))
