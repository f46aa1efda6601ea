#!/usr/bin/env bash
# Runs `make generate` and fails with the difference if that changed, added or removed a file. Work that is not
# committed yet is no obstacle: what is compared is the tree before and the tree after.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

index=$(mktemp -d)
trap 'rm -rf "$index"' EXIT

# tree NAME: the id of the tree as it is in the work folder now, through an index of its own.
tree() {
	GIT_INDEX_FILE="$index/$1" git add --all .
	GIT_INDEX_FILE="$index/$1" git write-tree
}

before=$(tree before)
make generate
after=$(tree after)
if ! git --no-pager diff --exit-code "$before" "$after"; then
	echo "verify: 'make generate' changed the files above. Commit what it wrote." >&2
	exit 1
fi
echo "verify: generated files are up to date"
