// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// setGroup runs the command in a process group of its own, so that all its processes can be ended.
func setGroup(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func stopGroup(id int) error { return syscall.Kill(-id, syscall.SIGKILL) }

func groupFile(folder string) string { return filepath.Join(folder, "handler.pid") }

// rememberGroup writes the process group of the running handler to a file, for StopLeftOver.
func rememberGroup(folder string, id int) error {
	return os.WriteFile(groupFile(folder), fmt.Appendf(nil, "%d %s", id, startOf(id)), 0o600)
}

func forgetGroup(folder string) { _ = os.Remove(groupFile(folder)) }

// StopLeftOver ends the processes of a handler that still run after the agent was killed. They must
// not run beside the next call.
func StopLeftOver(folder string) error {
	data, err := os.ReadFile(groupFile(folder))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer forgetGroup(folder)
	text, start, _ := strings.Cut(string(data), " ")
	id, err := strconv.Atoi(text)
	if err != nil || id <= 1 {
		return nil
	}
	if now := startOf(id); now != "" && now != start {
		return nil // another process has this number now
	}
	for until := time.Now().Add(time.Minute); syscall.Kill(-id, syscall.SIGKILL) == nil && groupRuns(id); {
		if time.Now().After(until) {
			return fmt.Errorf("processes of an earlier handler (process group %d) do not end: the device must be rebooted", id)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// groupRuns reports whether a process of the group has not ended. One that has ended is in the
// group until its parent has read its exit code, which an init process may do late, or never.
func groupRuns(id int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return true // it is not known
	}
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended meanwhile
		}
		if fields := statFields(data); len(fields) > 2 && fields[2] == strconv.Itoa(id) && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

// statFields returns the fields of a stat file of /proc after the name of the program, which may
// contain any character.
func statFields(data []byte) []string {
	text := string(data)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// startOf returns the boot and the start time of a process, or "" if there is none.
func startOf(id int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return ""
	}
	if fields := statFields(data); len(fields) > 19 {
		return Boot() + " " + fields[19]
	}
	return ""
}

// Boot returns an id of the present boot of the device.
func Boot() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
