#!/usr/bin/env bash
# A module that two of our go.mod files list has one version in both: the Go build cache is keyed by version, so a
# difference makes thousands of packages be compiled twice. hack/lint/go.mod is not compared: the linter shares few
# packages with the product, and its versions follow golangci-lint.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

# versions GO_MOD: "module version" for everything it requires, sorted for join.
versions() {
	[[ -f $1 ]] || {
		echo "$1 is missing: run this in a complete checkout" >&2
		exit 1
	}
	sed -nE 's#^(require)?[[:space:]]+([^[:space:]]+\.[^[:space:]]*/?[^[:space:]]*) (v[^[:space:]]+).*#\2 \3#p' "$1" | LC_ALL=C sort -u
}

# replaced GO_MOD: the versions that its replace directives put in the place of the required ones.
replaced() {
	sed -nE 's#^(replace)?[[:space:]]+([^[:space:]]+) => ([^[:space:]]+) (v[^[:space:]]+)$#\2 \4#p' "$1" | LC_ALL=C sort -u
}

# effective GO_MOD: what is compiled: the replacement where there is one, else the requirement.
effective() {
	LC_ALL=C join -a 1 <(versions "$1") <(replaced "$1") | awk '{print $1, (NF > 2 ? $3 : $2)}'
}

# compare ONE OTHER: prints what differs.
compare() {
	LC_ALL=C join <(effective "$1") <(effective "$2") |
		awk -v one="$1" -v other="$2" '$2 != $3 {printf "%s: %s in %s, %s in %s\n", $1, $2, one, $3, other}'
}

differences=$(
	compare go.mod hack/controlplane/go.mod
	compare hack/tools/go.mod hack/controlplane/go.mod
)
if [[ -n $differences ]]; then
	cat >&2 <<END
$differences

These modules are compiled once for each version. Give both files the higher one: in the folder of the lower one run
'go get MODULE@VERSION' and 'go mod tidy'.
END
	exit 1
fi
