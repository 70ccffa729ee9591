#!/bin/sh
# Makes a tree of installed packages the same bytes whenever and wherever it is made, so that a layer
# whose packages did not change is not transferred again: settle.sh ROOT
#
# ROOT holds the environment as the image does, at opt/venv. No file keeps the time of its making,
# bytecode is compiled for these times, and tracebacks name the files as the image has them.
set -eu
root="$1"
tree="${root:?}/opt/venv"
mkdir -p "$tree"
# Some Pythons have a lib64 beside lib; in an environment it is a link to lib.
if [ -d "$tree/lib64" ] && [ ! -L "$tree/lib64" ]; then
  cp -a "$tree/lib64/." "$tree/lib/"
  rm -r "${tree:?}/lib64"
fi
find "$tree" -name __pycache__ -type d -prune -exec rm -r {} +
touch_all() { find "$root" -exec touch -h -d '2020-01-01T00:00:00Z' {} +; }
touch_all
# Files for other versions of Python do not compile, and nothing imports them.
PYTHONHASHSEED=0 /opt/venv/bin/python3 -m compileall -q -s "$root" -p / "$tree" >/dev/null || true
touch_all
