#!/usr/bin/env bash
# Stops the processes that up.sh started. Data stays for the next start; CLEAN=1 removes it.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/processes.sh
source hack/processes.sh

if [[ ! -d $state ]]; then
	echo "nothing was started here"
	exit
fi
for ((i = ${#processes[@]} - 1; i >= 0; i--)); do
	name=${processes[i]}
	if running "$name"; then
		stop "$name"
		echo "$name: stopped"
	else
		stop "$name" # removes the files of a process that has ended
	fi
done
if [[ ${CLEAN:-} == 1 ]]; then
	rm -rf "$state"
	echo "$state: removed"
fi
