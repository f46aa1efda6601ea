#!/usr/bin/env bash
# Runs `make generate` and fails with the difference if that changed, added or removed a file.
# Changes that are not committed are allowed, because the trees before and after are compared.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

index=$(mktemp -d)
trap 'rm -rf "$index"' EXIT

# tree NAME: prints the id of the present tree of the work folder. It uses a separate index.
tree() {
	GIT_INDEX_FILE="$index/$1" git add --all .
	GIT_INDEX_FILE="$index/$1" git write-tree
}

before=$(tree before)
make generate
after=$(tree after)
if ! git --no-pager diff --exit-code "$before" "$after"; then
	echo "verify: 'make generate' changed the files above. Commit these changes." >&2
	exit 1
fi
echo "verify: generated files are up to date"
