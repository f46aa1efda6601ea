#!/usr/bin/env bash
# Starts etcd, kube-apiserver and Goshawk's manager on loopback, in the background. A process that
# runs already is restarted only if its program or its arguments have changed. State is in
# .goshawk/.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/processes.sh
source hack/processes.sh

assets=${KUBEBUILDER_ASSETS:-$PWD/bin/k8s}
manager=${GOSHAWK_MANAGER:-$PWD/bin/manager}
kubeconfig=$state/kubeconfig
etcd_port=${GOSHAWK_ETCD_PORT:-12379}
etcd_peer_port=${GOSHAWK_ETCD_PEER_PORT:-12380}
apiserver_port=${GOSHAWK_APISERVER_PORT:-16443}
device_api_port=${GOSHAWK_DEVICE_API_PORT:-8080}
mqtt_port=${GOSHAWK_MQTT_PORT:-1883}
metrics_port=${GOSHAWK_METRICS_PORT:-8081}
health_port=${GOSHAWK_HEALTH_PORT:-8082}
read -ra manager_flags <<<"${GOSHAWK_MANAGER_FLAGS:-}" # further flags for the manager, separated by blanks

program_of() {
	case $1 in
	manager) echo "$manager" ;;
	*) echo "$assets/$1" ;;
	esac
}

# arguments_of NAME: prints one argument per line.
arguments_of() {
	case $1 in
	etcd)
		printf '%s\n' \
			"--data-dir=$state/etcd" \
			"--listen-client-urls=http://127.0.0.1:$etcd_port" \
			"--advertise-client-urls=http://127.0.0.1:$etcd_port" \
			"--listen-peer-urls=http://127.0.0.1:$etcd_peer_port" \
			"--initial-advertise-peer-urls=http://127.0.0.1:$etcd_peer_port" \
			"--initial-cluster=default=http://127.0.0.1:$etcd_peer_port" \
			--log-level=warn
		;;
	kube-apiserver)
		# The key that the server creates for its certificate also signs service account tokens, so
		# no other key is needed.
		printf '%s\n' \
			"--etcd-servers=http://127.0.0.1:$etcd_port" \
			--bind-address=127.0.0.1 \
			--advertise-address=127.0.0.1 \
			--endpoint-reconciler-type=none \
			"--secure-port=$apiserver_port" \
			"--cert-dir=$state/pki" \
			"--token-auth-file=$state/pki/tokens.csv" \
			--authorization-mode=RBAC \
			--service-account-issuer=https://kubernetes.default.svc \
			"--service-account-key-file=$state/pki/apiserver.key" \
			"--service-account-signing-key-file=$state/pki/apiserver.key" \
			--service-cluster-ip-range=10.0.0.0/24 \
			--disable-admission-plugins=ServiceAccount
		;;
	manager)
		printf '%s\n' \
			"--kubeconfig=$kubeconfig" \
			"--ddi-bind-address=127.0.0.1:$device_api_port" \
			"--mqtt-bind-address=127.0.0.1:$mqtt_port" \
			"--metrics-bind-address=127.0.0.1:$metrics_port" \
			"--health-probe-bind-address=127.0.0.1:$health_port" \
			--leader-elect=false \
			--namespace=goshawk-system \
			${manager_flags[@]+"${manager_flags[@]}"}
		;;
	esac
}

# ports_of NAME: prints lines "PORT VARIABLE PURPOSE".
ports_of() {
	case $1 in
	etcd)
		echo "$etcd_port GOSHAWK_ETCD_PORT etcd"
		echo "$etcd_peer_port GOSHAWK_ETCD_PEER_PORT etcd's peers"
		;;
	kube-apiserver)
		echo "$apiserver_port GOSHAWK_APISERVER_PORT the API server"
		;;
	manager)
		echo "$device_api_port GOSHAWK_DEVICE_API_PORT the device API"
		echo "$mqtt_port GOSHAWK_MQTT_PORT the MQTT broker"
		echo "$metrics_port GOSHAWK_METRICS_PORT metrics"
		echo "$health_port GOSHAWK_HEALTH_PORT health"
		;;
	esac
}

kubectl() { "$assets/kubectl" --kubeconfig="$kubeconfig" "$@"; }

# identity_of NAME: prints a checksum of the program, and its arguments. A process with another
# identity must be restarted.
identity_of() {
	cksum <"$(program_of "$1")"
	program_of "$1"
	arguments_of "$1"
}

current() { running "$1" && [[ -f $state/$1.is && $(<"$state/$1.is") == "$(identity_of "$1")" ]]; }

