#!/usr/bin/env bash
# Works on the cluster of a kubeconfig: `deploy.sh deploy|undeploy|install|uninstall|run`. The
# Makefile has a target for each of them. It prints the context first, and changes nothing unless
# the context was chosen:
#
#   KUBECONFIG  the kubeconfig, as for kubectl
#   CONTEXT     the context. Without it, a terminal is asked, and without a terminal the script ends
#   CHOSEN      set if KUBECONFIG was given for this call: its context is used if it is the only one
#   IMAGE       the image for controllers and device API, with tag or digest (deploy)
#   WAIT        how many seconds to wait until they are ready, 180; 0 does not wait (deploy)
#   CRDS        delete: also delete the CRDs, and with them all objects of Goshawk (undeploy)
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

readonly image_name=ghcr.io/goshawk-dev/goshawk namespace=goshawk-system
kubectl_path=${KUBECTL:-kubectl}
context='' folder=''

fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

kubectl() { "$kubectl_path" ${context:+--context="$context"} "$@"; }

server() { "$kubectl_path" config view --minify --context="$1" --output='jsonpath={.clusters[0].cluster.server}'; }

# choose VERB: sets context, and prints it.
choose() {
	local names current answer
	names=$("$kubectl_path" config get-contexts --output=name)
	[[ -n $names ]] || fail "the kubeconfig has no context: set KUBECONFIG to a kubeconfig of your cluster"
	current=$("$kubectl_path" config current-context 2>/dev/null || true)
	if [[ -n ${CONTEXT:-} ]]; then
		grep -qxF -- "$CONTEXT" <<<"$names" || fail "the kubeconfig has no context $CONTEXT; it has:" "$names"
		context=$CONTEXT
	elif [[ -n ${CHOSEN:-} && $names != *$'\n'* ]]; then
		context=$names
	elif [[ -n $current && -t 0 && -t 1 ]]; then
		read -r -p "$1 Goshawk in the cluster of context $current ($(server "$current"))? [y/N] " answer
		[[ $answer == [yY] || $answer == yes ]] || fail "nothing was changed"
		context=$current
	else
		fail "nothing was changed: choose the cluster with CONTEXT=NAME. The current context is ${current:-not set}${current:+ ($(server "$current"))}; the kubeconfig has:" "$names"
	fi
	echo "context: $context ($(server "$context"))"
}

# images: prints the entry of a kustomization that replaces the image.
images() {
	local last=${IMAGE##*/} name tag
	printf 'images:\n- name: %s\n' "$image_name"
	case $last in
	*@sha256:*)
		name=${IMAGE%@*}
		[[ ${name##*/} != *:* ]] || name=${name%:*} # the digest decides
		printf '  newName: %s\n  digest: %s\n' "$name" "${IMAGE#*@}"
		;;
	*:?*)
		tag=${last##*:}
		[[ $tag != latest ]] || fail "IMAGE=$IMAGE: the tag latest changes without a commit; give the tag of a version, or a digest"
		printf '  newName: %s\n  newTag: %s\n' "${IMAGE%:*}" "$tag"
		;;
	*) fail "IMAGE=$IMAGE has no tag: give it as NAME:TAG or NAME@sha256:DIGEST" ;;
	esac
}

# kustomization FOLDER...: sets folder to one with a kustomization of folders of config/. It is in
# the repository, because kustomize takes only relative paths.
kustomization() {
	local entry=
	[[ -z ${IMAGE:-} ]] || entry=$(images)
	mkdir -p .goshawk
	folder=$(mktemp -d .goshawk/deploy.XXXXXX)
	trap 'rm -rf "$folder"' EXIT
	{
		printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n'
		printf -- '- ../../config/%s\n' "$@"
		[[ -z $entry ]] || echo "$entry"
	} >"$folder/kustomization.yaml"
}

apply() { kubectl apply --server-side --force-conflicts -k "$1"; }

deploy() {
	kustomization default
	choose "install"
	apply "$folder"
	((${WAIT:-180} > 0)) || return 0
	local name
	for name in goshawk-controllers goshawk-device-api; do
		kubectl -n "$namespace" rollout status "deployment/$name" --timeout="${WAIT:-180}s" || fail \
			"$name is not ready after ${WAIT:-180} seconds. Look at its pods and its log:" \
			"  kubectl --context=$context -n $namespace describe pods -l app.kubernetes.io/component=${name#goshawk-}" \
			"  kubectl --context=$context -n $namespace logs deployment/$name"
	done
}

delete_crds() {
	kubectl delete --ignore-not-found --timeout=300s -k config/crd || fail \
		"the CRDs were not deleted: an object has a finalizer that the controllers remove, so they must run until the CRDs are deleted"
}

undeploy() {
	case ${CRDS:-keep} in
	keep | delete) ;;
	*) fail "CRDS=$CRDS: it must be keep or delete" ;;
	esac
	choose "remove"
	# First the CRDs, because the controllers remove the finalizers of the objects.
	[[ ${CRDS:-keep} == keep ]] || delete_crds
	kustomization manager network-policy policy rbac
	kubectl delete --ignore-not-found -k "$folder"
	echo "namespace $namespace is kept: it has the record of invalidated sets"
	[[ ${CRDS:-keep} == delete ]] || echo "the CRDs and all objects of Goshawk are kept: CRDS=delete deletes them"
}

run() {
	choose "run"
	kubectl get crd rollouts.goshawk.dev --output=name >/dev/null || fail "the CRDs are missing in the cluster: run 'make install CONTEXT=$context' first"
	kubectl get namespace "$namespace" --output=name >/dev/null || fail "namespace $namespace, for the lease and the record of invalidated sets, is missing: create it first"
	mkdir -p .goshawk
	(umask 077 && kubectl config view --minify --flatten >.goshawk/run.kubeconfig)
	local flags
	read -ra flags <<<"${GOSHAWK_MANAGER_FLAGS:-}"
	exec "${GOSHAWK_MANAGER:-bin/manager}" --kubeconfig=.goshawk/run.kubeconfig --namespace="$namespace" \
		--ddi-bind-address="127.0.0.1:${GOSHAWK_DEVICE_API_PORT:-8080}" --mqtt-bind-address="127.0.0.1:${GOSHAWK_MQTT_PORT:-1883}" \
		--metrics-bind-address="127.0.0.1:${GOSHAWK_METRICS_PORT:-8081}" --health-probe-bind-address="127.0.0.1:${GOSHAWK_HEALTH_PORT:-8082}" \
		${flags[@]+"${flags[@]}"}
}

case ${1:-} in
deploy) deploy ;;
undeploy) undeploy ;;
install)
	choose "install the CRDs of"
	apply config/crd
	;;
uninstall)
	choose "delete the CRDs and all objects of"
	delete_crds
	;;
run) run ;;
*) fail "usage: deploy.sh deploy|undeploy|install|uninstall|run" ;;
esac
