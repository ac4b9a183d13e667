#!/usr/bin/env bash
# install_debian.sh WHAT LEFT_OUT PACKAGE...: install packages of Debian that some tests need.
# Where that is impossible this says so and what is left out, and ends with 0: the other tests do not need them.
set -euo pipefail

what=$1 left_out=$2
shift 2
packages=("$@")

cannot() {
    echo "NO ${what^^}: $1. $left_out will be skipped (on Debian: apt-get install --no-install-recommends ${packages[*]})." >&2
    exit 0
}

command -v apt-get >/dev/null || cannot "there is no apt-get to install it with"
root=()
if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || cannot "installing it needs root, and sudo asks for a password"
    root=(sudo -n)
fi

echo "Installing $what (Debian: $*)"
"${root[@]}" apt-get update -qq || cannot "apt-get update failed"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null ||
    cannot "apt-get install failed"
