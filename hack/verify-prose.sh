#!/usr/bin/env bash
# Checks how the repository is written. Without arguments all of these, with arguments those that are named:
#   header  every Go file starts with the licence header of hack/boilerplate.go.txt;
#   width   comments of Go files and paragraphs of Markdown are at most 100 columns wide (a tab counts as 4);
#   words   no comment, message, identifier or page uses a word of hack/words.txt.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

status=0
files() { git ls-files --cached --others --exclude-standard -z -- "$@"; }

# refuse WHY LINES
refuse() {
	[[ -n $2 ]] || return 0
	printf '%s:\n%s\n' "$1" "$(head -n 40 <<<"$2")" >&2
	status=1
}

check_header() {
	local header file
	header=$(head -n 1 hack/boilerplate.go.txt)
	refuse "these files do not start with the header of hack/boilerplate.go.txt" "$(
		files '*.go' | while IFS= read -r -d '' file; do
			head -n 3 "$file" | grep -qxF "$header" || echo "$file"
		done
	)"
}

check_width() {
	refuse "wider than 100 columns: wrap the comment or the paragraph" "$(
		files '*.go' '*.md' ':!docs/spec' ':!**/zz_generated*' | xargs -0 perl -CSD hack/prose.pl width
	)"
}

check_words() {
	refuse "words that have a plainer one (hack/words.txt; exceptions are in that file)" "$(
		files '*.go' '*.md' '*.yaml' '*.sh' 'Makefile' ':!hack/words.txt' | xargs -0 perl -CSD hack/prose.pl words hack/words.txt
	)"
}

[[ $# -gt 0 ]] || set -- header width words
for check in "$@"; do
	case $check in
	header | width | words) "check_$check" ;;
	*)
		echo "verify-prose.sh: there is no check $check; use header, width or words" >&2
		exit 2
		;;
	esac
done
exit $status
