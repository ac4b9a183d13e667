#!/usr/bin/env bash
# Install Debian's Chromium, with which the tests drive kinto-admin, where it is missing.
# Where that is impossible this says so and what is left out, and ends with 0: the other tests do not need it.
set -euo pipefail

command -v chromium >/dev/null && exit 0

cannot() {
    echo "NO CHROMIUM: $1. The tests of kinto-admin will be skipped" \
        "(on Debian: apt-get install --no-install-recommends chromium fonts-dejavu-core)." >&2
    exit 0
}

command -v apt-get >/dev/null || cannot "there is no apt-get to install it with"
root=()
if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || cannot "installing it needs root, and sudo asks for a password"
    root=(sudo -n)
fi

echo "Installing Chromium (Debian packages chromium and fonts-dejavu-core)"
"${root[@]}" apt-get update -qq || cannot "apt-get update failed"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    chromium fonts-dejavu-core >/dev/null || cannot "apt-get install failed"
