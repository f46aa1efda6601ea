#!/usr/bin/env bash
# Writes axe-core, which the browser tests check the accessibility of pages with, into
# internal/testing/chromium/axe: hack/axe.sh VERSION INTEGRITY. It needs npm. INTEGRITY is the
# checksum of the package as npm prints it (`npm view axe-core@VERSION dist.integrity`); compare it
# with a second source before you commit. Without arguments the files of the recorded version are
# written again.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

folder=$PWD/internal/testing/chromium/axe
read -r version integrity _ <"$folder/VERSION"
version=${1:-$version}
integrity=${2:-$integrity}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "axe-core@$version" >/dev/null
got=sha512-$(openssl dgst -sha512 -binary "axe-core-$version.tgz" | base64 -w0)
if [[ $got != "$integrity" ]]; then
	echo "the checksum of axe-core $version is $got, and not $integrity" >&2
	exit 1
fi
tar xzf "axe-core-$version.tgz"
cp package/axe.min.js package/LICENSE package/LICENSE-3RD-PARTY.txt "$folder"
echo "$version $integrity $(sha256sum package/axe.min.js | cut -d' ' -f1)" >"$folder/VERSION"
