// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manager wires Goshawk's controllers, its device API and its console into one process: the
// same wiring for the binary, the stories and the benchmarks.
//
// A process has a part for each namespace that it watches, or one for all of them. Each part has
// its own caches and controllers, so that a namespace whose objects cannot be read does not stop
// the others.
package manager

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/controllers"
	"github.com/goshawk-dev/goshawk/internal/apirequests"
	"github.com/goshawk-dev/goshawk/internal/artifact"
	"github.com/goshawk-dev/goshawk/internal/collectors"
	"github.com/goshawk-dev/goshawk/internal/console/source"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/decode"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetmetrics"
	"github.com/goshawk-dev/goshawk/internal/notification/outbox"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

// Options are the settings of a process.
type Options struct {
	// Controllers and DeviceAPI select what the process runs, beside the console.
	Controllers, DeviceAPI bool
	// Namespace of Goshawk's own objects: leases and the record of invalidated sets.
	Namespace string
	// WatchNamespaces are the namespaces that the process reads, reconciles and serves devices of.
	// If it is empty, these are all namespaces. Outside of them the process needs permissions only
	// in Namespace.
	WatchNamespaces []string
	// LeaderElect lets one of several processes run the controllers. The device API is served by
	// all.
	LeaderElect bool
	// MetricsAddress and HealthAddress are bind addresses. "0" disables the server.
	MetricsAddress, HealthAddress string
	// DeviceAPIListener accepts the connections of devices. It is required with DeviceAPI.
	DeviceAPIListener net.Listener
	// DeviceAPIOptions of the HTTP server. Its TLS, Log and Registerer are set by the process.
	DeviceAPIOptions ddi.Options
	// MQTT serves devices over MQTT, in addition. It requires DeviceAPI.
	MQTT MQTTOptions
	// Backend of the device API. Its Presence is set by the process.
	Backend kube.Options
	// PollIntervalsFile is the file of poll intervals by the labels of Targets, which is read again
	// when it changes. If it is empty, all targets have Backend.PollInterval.
	PollIntervalsFile string
	// CertificateFile and KeyFile, in PEM, are the server certificate of the device API, which then
	// serves HTTPS. They are read again when they change. If both are empty, it serves HTTP.
	CertificateFile, KeyFile string
	// Artifacts are the settings for artifacts that the device API sends to devices. The process
	// sets its PullSecrets, Log and Registerer. LinkLifetime is how long a link to such an artifact
	// is valid; zero: an hour.
	Artifacts    artifact.Options
	LinkLifetime time.Duration
	// Console serves the console, if it has a Listener.
	Console ConsoleOptions
	// RequireApproval treats spec.approvalRequired as true for all rollouts.
	RequireApproval bool
	// NotificationsSecret has the receiver of notifications. If its name is empty, there are none.
	NotificationsSecret types.NamespacedName
	// WritesInFlight is the maximum number of parallel writes of this process to Targets.
	WritesInFlight int
	// Now is the clock. If it is nil, the clock of the machine is used.
	Now func() time.Time
	// NewClient creates the clients that write. If it is nil, they are controller-runtime's. Tests
	// inject faults here.
	NewClient client.NewClientFunc
}

// Scheme returns a scheme with all kinds that Goshawk reads or writes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // the kinds are compiled in
		}
	}
	return scheme
}

// Run runs until ctx ends. It waits and retries when the API server is unavailable or a permission
// is missing.
//
// With controllers and device API in one process under leader election, a lost lease ends only the
// controllers, which wait for the lease again, and never the device API.
func Run(ctx context.Context, config *rest.Config, o Options) error {
	p, err := newProcess(config, o)
	if err != nil {
		return err
	}
	front, err := p.front()
	if err != nil {
		return err
	}
	if err := p.addNotifications(front); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return front.Start(ctx) })
	running.Go(func() error { return p.report(ctx) })
	if p.o.DeviceAPI {
		// The parts continue until the last device has its response.
		serving, served := context.WithCancel(context.WithoutCancel(ctx))
		running.Go(func() error {
			defer served()
			return p.serve(ctx)
		})
		running.Go(func() error { return p.runParts(serving, p.devices) })
		if intervals := p.o.Backend.PollIntervals; intervals != nil {
			running.Go(func() error { return intervals.Run(ctx) })
		}
	}
	if p.o.Controllers && len(p.leading) > 0 {
		running.Go(func() error { return p.lead(ctx) })
	}
	if p.outbox != nil && !p.o.LeaderElect {
		running.Go(func() error { return p.outbox.Run(ctx) })
	}
	if p.o.Console.Listener != nil {
		running.Go(func() error { return p.serveConsole(ctx) })
	}
	return running.Wait()
}

