// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// reportEvery is how often the states of the parts are looked at for the log and the metric.
const reportEvery = time.Second

var namespaceReady = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "goshawk_namespace_ready",
	Help: "1 if all that Goshawk needs in a namespace has been read, 0 while it waits for caches or rights; an empty namespace stands for all of them.",
}, []string{"namespace", "role"})

func init() { metrics.Registry.MustRegister(namespaceReady) }

// front makes a manager with probes and metrics. It has no caches, so that it answers from the
// first moment.
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
		front.AddReadyzCheck("caches", func(*http.Request) error { return p.ready() }),
	)
}

// parts of the process, of both roles.
func (p *process) parts() []*part { return slices.Concat(p.devices, p.leading) }

// ready returns nil when every part of one role has synced. A part that is blocked holds the
// process up only if all parts of its role are: a namespace with a missing right is not served, and
// the others are.
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

// report logs every change of the state of a part, and keeps the metric, until ctx ends.
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
				log.Error(err, "Goshawk cannot read what it needs here: grant the rights of config/rbac, see docs/rights.md; devices get 503 until then, and no restart is needed")
			case stateReady:
				log.Info("Goshawk has read all that it needs here")
			}
		}
		pause(ctx, reportEvery)
	}
	return nil
}

func (p *part) role() string {
	if p.devices {
		return "devices"
	}
	return "controllers"
}

// lead runs the controllers: at once, or while this process holds the lease. A lost lease ends
// them, and the process stands for election again.
func (p *process) lead(ctx context.Context) error {
	if !p.o.LeaderElect {
		return p.runParts(ctx, p.leading)
	}
	for ctx.Err() == nil {
		if err := p.term(ctx); err != nil && ctx.Err() == nil {
			if lostLease(err) {
				ctrl.Log.Info("another process has the lease; standing for election again")
			} else {
				ctrl.Log.Error(err, "controllers ended; standing for election again")
			}
			pause(ctx, time.Second)
		}
	}
	return nil
}

// term fills the caches, waits for the lease and runs the controllers until ctx ends or the lease
// is lost. The lease is released after they have ended.
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
		return fmt.Errorf("make the election: %w", err)
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	elected := make(chan struct{})
	for _, part := range p.leading {
		part.elected = elected
	}
	var parts sync.WaitGroup
	parts.Go(func() { _ = p.runParts(working, p.leading) }) // a part tries again and has no error
	if err := election.Add(manager.RunnableFunc(func(ctx context.Context) error {
		close(elected)
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

// lostLease reports whether controllers ended because another process leads: controller-runtime has
// no type for it.
func lostLease(err error) bool { return strings.Contains(err.Error(), "leader election lost") }