check_programs() {
	local name
	for name in "${processes[@]}"; do
		if [[ ! -x $(program_of "$name") ]]; then
			echo "$(program_of "$name") is missing: 'make up' builds it first" >&2
			exit 1
		fi
	done
	kubectl version --client >/dev/null 2>&1 || {
		echo "$assets/kubectl does not work: run 'make controlplane'" >&2
		exit 1
	}
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# check_ports NAME: fails if another process uses a port, before anything is started.
check_ports() {
	local port variable purpose
	while read -r port variable purpose; do
		if listens "$port"; then
			cat >&2 <<-END
				port $port on 127.0.0.1, which $purpose needs, is used by another program.
				Stop that program, or choose another port: $variable=$((port + 1000)) make up
			END
			exit 1
		fi
	done < <(ports_of "$1")
}

# start NAME: starts the process in its own session, so that Ctrl-C does not stop it. The shell
# writes its process id before it executes the program, so that `make down` always finds the
# process.
start() {
	local detach=(nohup) arguments=() argument
	while IFS= read -r argument; do arguments+=("$argument"); done < <(arguments_of "$1")
	if command -v setsid >/dev/null; then detach=(setsid); fi
	rm -f "$state/$1.pid"
	identity_of "$1" >"$state/$1.is"
	# shellcheck disable=SC2016 # the inner shell expands these
	"${detach[@]}" bash -c 'echo $$ >"$0" && exec "$@"' "$state/$1.pid" "$(program_of "$1")" "${arguments[@]}" \
		>"$state/$1.log" 2>&1 </dev/null 9>&- &
	disown
	while [[ ! -s $state/$1.pid ]]; do sleep 0.05; done
}

# answers PORT PATH: true if the response to a GET is 200.
answers() (
	exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
	printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
	IFS= read -r -t 5 line <&3 && [[ $line == *" 200 "* ]]
) 2>/dev/null

ready() {
	case $1 in
	etcd) answers "$etcd_port" /readyz ;;
	kube-apiserver) kubectl get --raw=/readyz --request-timeout=5s >/dev/null 2>&1 ;;
	manager) answers "$health_port" /readyz ;;
	esac
}

# wait_ready NAME SECONDS
wait_ready() {
	local deadline=$((SECONDS + $2))
	until ready "$1"; do
		running "$1" || give_up "$1" "ended before it was ready"
		((SECONDS < deadline)) || give_up "$1" "is not ready after $2 seconds"
		sleep 0.3
	done
}

give_up() {
	echo "$1 $2. The end of $state/$1.log:" >&2
	tail -n 20 "$state/$1.log" >&2
	echo "'make down' stops the processes that have started; 'make up' tries again." >&2
	exit 1
}

# raise NAME SECONDS
raise() {
	local did="runs already"
	if ! current "$1"; then
		start "$1"
		did=started
	fi
	wait_ready "$1" "$2"
	echo "$1: $did (process $(<"$state/$1.pid"))"
}

# write_credentials: creates a token for the administrator once, and writes the kubeconfig with it.
# The certificate authority is the server's own certificate, which the server creates at its first
# start.
write_credentials() {
	mkdir -p "$state/pki"
	if [[ ! -s $state/pki/tokens.csv ]]; then
		echo "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n'),admin,admin,system:masters" >"$state/pki/tokens.csv"
	fi
	cat >"$kubeconfig.new" <<-END
		apiVersion: v1
		kind: Config
		clusters:
		- name: goshawk
		  cluster: {server: "https://127.0.0.1:$apiserver_port", certificate-authority: pki/apiserver.crt}
		users:
		- name: admin
		  user: {token: $(cut -d, -f1 "$state/pki/tokens.csv")}
		contexts:
		- name: goshawk
		  context: {cluster: goshawk, user: admin, namespace: default}
		current-context: goshawk
	END
	mv "$kubeconfig.new" "$kubeconfig"
}

# apply FOLDER: applies the folder with kustomize if it has a kustomization, else all its files.
apply() {
	local how=-f
	[[ ! -f $1/kustomization.yaml ]] || how=-k
	kubectl apply --server-side --force-conflicts --field-manager=goshawk-up "$how" "$1" --output=name
}

wait_for_namespace() {
	local deadline=$((SECONDS + 60))
	until kubectl get namespace "$1" >/dev/null 2>&1; do
		((SECONDS < deadline)) || give_up kube-apiserver "has not created the namespace $1 within 60 seconds"
		sleep 0.3
	done
}

# create_prerequisites: creates the namespaces and definitions that the manager needs.
create_prerequisites() {
	wait_for_namespace default
	kubectl get namespace goshawk-system >/dev/null 2>&1 || kubectl create namespace goshawk-system >/dev/null
	local definitions
	definitions=$(apply config/crd)
	# shellcheck disable=SC2086 # one word for each definition
	kubectl wait --for=condition=Established --timeout=60s $definitions >/dev/null
	if [[ -d config/policy ]]; then apply config/policy >/dev/null; fi
	echo "definitions: $(wc -w <<<"$definitions") applied"
}

umask 077
mkdir -p "$state"
if command -v flock >/dev/null; then # two calls at the same time would start everything twice
	exec 9>"$state/lock"
	flock 9
fi

check_programs
for name in "${processes[@]}"; do
	if ! current "$name"; then
		stop "$name"
		check_ports "$name"
	fi
done
write_credentials
raise etcd 60
raise kube-apiserver 180
create_prerequisites
raise manager 90
cat <<END

Goshawk is up.
  devices:  http://127.0.0.1:$device_api_port
  by MQTT:  mqtt://127.0.0.1:$mqtt_port
  metrics:  http://127.0.0.1:$metrics_port/metrics
  logs:     $state/{etcd,kube-apiserver,manager}.log
  kubectl:  export KUBECONFIG=$kubeconfig PATH=\$PATH:$assets
  stop it:  make down
END