// process is the state that the parts of a process share.
type process struct {
	config *rest.Config
	o      Options
	slots  *targetstatus.Slots
	// unreadable reports the objects that cannot be decoded.
	unreadable *decode.Report
	// fleet exports the metrics about rollouts and targets while the controllers run.
	fleet *fleetmetrics.Collector
	// accesses exports the metric about DeviceAccesses while devices are served.
	accesses *fleetmetrics.Accesses
	// devices are the parts that serve devices. Without leader election they run the controllers as
	// well. leading are the parts of the elected leader.
	devices, leading []*part
	mqtt             mqttRestarts
	// console has the caches of the console. It is nil until the console is served.
	console atomic.Pointer[source.Source]
	// outbox delivers notifications. It is nil if there are none.
	outbox *outbox.Outbox
}

func newProcess(config *rest.Config, o Options) (*process, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Controllers && o.Namespace == "" {
		return nil, errors.New("--namespace is empty: the controllers need a namespace for their lease and the record of invalidated sets")
	}
	if o.Backend.Reports == nil {
		o.Backend.Reports = kube.NewReportBuffer()
	}
	if o.Backend.Registrations == nil {
		o.Backend.Registrations = kube.NewRegistrationLimits()
	}
	if o.DeviceAPI && o.PollIntervalsFile != "" {
		o.Backend.PollIntervals = kube.NewPollIntervals(o.PollIntervalsFile, ctrl.Log.WithName("device-api"))
	}
	o.Backend.Presence = o.MQTT.Listener != nil
	config = rest.CopyConfig(config)
	config.Wrap(apirequests.Wrap)
	config.QPS = -1 // WritesInFlight and API priority and fairness limit the requests; a client-side rate would only delay a stop
	p := &process{config: config, o: o, slots: targetstatus.NewSlots(o.WritesInFlight), unreadable: decode.NewReport(), fleet: fleetmetrics.New(o.Now), accesses: &fleetmetrics.Accesses{}}
	if err := errors.Join(collectors.Register(metrics.Registry, &p.fleet), collectors.Register(metrics.Registry, &p.accesses), collectors.Register(metrics.Registry, new(prometheus.Collector(p.slots)))); err != nil {
		return nil, err
	}
	namespaces := o.WatchNamespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	apart := o.LeaderElect && o.Controllers || !o.DeviceAPI
	for _, namespace := range namespaces {
		if o.DeviceAPI {
			p.devices = append(p.devices, newPart(p, namespace, true, o.Controllers && !apart))
		}
		if o.Controllers && apart {
			p.leading = append(p.leading, newPart(p, namespace, false, true))
		}
	}
	return p, nil
}

// runParts runs parts until ctx ends.
func (p *process) runParts(ctx context.Context, parts []*part) error {
	var running errgroup.Group
	for _, part := range parts {
		running.Go(func() error { return part.run(ctx) })
	}
	return running.Wait()
}

// serve serves devices from the start. A namespace that has not synced yet is Unavailable.
func (p *process) serve(ctx context.Context) error {
	if l := p.o.MQTT.Listener; l != nil {
		defer func() { _ = l.Close() }()
	}
	options := p.o.DeviceAPIOptions
	options.Log, options.Registerer = ctrl.Log.WithName("device-api"), metrics.Registry
	var err error
	if options.TLS, err = p.serverTLS(ctx, serverDDI, p.o.CertificateFile, p.o.KeyFile); err != nil {
		return errors.Join(err, p.o.DeviceAPIListener.Close())
	}
	secrets, err := secretClient(p.config)
	if err != nil {
		return errors.Join(fmt.Errorf("make client for Secrets: %w", err), p.o.DeviceAPIListener.Close())
	}
	store, err := p.artifacts(secrets)
	if err != nil {
		return errors.Join(err, p.o.DeviceAPIListener.Close())
	}
	defer store.Close()
	keys := &linkKeys{client: secrets, secret: types.NamespacedName{Namespace: p.o.Namespace, Name: linkKeysName}}
	reading, stop := context.WithCancel(ctx)
	var running errgroup.Group
	running.Go(func() error { return keys.run(reading) })
	defer func() { stop(); _ = running.Wait() }()
	options.Artifacts = ddi.Artifacts{Store: store, Keys: keys, Lifetime: cmp.Or(p.o.LinkLifetime, time.Hour)}
	server, err := ddi.NewServer(p.tenant, options)
	if err != nil {
		return errors.Join(fmt.Errorf("create the device API: %w", err), p.o.DeviceAPIListener.Close())
	}
	if !p.o.MQTT.isServed() {
		return server.Serve(ctx, p.o.DeviceAPIListener)
	}
	serving, ctx := errgroup.WithContext(ctx)
	serving.Go(func() error { return server.Serve(ctx, p.o.DeviceAPIListener) })
	serving.Go(func() error { return p.serveMQTT(ctx, server.FileLink) })
	return serving.Wait()
}

