#!/usr/bin/env bash
# Checks the imports of each package, and that pure packages use no clock, no log and no network.
# Test files may import anything. A package that does not exist yet is skipped.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

mod=$(go list -m)
status=0

# imports PACKAGE: prints the imports of its files other than tests, one per line.
imports() { go list -f '{{join .Imports "\n"}}' "./$1"; }

built() { [[ -d $1 ]] && compgen -G "$1/*.go" >/dev/null; }

# complain PACKAGE WHY LINES
complain() {
	printf '%s: %s:\n%s\n' "$1" "$2" "$3" >&2
	status=1
}

# allow PACKAGE PATH...: each import outside the standard library must be one of the paths or below
# one.
allow() {
	local package=$1 allowed stray
	shift
	built "$package" || return 0
	allowed=$(IFS='|' && echo "${*-}")
	stray=$(imports "$package" | { grep -E '^[^/]+\.' || true; } | { grep -vE "^(${allowed:-nothing})(/|$)" || true; })
	[[ -z $stray ]] || complain "$package" "may not import" "$stray"
}

# pure PACKAGE: the package must not import a clock, a log or the network.
pure() {
	local package=$1 found
	built "$package" || return 0
	found=$(imports "$package" | { grep -xE 'log|log/slog|net/http' || true; })
	[[ -z $found ]] || complain "$package" "is pure and may not import" "$found"
	found=$(find "$package" -maxdepth 1 -name '*.go' ! -name '*_test.go' -exec \
		grep -HnE '\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)\(' {} + || true)
	[[ -z $found ]] || complain "$package" "is pure; time is a value that it is given, not a clock that it asks" "$found"
}

# forbid PACKAGE PATH...: the package must not import these paths.
forbid() {
	local package=$1 found
	shift
	built "$package" || return 0
	found=$(imports "$package" | { grep -E "^($(IFS='|' && echo "$*"))(/|$)" || true; })
	[[ -z $found ]] || complain "$package" "may not import" "$found"
}

api=$mod/api/v1alpha1
meta=k8s.io/apimachinery/pkg/apis/meta/v1

allow api/v1alpha1 k8s.io/apimachinery/pkg
allow internal/text
allow internal/room
allow internal/cancellation "$api"
allow internal/inventory "$api" "$mod/internal/text" k8s.io/apimachinery/pkg
allow internal/action "$api" "$mod/internal/cancellation" "$mod/internal/text" "$meta" k8s.io/apimachinery/pkg/api/equality k8s.io/apimachinery/pkg/api/meta k8s.io/apimachinery/pkg/types
allow internal/query "$api" k8s.io/apimachinery/pkg github.com/google/cel-go
allow internal/access "$api" "$mod/internal/text" "$mod/internal/query" k8s.io/apimachinery/pkg
allow internal/window "$api" github.com/robfig/cron/v3
allow internal/eligibility "$api" "$mod/internal/action" "$mod/internal/cancellation" "$mod/internal/window" "$meta"
allow internal/offer "$api" "$mod/internal/action" "$mod/internal/cancellation" "$mod/internal/eligibility" "$mod/internal/window" k8s.io/apimachinery/pkg
allow internal/rollout/bitmap
allow internal/rollout/grouping "$api" "$mod/internal/text" "$mod/internal/eligibility" "$mod/internal/query" k8s.io/apimachinery/pkg
allow internal/rollout/counting "$api" "$mod/internal/action" "$mod/internal/eligibility" "$mod/internal/offer" "$mod/internal/rollout/bitmap" k8s.io/apimachinery/pkg
allow internal/rollout "$api" "$mod/internal/action" "$mod/internal/cancellation" "$mod/internal/text" "$mod/internal/eligibility" "$mod/internal/query" "$mod/internal/window" k8s.io/apimachinery/pkg \
	"$mod/internal/rollout/bitmap" "$mod/internal/rollout/grouping" "$mod/internal/rollout/counting"
allow internal/autoassignment "$api" "$mod/internal/cancellation" "$mod/internal/window" "$mod/internal/eligibility" k8s.io/apimachinery/pkg
allow internal/fleetcounts "$api" "$mod/internal/action" k8s.io/apimachinery/pkg sigs.k8s.io/controller-runtime/pkg/client
# The rules that what is said to people is taken from.
rules=("$mod/internal/text" "$mod/internal/cancellation" "$mod/internal/action" "$mod/internal/inventory" "$mod/internal/query" "$mod/internal/access"
	"$mod/internal/window" "$mod/internal/eligibility" "$mod/internal/offer" "$mod/internal/rollout" "$mod/internal/autoassignment")
