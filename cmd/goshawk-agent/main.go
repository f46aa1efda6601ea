// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command goshawk-agent updates the software of a device.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes. Programs on the device use them.
const (
	exitFailed       = 1
	exitInconsistent = 3
	exitReboot       = 4
	exitNotRunning   = 5
)

// exit is an error with an exit code of its own.
type exit struct {
	code int
	error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand(os.Stdout, os.Stderr).ExecuteContext(ctx)
	if err == nil {
		return
	}
	code := exitFailed
	if e := (exit{}); errors.As(err, &e) {
		code, err = e.code, e.error
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	os.Exit(code)
}
