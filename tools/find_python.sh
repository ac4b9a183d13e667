#!/usr/bin/env bash
# Print the path of a Python interpreter that runs and is 3.11 or newer.
# With an argument (a name like python3.13, or a path) only that one will do.
set -u

wanted=${1:-}
candidates=()
for name in ${wanted:-python3 python3.13 python3.12 python3.11 python}; do
    candidates+=("$name")
    # A pyenv shim may exist for a version that is installed but not selected.
    if [[ $name != */* ]] && command -v pyenv >/dev/null; then
        for path in "$(pyenv root)"/versions/*/bin/"$name"; do
            candidates+=("$path")
        done
    fi
done

for candidate in "${candidates[@]}"; do
    "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11)); ' 2>/dev/null &&
        exec "$candidate" -c 'import sys; print(sys.executable)'
done

echo "No usable ${wanted:-Python} found: Python 3.11 or newer with its venv module is needed" \
    "(on Debian: apt-get install python3 python3-venv). Name another with PYTHON=/path/to/python3." >&2
exit 1
