#!/usr/bin/env bash
# Checks that no file of the repository contains a path of a developer's machine or the markers of a
# merge conflict, and that no manifest has a dollar sign before a brace, which Flux's variable
# substitution would replace.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

status=0
files() { git ls-files --cached --others --exclude-standard -z -- "$@"; }

# refuse WHY LINES
refuse() {
	[[ -n $2 ]] || return 0
	printf '%s:\n%s\n' "$1" "$2" >&2
	status=1
}

# literal TEXT: the text as an extended regular expression.
literal() { sed 's/[][\.*^$()+?{}|]/\\&/g' <<<"$1"; }

here=$(files | xargs -0 grep -sInE "(^|[^[:alnum:]_./~-])($(literal "$PWD")|$(literal "${HOME:-$PWD}"))/" || true)
homes=$(files | xargs -0 grep -sInE '(^|[^[:alnum:]_./~-])/(home|Users)/[[:alnum:]]' -- || true)
conflicts=$(files | xargs -0 grep -sInE '^(<{7}|>{7}) ' || true)
refuse "the path of this machine's checkout or home" "$here"
refuse "a path in a home directory" "$homes"
refuse "a merge conflict that is not resolved" "$conflicts"
# shellcheck disable=SC2016 # the pattern must contain these two characters
refuse "Flux would substitute this" "$(files 'config/*.yaml' | xargs -0 -r grep -sInF '${' || true)"

exit $status
