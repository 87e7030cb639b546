#!/usr/bin/env bash
# Installs what some tests need from outside npm, if it is not there: Chromium, for the test of the example's page. On Debian, as
# root; anywhere else, and when that fails, those tests are skipped and say so.
set -uo pipefail
if ! command -v chromium >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  # others may be installing too
  wait='-o DPkg::Lock::Timeout=120'
  # shellcheck disable=SC2086
  apt-get $wait update -qq && apt-get $wait install -y -qq --no-install-recommends chromium >/dev/null
fi
command -v chromium || echo 'no Chromium: the test of the page is skipped'
exit 0
