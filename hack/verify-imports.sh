#!/usr/bin/env bash
# Holds the rooms of the house apart: which package may import what, and that a pure rule asks no clock, writes no
# log and speaks to nobody. Test files are free. A room that is not built yet is passed over.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

mod=$(go list -m)
status=0

# imports ROOM: what its files other than tests import, one a line.
imports() { go list -f '{{join .Imports "\n"}}' "./$1"; }

built() { [[ -d $1 ]] && compgen -G "$1/*.go" >/dev/null; }

# complain ROOM WHY LINES
complain() {
	printf '%s: %s:\n%s\n' "$1" "$2" "$3" >&2
	status=1
}

# room ROOM PATH...: an import outside the standard library is one of the paths or below one.
room() {
	local room=$1 allowed stray
	shift
	built "$room" || return 0
	allowed=$(IFS='|' && echo "${*-}")
	stray=$(imports "$room" | { grep -E '^[^/]+\.' || true; } | { grep -vE "^(${allowed:-nothing})(/|$)" || true; })
	[[ -z $stray ]] || complain "$room" "may not import" "$stray"
}

# pure ROOM: neither clock nor log nor network.
pure() {
	local room=$1 found
	built "$room" || return 0
	found=$(imports "$room" | { grep -xE 'log|log/slog|net/http' || true; })
	[[ -z $found ]] || complain "$room" "is pure and may not import" "$found"
	found=$(find "$room" -maxdepth 1 -name '*.go' ! -name '*_test.go' -exec \
		grep -HnE '\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)\(' {} + || true)
	[[ -z $found ]] || complain "$room" "is pure; time is a value that it is given, not a clock that it asks" "$found"
}

# forbid ROOM PATH...: none of these, whatever else it imports.
forbid() {
	local room=$1 found
	shift
	built "$room" || return 0
	found=$(imports "$room" | { grep -E "^($(IFS='|' && echo "$*"))(/|$)" || true; })
	[[ -z $found ]] || complain "$room" "may not import" "$found"
}

api=$mod/api/v1alpha1
meta=k8s.io/apimachinery/pkg/apis/meta/v1

room api/v1alpha1 k8s.io/apimachinery/pkg
room internal/text
room internal/action "$api" "$mod/internal/text" "$meta" k8s.io/apimachinery/pkg/api/meta k8s.io/apimachinery/pkg/types
room internal/query "$api" k8s.io/apimachinery/pkg github.com/google/cel-go
room internal/window "$api" github.com/robfig/cron/v3
room internal/eligibility "$api" "$mod/internal/action" "$mod/internal/window" "$meta"
room internal/offer "$api" "$mod/internal/action" "$mod/internal/eligibility" "$mod/internal/window" k8s.io/apimachinery/pkg
room internal/rollout "$api" "$mod/internal/action" "$mod/internal/text" "$mod/internal/eligibility" "$mod/internal/offer" "$mod/internal/query" "$mod/internal/window" k8s.io/apimachinery/pkg
room internal/explain "$api" "$mod/internal/offer" "$mod/internal/query" "$mod/internal/rollout" k8s.io/apimachinery/pkg
room internal/autoassignment "$api" "$mod/internal/window" "$mod/internal/offer" k8s.io/apimachinery/pkg
room internal/deviceapi "$mod/internal/action"
room internal/ddi "$mod/internal/action" "$mod/internal/deviceapi" "$mod/internal/ddi/wire" golang.org/x/time/rate github.com/prometheus/client_golang github.com/go-logr/logr
room internal/ddi/wire
room internal/devicesim "$mod/internal/ddi/wire"

pure internal/text
pure internal/action
pure internal/query
pure internal/window
pure internal/eligibility
pure internal/offer
pure internal/rollout
pure internal/autoassignment
pure internal/explain

forbid internal/logging "$mod"
forbid internal/fleet "$mod/controllers" "$mod/internal/ddi" "$mod/internal/deviceapi"
forbid internal/ddi "$mod/internal/deviceapi/kube"
forbid internal/deviceapi/kube "$mod/controllers" "$mod/internal/ddi"

exit $status
