# shellcheck shell=bash
# What up.sh and down.sh know about a process that outlives them: .goshawk/NAME.pid holds its id, .goshawk/NAME.is what
# it was started as, .goshawk/NAME.log what it says.

state=$PWD/.goshawk

# names, in the order they start; down stops them in the opposite order.
# shellcheck disable=SC2034 # used by those who source this
readonly processes=(etcd kube-apiserver manager)

# command_of PID: its command line, empty if there is no such process.
command_of() {
	if [[ -d /proc/self ]]; then
		tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null || true
	else
		ps -o command= -p "$1" 2>/dev/null || true
	fi
}

# running NAME: true if its process lives. After a reboot another process can have its id, so the command
# line must contain the path of the state folder, as the command lines of all three do.
running() {
	local pid
	[[ -s $state/$1.pid ]] || return 1
	pid=$(<"$state/$1.pid")
	kill -0 "$pid" 2>/dev/null && [[ $(command_of "$pid") == *"$state/"* ]]
}

# stop NAME: asks, waits 20 seconds, then insists.
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
