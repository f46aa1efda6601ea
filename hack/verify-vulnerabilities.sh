#!/usr/bin/env bash
# Checks with govulncheck that Goshawk calls no code with a known vulnerability. GOVULNDB is the URL
# of a copy of the Go vulnerability database. Where the database cannot be reached, the check is
# skipped with a sentence.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

govulncheck=$(go tool -modfile=hack/tools/go.mod -n govulncheck)
options=()
if [[ -n ${GOVULNDB:-} ]]; then
	options=(-db "$GOVULNDB")
fi

# A scan of the modules alone takes a second. Its result is not used, because most vulnerabilities of
# a module are in code that is not called: status 3 means that it has found some.
status=0
output=$(timeout 20 "$govulncheck" "${options[@]}" -scan module 2>&1) || status=$?
case $status in
0 | 3) ;;
124)
	echo "govulncheck is skipped: the Go vulnerability database does not answer within 20 s." >&2
	exit 0
	;;
*)
	if [[ $output == *"fetching vulnerabilities"* && -z ${GOVULNDB:-} ]]; then
		echo "govulncheck is skipped: the Go vulnerability database cannot be reached (GOVULNDB is the URL of a copy)." >&2
		exit 0
	fi
	echo "$output" >&2
	exit 1
	;;
esac

"$govulncheck" "${options[@]}" ./...
