#!/usr/bin/env bash
# Runs the shell blocks of Markdown files that follow a line <!-- docs-check -->, in their order and
# in one shell for each file, against a Goshawk that this script starts on free ports of loopback.
# A command that fails ends the script, with the file and line of its block, and its output.
# The arguments are the files; without arguments, README.md and all files in docs/ with such blocks.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

# blocks FILE: prints the marked blocks as one script. Each block first prints its place.
blocks() {
	awk -v file="$1" '
		/^<!-- docs-check -->$/ { marked = NR; next }
		/^```(sh|bash)$/ && marked == NR - 1 { inside = 1; printf "echo \"== %s:%d\"\n", file, NR; next }
		/^```$/ && inside { inside = 0; next }
		inside { print }
		marked && NR == marked + 1 { failed = NR ": no shell block follows the mark"; exit }
		END {
			if (!failed && marked == NR) failed = NR ": no shell block follows the mark"
			if (!failed && inside) failed = NR ": the last shell block has no end"
			if (failed) { print file ":" failed >"/dev/stderr"; exit 1 }
		}
	' "$1"
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null ||
		echo $((20000 + RANDOM % 20000))
}

files=("$@")
(($# > 0)) || mapfile -t files < <(grep -lxr --include='*.md' '<!-- docs-check -->' README.md docs | sort)
((${#files[@]} > 0)) || { echo "no Markdown file has a block marked with <!-- docs-check -->" >&2; exit 1; }

scripts=$(mktemp -d)
GOSHAWK_STATE=$scripts/state
export GOSHAWK_STATE
for name in ETCD ETCD_PEER APISERVER DEVICE_API MQTT METRICS HEALTH; do
	export "GOSHAWK_${name}_PORT=$(free_port)"
done
clean() {
	CLEAN=1 hack/down.sh >/dev/null || true
	rm -rf "$scripts"
}
trap clean EXIT

KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$PWD/bin/k8s}
export KUBEBUILDER_ASSETS
hack/up.sh
export KUBECONFIG=$GOSHAWK_STATE/kubeconfig PATH=$PWD/bin:$KUBEBUILDER_ASSETS:$PATH
for file in "${files[@]}"; do
	{
		# A block may start a job that a later one stops. When a block fails between them, this does.
		echo "trap 'kill \$(jobs -p) 2>/dev/null || true' EXIT"
		# The documents use the default port of the device API.
		blocks "$file" | sed "s/127\.0\.0\.1:8080/127.0.0.1:$GOSHAWK_DEVICE_API_PORT/g"
	} >"$scripts/run.sh"
	bash -o errexit -o nounset -o pipefail "$scripts/run.sh" </dev/null || {
		echo "docs-check: the last block of $file above failed" >&2
		exit 1
	}
done
echo "docs-check: all marked blocks of ${files[*]} work"