allow internal/operation "$api" "$mod/internal/text" "$mod/internal/cancellation" "$mod/internal/action" "$mod/internal/rollout" k8s.io/apimachinery/pkg sigs.k8s.io/structured-merge-diff/v6/fieldpath
allow internal/explain "$api" "${rules[@]}" "$mod/internal/history" "$mod/internal/operation" "$mod/internal/fleet" "$mod/internal/fleetcounts" k8s.io/apimachinery/pkg sigs.k8s.io/controller-runtime/pkg/client
allow internal/proposal "$api" "$mod/internal/operation" k8s.io/api/authorization/v1 k8s.io/apimachinery/pkg sigs.k8s.io/controller-runtime/pkg/client sigs.k8s.io/yaml
allow internal/progress "$api" "$mod/internal/text" "$mod/internal/explain" k8s.io/apimachinery/pkg
allow internal/schema "$mod/config/crd" k8s.io/apiextensions-apiserver k8s.io/apimachinery k8s.io/apiserver sigs.k8s.io/yaml
allow internal/admission "$mod/config/policy" "$mod/config/rbac" github.com/google/cel-go k8s.io/api k8s.io/apimachinery k8s.io/apiserver sigs.k8s.io/yaml
allow internal/manifest "$api" k8s.io/apimachinery go.yaml.in/yaml/v3 sigs.k8s.io/yaml
allow internal/cli "$api" "${rules[@]}" "$mod/internal/decode" "$mod/internal/operation" "$mod/internal/proposal" "$mod/internal/fleet" "$mod/internal/explain" "$mod/internal/progress" "$mod/internal/schema" "$mod/internal/admission" "$mod/internal/manifest" "$mod/internal/text" "$mod/internal/console" "$mod/internal/console/source" \
	k8s.io/apiserver/pkg/authorization/authorizer sigs.k8s.io/kustomize github.com/spf13 github.com/go-logr/logr golang.org/x/term k8s.io/api k8s.io/apimachinery k8s.io/cli-runtime k8s.io/client-go sigs.k8s.io/controller-runtime sigs.k8s.io/yaml
