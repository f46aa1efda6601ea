# shellcheck shell=bash Processes that up.sh starts and down.sh stops: .goshawk/NAME.pid has the
# process id, .goshawk/NAME.is the program and its arguments, .goshawk/NAME.log the output.

state=${GOSHAWK_STATE:-$PWD/.goshawk}

# names in the order of their start; down.sh stops them in the opposite order. shellcheck
# disable=SC2034 # used by the scripts that source this file
readonly processes=(etcd kube-apiserver manager)

# command_of PID: prints the command line, or nothing if there is no such process.
command_of() {
	if [[ -d /proc/self ]]; then
		tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null || true
	else
		ps -o command= -p "$1" 2>/dev/null || true
	fi
}

# running NAME: true if the process runs. After a reboot another process can have the same id, so
# the command line must contain the path of the state folder, as the command lines of all three
# processes do.
running() {
	local pid
	[[ -s $state/$1.pid ]] || return 1
	pid=$(<"$state/$1.pid")
	kill -0 "$pid" 2>/dev/null && [[ $(command_of "$pid") == *"$state/"* ]]
}

# stop NAME: sends TERM, and KILL after 20 seconds.
stop() {
	local pid tenths
	if running "$1"; then
		pid=$(<"$state/$1.pid")
		kill -TERM "$pid" 2>/dev/null || true
		for ((tenths = 0; tenths < 200; tenths++)); do
			running "$1" || break
			sleep 0.1
		done
		if running "$1"; then
			echo "$1: did not stop within 20 seconds, killed" >&2
			kill -KILL "$pid" 2>/dev/null || true
			while running "$1"; do sleep 0.1; done
		fi
	fi
	rm -f "$state/$1.pid" "$state/$1.is"
}
