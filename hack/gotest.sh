#!/usr/bin/env bash
# Runs go test: hack/gotest.sh FLAG... -- PACKAGE...
# With RERUN=1, as in CI, it runs a failed test up to two more times, unless more than three tests
# failed or there was a data race. A test that passes then is a fault of the test or of the product,
# so this script names it in a line that starts with FLAKY.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

flags=()
while [[ $1 != -- ]]; do
	flags+=("$1")
	shift
done
shift
(($# > 0)) || exit 0

if [[ ${RERUN:-} != 1 ]]; then
	exec go test "${flags[@]}" "$@"
fi

report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
CGO_ENABLED=0 go build -modfile=hack/tools/go.mod -o bin/gotestsum gotest.tools/gotestsum
bin/gotestsum --format standard-quiet --rerun-fails=2 --rerun-fails-max-failures=3 \
	--rerun-fails-abort-on-data-race --rerun-fails-report="$report" --packages="$*" -- "${flags[@]}" || status=$?
if ((status == 0)); then
	sed -n 's/^\(.*\): \([0-9]* runs\?\), \([0-9]* failures\?\)$/FLAKY \1: \3 in \2/p' "$report"
fi
exit "$status"
