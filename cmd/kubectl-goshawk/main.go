// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-goshawk is a plugin of kubectl: `kubectl goshawk` shows rollouts and targets,
// says why an update does not move, and changes the fields that control a rollout.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/goshawk-dev/goshawk/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	code := cli.Run(ctx, cli.NewCommand(streams), streams.ErrOut, os.Args[1:])
	stop()
	os.Exit(code)
}
