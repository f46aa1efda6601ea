// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command goshawk-demo shows what Goshawk does: a fleet of simulated devices, a rollout that
// updates it group by group, and a bad update that one commit stops on all devices. It needs a
// cluster with Goshawk, such as `make up` starts, and does not delete its objects.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Println("\nInterrupted. The control plane still runs; make down stops it.")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "\ngoshawk-demo:", err)
		os.Exit(1)
	}
}

type options struct {
	deviceAPI string
	mqtt      string
	seed      int64
	devices   int
	patience  time.Duration
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("goshawk-demo", flag.ContinueOnError)
	flags.StringVar(&o.deviceAPI, "device-api", "http://127.0.0.1:8080", "URL of Goshawk's device API")
	flags.StringVar(&o.mqtt, "mqtt", "127.0.0.1:1883", "address of Goshawk's MQTT broker, which one of five devices uses; empty: none")
	flags.Int64Var(&o.seed, "seed", 7, "number that determines the behavior of the devices")
	flags.IntVar(&o.devices, "devices", 200, "number of devices, 20 to 2000")
	flags.DurationVar(&o.patience, "patience", 3*time.Minute, "maximum time of a rollout, after which the demo fails")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.devices < 20 || o.devices > 2000 {
		return o, fmt.Errorf("--devices is %d; give 20 to 2000", o.devices)
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	cluster, err := connect()
	if err != nil {
		return err
	}
	d := demo{options: o, cluster: cluster, screen: newScreen(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())), os.Getenv)}
	return d.run(ctx)
}

// connect returns a client for the cluster of KUBECONFIG.
func connect() (client.Client, error) {
	ctrl.SetLogger(logr.Discard())
	rest, err := config.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; start one with make up, and set KUBECONFIG", err)
	}
	rest.QPS = -1 // the number of writers limits the requests
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.New(rest, client.Options{Scheme: scheme})
}
