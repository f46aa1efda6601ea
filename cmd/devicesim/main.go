// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command devicesim simulates a fleet of devices that use a DDI device API, or MQTT. The behavior
// of the devices is implemented in internal/devicesim.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "devicesim:", err)
		os.Exit(2)
	}
}

// run runs the fleet until ctx or the time of --for ends, and then prints the counts.
func run(ctx context.Context, args []string, out io.Writer) error {
	out = &lineWriter{out: out}
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	config, err := o.config(out)
	if err != nil {
		return err
	}
	fleet, err := devicesim.New(config)
	if err != nil {
		return err
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	return play(ctx, fleet, o.quiet, out)
}

// lineWriter writes each line as a whole, also if several workers print at the same time.
type lineWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lineWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(line)
}

func play(ctx context.Context, fleet *devicesim.Fleet, quiet bool, out io.Writer) error {
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- fleet.Run(ctx) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			printStats(out, time.Since(start), fleet.Stats())
			return err
		case <-tick.C:
			if !quiet {
				printStats(out, time.Since(start), fleet.Stats())
			}
		}
	}
}

// printStats writes one line. Rare counts are left out while they are 0.
func printStats(out io.Writer, since time.Duration, s devicesim.Stats) {
	line := fmt.Sprintf("%s devices=%d polls=%d started=%d busy=%d succeeded=%d failed=%d canceled=%d",
		since.Round(time.Second), s.Devices, s.Polls, s.Started, s.Busy, s.Succeeded, s.Failed, s.Canceled)
	for _, more := range []struct {
		name  string
		count int64
	}{
		{"reports", s.Reports}, {"attributes", s.AttributesSent}, {"cancels-rejected", s.CancelsRejected}, {"confirmations", s.Confirmations},
		{"downloads", s.Downloads}, {"downloaded-bytes", s.DownloadedBytes},
		{"dropped", s.Dropped}, {"http-errors", s.HTTPErrors}, {"connected", s.Connected}, {"connection-errors", s.ConnectionErrors},
	} {
		if more.count > 0 {
			line += fmt.Sprintf(" %s=%d", more.name, more.count)
		}
	}
	if s.LastError != "" {
		line += fmt.Sprintf(" last-error=%q", s.LastError)
	}
	fmt.Fprintln(out, line)
}
