#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kubectl as one file, bin/controlplane, and links their names to it
# in bin/k8s. Builds nothing if that file exists and hack/controlplane has not changed since, or if
# KUBEBUILDER_ASSETS names a folder with those three programs.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
root=$PWD

readonly names=(etcd kube-apiserver kubectl)
readonly version=hack/controlplane/go.mod
readonly built=bin/controlplane log=bin/controlplane.log stamp=bin/controlplane.cksum

export CGO_ENABLED=0
ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 -X k8s.io/component-base/version.gitMajor=1"
ldflags+=" -X k8s.io/component-base/version.gitMinor=37 -X k8s.io/component-base/version.gitTreeState=clean"

check_given_assets() {
	local name
	for name in "${names[@]}"; do
		if [[ ! -x $KUBEBUILDER_ASSETS/$name ]]; then
			echo "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, but there is no program $name in it. Unset the variable to have it built here." >&2
			exit 1
		fi
	done
	echo "control plane: using $KUBEBUILDER_ASSETS (KUBEBUILDER_ASSETS), nothing to build"
}

source_sum() { cat hack/controlplane/go.mod hack/controlplane/main.go "$0" | cksum; }

up_to_date() { [[ -x $built && -f $stamp && $(<"$stamp") == "$(source_sum)" ]]; }

elapsed() { printf '%dm%02ds' $((SECONDS / 60)) $((SECONDS % 60)); }

compiled() { grep -vc '^go: ' "$log" || true; }

# report PACKAGES: prints a line every 20 seconds until it is killed.
report() {
	while sleep 20 >/dev/null 2>&1 9>&-; do
		echo "  $(elapsed): $(compiled) packages compiled (at most $1; those in Go's cache are not counted)"
	done
}

build() {
	local packages
	echo "control plane: building etcd, kube-apiserver and kubectl $(sed -nE 's/.*k8s.io\/kubernetes (v.*)/\1/p' "$version") from their Go modules."
	echo "  This is done once: 5 to 20 minutes on two cores with an empty Go cache, less than a minute otherwise. Log: $log"
	: >"$log"
	packages=$(cd hack/controlplane && go list -deps . 2>>"$root/$log" | wc -l) || fail
	report "$packages" 9>&- &
	trap 'kill %1 2>/dev/null || true; rm -f "$built.new"' EXIT
	trap 'exit 130' INT TERM
	(cd hack/controlplane && go build -v -trimpath -ldflags "$ldflags" -o "$root/$built.new" .) >>"$log" 2>&1 || fail
	mv "$built.new" "$built"
	source_sum >"$stamp"
	echo "control plane: built in $(elapsed), $(compiled) packages compiled"
}

fail() {
	echo "control plane: the build failed after $(elapsed). The end of $log:" >&2
	tail -n 20 "$log" >&2
	exit 1
}

link_names() {
	local name
	mkdir -p bin/k8s
	for name in "${names[@]}"; do
		ln -sf ../controlplane "bin/k8s/$name"
	done
}

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
	check_given_assets
	exit
fi
mkdir -p bin
if command -v flock >/dev/null; then # a second call waits for the first one and then finds the file
	exec 9>bin/controlplane.lock
	flock 9
fi
up_to_date || build
link_names