// serverTLS returns the TLS configuration of a server, or nil without a certificate. Until ctx
// ends, the certificate is read again when its files change; a pair of files that cannot be used is
// logged, and the last good one stays. Client certificates are requested from devices and not
// verified here, because the CA depends on the namespace.
//
// server is the value of the label of the metric about the end of the certificate.
func (p *process) serverTLS(ctx context.Context, server, certificateFile, keyFile string) (*tls.Config, error) {
	if certificateFile == "" {
		return nil, nil
	}
	watcher, err := certwatcher.New(certificateFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the %s from %s and %s: %w", serverNames[server], certificateFile, keyFile, err)
	}
	watcher.RegisterCallback(func(read tls.Certificate) { certificateRead(server, read) })
	go func() {
		if err := watcher.Start(ctx); err != nil {
			ctrl.Log.Error(err, "The certificate of the "+serverNames[server]+" is not read again when it changes", "file", certificateFile)
		}
	}()
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate, ClientAuth: tls.RequestClientCert}
	if server == serverConsole {
		config.ClientAuth, config.NextProtos = tls.NoClientCert, []string{"h2", "http/1.1"}
	}
	return config, nil
}

// artifacts returns the store of a process.
func (p *process) artifacts(secrets client.Reader) (*artifact.Store, error) {
	o := p.o.Artifacts
	o.PullSecrets, o.Log, o.Registerer = pullSecrets(secrets), ctrl.Log.WithName("artifacts"), metrics.Registry
	return artifact.New(o)
}

// tenant returns the backend of the namespace with the name of the tenant.
func (p *process) tenant(name string) (deviceapi.Backend, error) {
	for _, part := range p.devices {
		if part.namespace == metav1.NamespaceAll || part.namespace == name {
			return part.serving()
		}
	}
	return nil, deviceapi.ErrNotServed
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// slim drops fields from the caches that Goshawk does not read and that need much memory in a large
// fleet.
func slim(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
		if notes := object.GetAnnotations(); notes[corev1.LastAppliedConfigAnnotation] != "" {
			delete(notes, corev1.LastAppliedConfigAnnotation)
			object.SetAnnotations(notes)
		}
	}
	if inventory, ok := o.(*v1alpha1.TargetInventory); ok {
		inventory.Compress()
	}
	return o, nil
}

func addControllers(mgr manager.Manager, index *fleet.Index, store *targetstatus.Store, o Options) error {
	recorder := mgr.GetEventRecorder("goshawk")
	tallies := controllers.NewTallies(index)
	for _, c := range []interface{ SetupWithManager(manager.Manager) error }{
		&controllers.SoftwareModuleReconciler{Client: mgr.GetClient(), Events: recorder, Now: o.Now},
		&controllers.DistributionSetReconciler{
			Client: mgr.GetClient(), Live: decode.Reader(mgr.GetAPIReader()), Index: index, Targets: store, Events: recorder, Now: o.Now, Namespace: o.Namespace,
		},
		&controllers.TargetReconciler{Client: mgr.GetClient(), Index: index, Targets: store, Now: o.Now},
		&controllers.RolloutReconciler{
			Client: mgr.GetClient(), Live: decode.Reader(mgr.GetAPIReader()), Index: index, Targets: store, Tallies: tallies, Events: recorder, Now: o.Now,
			RequireApproval: o.RequireApproval,
		},
		&controllers.AutoAssignmentReconciler{Client: mgr.GetClient(), Index: index, Counts: controllers.NewAutoCounts(index), Events: recorder, Now: o.Now},
		&controllers.DeploymentGroupReconciler{Client: mgr.GetClient(), Live: decode.Reader(mgr.GetAPIReader()), Index: index, Tallies: tallies, Now: o.Now},
		&controllers.TargetInventoryReconciler{Client: mgr.GetClient(), Live: decode.Reader(mgr.GetAPIReader()), Index: index, Now: o.Now},
	} {
		if err := c.SetupWithManager(mgr); err != nil {
			return fmt.Errorf("set up %T: %w", c, err)
		}
	}
	return nil
}
