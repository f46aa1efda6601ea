#!/usr/bin/env bash
# Runs every fuzz test that matches the regular expression FUZZ, one after the other, each for
# FUZZTIME. A test that fails because of an input ends the script; go test has then written the input
# to testdata/fuzz and its output names the file.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

tests=$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func / /' |
	awk -v fuzz="${FUZZ:-}" '$2 ~ fuzz' | sort)
if [[ -z $tests ]]; then
	echo "fuzz: no fuzz test has a name that matches FUZZ=${FUZZ:-}" >&2
	exit 1
fi

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# only_the_deadline reports whether a run failed only because its time was over. Go 1.26 fails a run
# without a finding in rare cases, if FUZZTIME ends while a worker is busy
# (https://go.dev/issue/75804, fixed in Go 1.27). Such a run has no failing input: the only text of
# the failure is "context deadline exceeded".
only_the_deadline() {
	! grep -q 'Failing input written' "$output" &&
		grep -A 1 -e '^--- FAIL: Fuzz' "$output" | grep -qx ' *context deadline exceeded' &&
		[[ $(grep -c '^    [^ ]' "$output") == 1 ]]
}

while read -r file name; do
	package=$(dirname "$file")
	echo "$name in $package"
	if ! go test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-10s}" "$package" </dev/null 2>&1 | tee "$output"; then
		only_the_deadline || exit 1
		echo "$name found no failing input: the end of FUZZTIME is not a failure (https://go.dev/issue/75804)"
	fi
done <<<"$tests"
