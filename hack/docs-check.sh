#!/usr/bin/env bash
# Runs the shell blocks of Markdown files that follow a line <!-- docs-check -->, in their order and
# in one shell for each file, against a Goshawk that this script starts on free ports of loopback.
# A command that fails ends the script, with its file, line and output.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

# blocks FILE: prints the marked blocks as one script. Each block first prints its place.
blocks() {
	awk -v file="$1" '
		/^<!-- docs-check -->$/ { marked = NR; next }
		/^```(sh|bash)$/ && marked == NR - 1 { inside = 1; printf "echo \"== %s:%d\"\n", file, NR; next }
		/^```$/ && inside { inside = 0; next }
		inside { print }
		marked && NR == marked + 1 { print file ":" NR ": no shell block follows the mark" >"/dev/stderr"; exit 1 }
	' "$1"
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null ||
		echo $((20000 + RANDOM % 20000))
}

mapfile -t files < <(grep -lx '<!-- docs-check -->' README.md docs/*.md)
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
	# The documents use the default port of the device API.
	blocks "$file" | sed "s/127\.0\.0\.1:8080/127.0.0.1:$GOSHAWK_DEVICE_API_PORT/g" >"$scripts/run.sh"
	bash -o errexit -o nounset -o pipefail -o monitor "$scripts/run.sh" </dev/null || {
		echo "docs-check: the last block of $file above failed" >&2
		exit 1
	}
done
echo "docs-check: all marked blocks of ${files[*]} work"
