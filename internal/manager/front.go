// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// reportInterval is the interval at which the states of the parts are logged and exported as a
// metric.
const reportInterval = time.Second

var namespaceReady = collectors.Define(collectors.Definition{
	Name: "goshawk_namespace_ready", Process: collectors.Every,
	Help: "1 if Goshawk has read all objects that it needs in a namespace, 0 while it waits for caches or permissions; the empty namespace means all namespaces.",
	Labels: []collectors.Label{
		{Name: "namespace", Of: "those of --watch-namespaces, or empty", Max: 1000}, {Name: "role", Values: []string{"devices", "controllers"}},
	},
}).Gauges()

func init() { metrics.Registry.MustRegister(namespaceReady) }

// front returns a manager with probes and metrics. It has no caches, so that it responds from the
// start.
func (p *process) front() (manager.Manager, error) {
	front, err := ctrl.NewManager(p.config, manager.Options{
		Scheme:                 Scheme(),
		Metrics:                metricsserver.Options{BindAddress: p.o.MetricsAddress},
		HealthProbeBindAddress: p.o.HealthAddress,
	})
	if err != nil {
		return nil, fmt.Errorf("make probes and metrics: %w", err)
	}
	return front, errors.Join(
		front.AddHealthzCheck("ping", healthz.Ping),
		front.AddReadyzCheck("caches", func(*http.Request) error { return cmp.Or(p.ready(), p.consoleReady()) }),
	)
}

// parts returns the parts of the process, of both roles.
func (p *process) parts() []*part { return slices.Concat(p.devices, p.leading) }

// ready returns nil when each part of one role has synced. A blocked part keeps the process from
// being ready only if all parts of its role are blocked: a namespace with a missing permission is
// not served, and the others are.
func (p *process) ready() error {
	parts := p.devices
	if len(parts) == 0 {
		parts = p.leading
	}
	var ready int
	var waiting error
	for _, part := range parts {
		switch state, err := part.state(); state {
		case stateReady:
			ready++
		case stateSyncing:
			return fmt.Errorf("the caches of %s have not synced yet", part.place())
		case stateBlocked:
			waiting = errors.Join(waiting, fmt.Errorf("%s: %w", part.place(), err))
		}
	}
	if ready == 0 {
		return waiting
	}
	return nil
}

// report logs each change of the state of a part, and sets the metric, until ctx ends.
func (p *process) report(ctx context.Context) error {
	known := map[*part]state{}
	for ctx.Err() == nil {
		for _, part := range p.parts() {
			state, err := part.state()
			namespaceReady.WithLabelValues(part.namespace, part.role()).Set(map[bool]float64{true: 1}[state == stateReady])
			if known[part] == state {
				continue
			}
			known[part] = state
			log := ctrl.Log.WithName("process").WithValues("in", part.place(), "role", part.role())
			switch state {
			case stateBlocked:
				log.Error(err, "Goshawk cannot read the objects that it needs: grant the permissions in config/rbac, see docs/rights.md; devices get 503 until then, and no restart is needed")
			case stateReady:
				log.Info("Goshawk has read all objects that it needs")
			default:
			}
		}
		pause(ctx, reportInterval)
	}
	return nil
}

func (p *part) role() string {
	if p.devices {
		return "devices"
	}
	return "controllers"
}

// lead runs the controllers: at once, or while this process holds the lease. When the lease is
// lost, the controllers end and the process waits for the lease again.
func (p *process) lead(ctx context.Context) error {
	if !p.o.LeaderElect {
		return p.runParts(ctx, p.leading)
	}
	for ctx.Err() == nil {
		if err := p.term(ctx); err != nil && ctx.Err() == nil {
			if lostLease(err) {
				ctrl.Log.Info("another process has the lease; waiting for the lease again")
			} else {
				ctrl.Log.Error(err, "controllers ended; waiting for the lease again")
			}
			pause(ctx, time.Second)
		}
	}
	return nil
}

// term fills the caches, waits for the lease and runs the controllers until ctx ends or the lease
// is lost. The lease is released after the controllers have ended.
func (p *process) term(ctx context.Context) error {
	grace := 20 * time.Second
	election, err := ctrl.NewManager(p.config, manager.Options{
		Scheme:                        Scheme(),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0",
		LeaderElection:                true,
		LeaderElectionID:              "goshawk-controllers",
		LeaderElectionNamespace:       p.o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
	})
	if err != nil {
		return fmt.Errorf("create the leader election: %w", err)
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	elected := make(chan struct{})
	for _, part := range p.leading {
		part.elected = elected
	}
	var parts sync.WaitGroup
	parts.Go(func() { _ = p.runParts(working, p.leading) }) // a part retries and returns no error
	if err := election.Add(manager.RunnableFunc(func(ctx context.Context) error {
		close(elected)
		if p.outbox != nil {
			parts.Go(func() { _ = p.outbox.Run(ctx) }) // it retries and returns no error
		}
		<-ctx.Done()
		stop()
		parts.Wait()
		return nil
	})); err != nil {
		return err
	}
	err = election.Start(ctx)
	stop()
	parts.Wait()
	return err
}

// lostLease reports whether the controllers ended because another process is the leader.
// controller-runtime has no error type for it.
func lostLease(err error) bool { return strings.Contains(err.Error(), "leader election lost") }