allow internal/console "$api" "${rules[@]}" "$mod/internal/operation" "$mod/internal/proposal" "$mod/internal/fleet" "$mod/internal/fleetcounts" "$mod/internal/explain" github.com/go-logr/logr golang.org/x/net/netutil golang.org/x/sync/errgroup k8s.io/api k8s.io/apimachinery sigs.k8s.io/controller-runtime/pkg/client
allow internal/console/source "$api" "$mod/internal/text" "$mod/internal/decode" "$mod/internal/fleet" "$mod/internal/fleetcounts" "$mod/internal/console" k8s.io/api/core/v1 k8s.io/apimachinery/pkg k8s.io/client-go/rest k8s.io/client-go/tools/cache sigs.k8s.io/controller-runtime/pkg/cache sigs.k8s.io/controller-runtime/pkg/client
allow internal/console/login "$api" "$mod/internal/text" "$mod/internal/console" github.com/coreos/go-oidc/v3/oidc golang.org/x/oauth2 golang.org/x/sync/singleflight github.com/go-logr/logr k8s.io/api/authorization/v1 k8s.io/apimachinery/pkg k8s.io/client-go/rest k8s.io/utils/lru sigs.k8s.io/controller-runtime/pkg/client
allow internal/history "$api" "$mod/internal/text" k8s.io/apimachinery/pkg
allow internal/notification "$api" "$mod/internal/history" "$mod/internal/text" k8s.io/apimachinery/pkg
allow internal/notification/webhook "$mod/internal/notification" "$mod/internal/text" github.com/cloudevents/sdk-go/v2 golang.org/x/net/http/httpguts
allow internal/deviceapi "$mod/internal/action" golang.org/x/time/rate
allow internal/collectors github.com/prometheus/client_golang
allow internal/apirequests "$mod/internal/collectors" github.com/prometheus/client_golang sigs.k8s.io/controller-runtime/pkg/metrics
allow internal/fleetmetrics "$api" "$mod/internal/fleetcounts" "$mod/internal/rollout" "$mod/internal/collectors" github.com/prometheus/client_golang k8s.io/apimachinery/pkg sigs.k8s.io/controller-runtime/pkg/client sigs.k8s.io/controller-runtime/pkg/metrics
allow internal/deviceapi/connections "$mod/internal/deviceapi" github.com/prometheus/client_golang
allow internal/ddi "$api" "$mod/internal/text" "$mod/internal/action" "$mod/internal/artifact" "$mod/internal/deviceapi" "$mod/internal/room" "$mod/internal/collectors" "$mod/internal/ddi/wire" golang.org/x/time/rate github.com/prometheus/client_golang github.com/go-logr/logr github.com/cespare/xxhash/v2
allow internal/ddi/wire github.com/fxamacker/cbor/v2
allow internal/ditto "$api" "$mod/internal/text" "$mod/internal/action" "$mod/internal/deviceapi" "$mod/internal/inventory" "$mod/internal/collectors" "$mod/internal/ditto/wire" golang.org/x/time/rate github.com/prometheus/client_golang github.com/go-logr/logr
allow internal/ditto/wire
allow internal/ditto/broker "$mod/internal/deviceapi" "$mod/internal/room" "$mod/internal/ditto" "$mod/internal/ditto/wire" "$mod/internal/collectors" golang.org/x/time/rate github.com/prometheus/client_golang github.com/go-logr/logr github.com/mochi-mqtt/server/v2/packets github.com/eclipse/paho.golang
allow internal/artifact "$mod/internal/room" "$mod/internal/collectors" golang.org/x/time/rate github.com/prometheus/client_golang github.com/go-logr/logr github.com/opencontainers oras.land/oras-go/v2
allow internal/devicesim "$mod/internal/ddi/wire" "$mod/internal/ditto/wire" "$mod/internal/devicesim/mqtt"
allow internal/devicesim/mqtt github.com/mochi-mqtt/server/v2/packets
# goshawk-agent knows no Kubernetes.
allow internal/agent/update
allow internal/agent/disk
allow internal/agent/journal "$mod/internal/agent/disk" "$mod/internal/agent/update"
allow internal/agent/handler "$mod/internal/agent/disk" "$mod/internal/agent/update"
allow internal/agent/download "$mod/internal/agent/disk" "$mod/internal/agent/update" aead.dev/minisign golang.org/x/time/rate
allow internal/agent/ddi "$mod/internal/ddi/wire"
allow internal/agent "$mod/internal/agent" "$mod/internal/ddi/wire" aead.dev/minisign golang.org/x/time/rate sigs.k8s.io/yaml
allow cmd/goshawk-agent "$mod/internal/agent" github.com/spf13/cobra

pure internal/text
pure internal/cancellation
pure internal/action
pure internal/inventory
pure internal/query
pure internal/access
pure internal/window
pure internal/eligibility
pure internal/offer
pure internal/rollout/bitmap
pure internal/rollout/grouping
pure internal/rollout/counting
pure internal/rollout
pure internal/operation
pure internal/autoassignment
pure internal/fleetcounts
pure internal/explain
pure internal/progress
pure internal/history
pure internal/notification
pure internal/ditto/wire
pure internal/agent/update

allow internal/logging "$mod/internal/text" github.com/go-logr/logr k8s.io/client-go/rest sigs.k8s.io/controller-runtime/pkg
forbid internal/notification/outbox "$mod/controllers" "$mod/internal/fleet"
forbid internal/fleet "$mod/controllers" "$mod/internal/ddi" "$mod/internal/ditto" "$mod/internal/deviceapi"
forbid internal/ddi "$mod/internal/deviceapi/kube"
forbid internal/ditto "$mod/internal/deviceapi/kube"
forbid internal/deviceapi/kube "$mod/controllers" "$mod/internal/ddi" "$mod/internal/ditto"

# Only tests, and the packages below internal/testing and test, import internal/testing.
found=$(go list -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}' ./... |
	{ grep -F " $mod/internal/testing" || true; } | { grep -vE "^$mod/(internal/testing|test)/" || true; })
[[ -z $found ]] || complain "internal/testing" "is for tests only, and is imported by" "$found"

exit $status
