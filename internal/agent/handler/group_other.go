// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package handler

import (
	"os"
	"os/exec"
)

// The agent runs on Linux. On other systems it can be built and tested, without process groups.

func setGroup(*exec.Cmd) {}

func stopGroup(id int) error {
	p, err := os.FindProcess(id)
	if err != nil {
		return err
	}
	return p.Kill()
}

func rememberGroup(string, int) error { return nil }

func forgetGroup(string) {}

// StopLeftOver does nothing on this system.
func StopLeftOver(string) error { return nil }

// Boot returns an id of the present boot of the device. This system has none.
func Boot() string { return "" }
