#!/usr/bin/env bash
# Checks that a module in two of our go.mod files has the same version in both. The Go build cache
# is keyed by version, so with different versions thousands of packages are compiled twice.
# The go.mod files of hack/lint, hack/promtool, hack/dex and hack/nfpm are not compared: these
# programs share few packages with the product, and their versions follow golangci-lint, Prometheus,
# dex and nfpm.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

# versions GO_MOD: prints "module version" for each required module, sorted for join.
versions() {
	[[ -f $1 ]] || {
		echo "$1 is missing: run this in a complete checkout" >&2
		exit 1
	}
	sed -nE 's#^(require)?[[:space:]]+([^[:space:]]+\.[^[:space:]]*/?[^[:space:]]*) (v[^[:space:]]+).*#\2 \3#p' "$1" | LC_ALL=C sort -u
}

# replaced GO_MOD: prints the versions of its replace directives.
replaced() {
	sed -nE 's#^(replace)?[[:space:]]+([^[:space:]]+) => ([^[:space:]]+) (v[^[:space:]]+)$#\2 \4#p' "$1" | LC_ALL=C sort -u
}

# effective GO_MOD: prints the versions that are compiled: the replacement if there is one, else the
# required version.
effective() {
	LC_ALL=C join -a 1 <(versions "$1") <(replaced "$1") | awk '{print $1, (NF > 2 ? $3 : $2)}'
}

# compare ONE OTHER: prints the modules with different versions.
compare() {
	LC_ALL=C join <(effective "$1") <(effective "$2") |
		awk -v one="$1" -v other="$2" '$2 != $3 {printf "%s: %s in %s, %s in %s\n", $1, $2, one, $3, other}'
}

differences=$(
	compare go.mod hack/controlplane/go.mod
	compare hack/tools/go.mod hack/controlplane/go.mod
	# Helm requires a higher version of this small module than the control plane.
	compare hack/helm/go.mod hack/controlplane/go.mod | grep -v "^sigs.k8s.io/kustomize/kyaml:" || true
)
if [[ -n $differences ]]; then
	cat >&2 <<END
$differences

These modules are compiled once for each version. Give both files the higher one: in the folder of the lower one run
'go get MODULE@VERSION' and 'go mod tidy'.
END
	exit 1
fi
