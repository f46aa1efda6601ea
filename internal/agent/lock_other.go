// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package agent

import "errors"

// ErrRunning means that another agent uses the folder.
var ErrRunning = errors.New("another goshawk-agent uses this folder")

// Lock does nothing on this system.
func Lock(string) (unlock func(), err error) { return func() {}, nil }
