#!/bin/bash
# Puts the bytes of an object with compress 1 through batteries of statistical tests. Not part of the checks: it takes from a
# minute (quick) to some hours (all), and docs/bytes.md holds the results. On Debian, with the component non-free enabled:
#   apt-get install dieharder rng-tools5 libtestu01-0-dev gcc
# Usage: scripts/statistical-quality.sh [quick|all] [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-quick}
export SEED=${2:-42}
npm run --silent build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# An object of 8 PiB on standard output; a test that has read enough closes the pipe, which is no error.
stream() {
  node --input-type=module -e '
    import { DataGenerator, pumpToDescriptor } from "millrace/bytes"
    const object = new DataGenerator({ seed: Number(process.env.SEED) }).beginObject({ size: 2 ** 53 - 1 })
    await pumpToDescriptor(object, 1).catch((error) => {
      if (error.code !== "EPIPE") throw error
    })'
}

has() {
  [ -n "$(command -v "$1")" ] || { echo "left out, not installed: $1"; return 1; }
}

echo "== rngtest (FIPS 140-2), $([ "$mode" = all ] && echo 400000 || echo 100000) blocks of 20000 bits, seed $SEED"
# about 0.08 % of the blocks of a true random source fail
if has rngtest; then
  { stream | rngtest -c "$([ "$mode" = all ] && echo 400000 || echo 100000)" 2>&1 || true; } | grep -E 'FIPS'
fi

echo "== TestU01 SmallCrush, bits as they are and reversed"
if has gcc && gcc -O2 -o "$work/small-crush" scripts/small-crush.c -ltestu01 -ltestu01probdist -ltestu01mylib -lm; then
  { stream || true; } | "$work/small-crush" | grep -vE '^ *$|^\*|HOST'
  { stream || true; } | "$work/small-crush" reversed | grep -vE '^ *$|^\*|HOST'
fi

echo "== dieharder"
if has dieharder; then
  # 200: raw 32-bit words from standard input.
  if [ "$mode" = all ]; then
    { stream || true; } | dieharder -g 200 -a
  else
    for test in 0 1 2 8 15 100 101; do
      { stream || true; } | dieharder -g 200 -d "$test" | grep '|' | grep -vE 'rng_name|test_name|stdin_input_raw\| *[0-9.e+]+ *\|'
    done
  fi
fi
