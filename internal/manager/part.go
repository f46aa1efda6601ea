// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/controllers"
	"github.com/goshawk-dev/goshawk/internal/decode"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetmetrics"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// restartDelay is the delay before a part is set up again after a failure.
	restartDelay = 2 * time.Second
	// logInterval is the interval at which an unchanged failure is logged again.
	logInterval = 30 * time.Second
	// refusalTTL is how long a refused read counts if it is not refused again. A reflector
	// retries within a minute.
	refusalTTL = 65 * time.Second
	// syncRetry and refusedRetry are the values of Retry-After for devices: while caches fill, and
	// while a permission is missing.
	syncRetry, refusedRetry = 2 * time.Second, 30 * time.Second
)

// part is the work of a process in one namespace, or in all of them: its caches, and on top of them
// the controllers, the backend for devices, or both.
type part struct {
	process              *process
	namespace            string
	devices, controllers bool
	// elected is closed when the controllers may start. If it is nil they may start at once.
	elected <-chan struct{}

	current atomic.Pointer[running]
	mu      sync.Mutex
	failure error // of the last attempt to set the part up
}

// running holds the objects of a part that has been set up.
type running struct {
	backend *kube.Backend // nil if the part serves no devices
	synced  []toolscache.InformerSynced
	// whole is set once all caches have synced.
	whole atomic.Bool

	mu      sync.Mutex
	refused map[string]refusal // by the kind that is read
	// refusals is the number of refused reads, so that a poll of a device takes no lock.
	refusals atomic.Int32
}

// refusal is a list or watch that the API server refused.
type refusal struct {
	reflector *toolscache.Reflector
	// version of the reflector at that time. Another version means that it has read again since.
	version string
	at      time.Time
	err     error
}

func newPart(p *process, namespace string, devices, controllers bool) *part {
	return &part{process: p, namespace: namespace, devices: devices, controllers: controllers}
}

// place returns the namespace as it is written in messages.
func (p *part) place() string {
	if p.namespace == metav1.NamespaceAll {
		return "all namespaces"
	}
	return "namespace " + p.namespace
}

// run sets the part up and runs it until ctx ends. After a failure it starts again.
func (p *part) run(ctx context.Context) error {
	said, saidAt := "", time.Time{}
	for ctx.Err() == nil {
		err := p.once(ctx)
		hadBackend := p.current.Swap(nil) != nil && p.devices
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the process ends: this is no error
		}
		if hadBackend {
			p.process.mqtt.restart()
		}
		if err == nil {
			err = errors.New("it ended unexpectedly")
		}
		p.fail(err)
		if err.Error() != said || time.Since(saidAt) >= logInterval {
			said, saidAt = err.Error(), time.Now()
			ctrl.Log.Error(err, "Goshawk cannot work at the moment and retries", "in", p.place())
		}
		pause(ctx, restartDelay)
	}
	return nil
}

func (p *part) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
}

// once sets the part up and runs it until ctx ends or something fails. The caches run beside the
// manager, which starts when they have synced: a manager that is stopped while it waits for its
// caches never ends.
func (p *part) once(ctx context.Context) error {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	var caches sync.WaitGroup
	defer caches.Wait()
	defer stop()
	start := func(c cache.Cache) { caches.Go(func() { _ = c.Start(reading) }) } // it returns only when its context ends

	now := &running{refused: map[string]refusal{}}
	var objects cache.Cache
	if err := checkAPIServer(ctx, p.process.config); err != nil {
		return err
	}
	options := p.managerOptions(now, &objects)
	if err := decode.Isolate(&options.Cache, p.process.config, options.Scheme, p.process.unreadable); err != nil {
		return err
	}
	options.Logger = withoutRaces(ctrl.Log)
	mgr, err := ctrl.NewManager(p.process.config, options)
	if err != nil {
		return fmt.Errorf("make manager: %w", err)
	}
	if err := controllers.AddIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	index := fleet.New()
	if p.devices {
		index.Watch(fleetmetrics.NewDelays(p.process.o.Now).Changed)
	}
	followed := fleetmetrics.NewFleet(p.process.o.Now)
	if p.controllers {
		index.Watch(followed.Changed)
	}
	if err := index.Follow(ctx, mgr.GetCache()); err != nil {
		return err
	}
	now.synced = append(now.synced, index.HasSynced)
	store := targetstatus.NewStore(index, mgr.GetClient(), decode.Reader(mgr.GetAPIReader()), p.process.o.Now, p.process.o.WritesInFlight)
	store.Share(p.process.slots)
	if p.devices {
		secrets, err := p.addDevices(ctx, mgr, store, now)
		if err != nil {
			return err
		}
		start(secrets)
	}
	if p.controllers {
		if err := p.addControllers(mgr, index, store, followed); err != nil {
			return err
		}
	}
	if o := p.process.outbox; o != nil && p.controllers {
		if err := o.Follow(ctx, mgr.GetCache(), p.namespace); err != nil {
			return fmt.Errorf("follow the objects for notifications: %w", err)
		}
	}
	start(objects)
	p.fail(nil)
	p.current.Store(now)
	if !index.WaitForSync(ctx) {
		return ctx.Err()
	}
	return mgr.Start(ctx)
}

// started is a cache that is already running.
type started struct{ cache.Cache }

// Start waits for the end of ctx.
func (started) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// managerOptions returns options with which the manager uses a cache of the part. The cache is
// returned in objects, and not started by the manager.
func (p *part) managerOptions(now *running, objects *cache.Cache) manager.Options {
	grace := 15 * time.Second
	return manager.Options{
		Scheme:                  Scheme(),
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: &grace,
		NewClient:               logging.NewClient(p.process.o.NewClient),
		Cache:                   p.cacheOptions(now, fields.Everything()),
		NewCache: func(config *rest.Config, options cache.Options) (cache.Cache, error) {
			made, err := cache.New(config, options)
			*objects = made
			return started{made}, err
		},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}}}},
	}
}

// cacheOptions limits a cache to the namespace of the part. With a selector for one namespace,
// controller-runtime sends requests only for that namespace.
func (p *part) cacheOptions(now *running, selector fields.Selector) cache.Options {
	if p.namespace != metav1.NamespaceAll {
		selector = fields.AndSelectors(selector, fields.OneTermEqualSelector("metadata.namespace", p.namespace))
	}
	return cache.Options{
		DefaultTransform:     slim,
		DefaultFieldSelector: selector,
		DefaultWatchErrorHandler: func(ctx context.Context, r *toolscache.Reflector, err error) {
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
			now.recordRefusal(r, err, time.Now())
		},
	}
}

// addDevices creates the backend for devices. The Secrets with the tokens have a separate cache, so
// that the controllers do not wait for Secrets.
func (p *part) addDevices(ctx context.Context, mgr manager.Manager, store *targetstatus.Store, now *running) (cache.Cache, error) {
	options := p.cacheOptions(now, fields.OneTermEqualSelector("type", string(kube.TokenSecretType)))
	options.Scheme, options.Mapper, options.HTTPClient = mgr.GetScheme(), mgr.GetRESTMapper(), mgr.GetHTTPClient()
	secrets, err := cache.New(p.process.config, options)
	if err != nil {
		return nil, fmt.Errorf("make the cache of Secrets: %w", err)
	}
	informer, err := secrets.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("follow Secrets: %w", err)
	}
	now.backend = kube.New(store, decode.Reader(mgr.GetAPIReader()), mgr.GetEventRecorder("goshawk-device-api"), p.process.o.Backend)
	tokens := kube.NewTokens(now.backend, mgr.GetClient())
	tokens.Follow()
	synced, err := now.backend.FollowSecrets(informer)
	if err != nil {
		return nil, err
	}
	now.synced = append(now.synced, synced)
	accessStatus := kube.NewAccessStatus(now.backend, mgr.GetClient())
	accesses, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.DeviceAccess{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("follow DeviceAccesses: %w", err)
	}
	if synced, err = now.backend.FollowAccesses(accesses, informer, mgr.GetClient()); err != nil {
		return nil, err
	}
	now.synced = append(now.synced, synced)
	shared, ok := accesses.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("follow DeviceAccesses: informer %T has no store", accesses)
	}
	return secrets, errors.Join(
		kube.AddIndexes(ctx, mgr.GetFieldIndexer()),
		mgr.Add(manager.RunnableFunc(tokens.Run)),
		mgr.Add(manager.RunnableFunc(accessStatus.Run)),
		mgr.Add(manager.RunnableFunc(now.backend.Flush)),
		mgr.Add(manager.RunnableFunc(now.backend.RunPresence)),
		mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
			defer p.process.accesses.Follow(shared.GetStore())()
			<-ctx.Done()
			return nil
		})),
	)
}

// addControllers adds the controllers now, or when the process is elected. The caches are filled by
// then.
func (p *part) addControllers(mgr manager.Manager, index *fleet.Index, store *targetstatus.Store, followed *fleetmetrics.Fleet) error {
	elected := p.elected
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if elected != nil {
			select {
			case <-elected:
			case <-ctx.Done():
			}
		}
		defer p.process.fleet.Lead(followed)()
		p.process.unreadable.Announce(ctx, p.namespace, mgr.GetEventRecorder("goshawk"))
		return nil
	})); err != nil {
		return err
	}
	if elected == nil {
		return addControllers(mgr, index, store, p.process.o)
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		select {
		case <-elected:
			return addControllers(mgr, index, store, p.process.o)
		case <-ctx.Done():
			return nil
		}
	}))
}

// recordRefusal records a refused read until the reflector has read again.
func (r *running) recordRefusal(reflector *toolscache.Reflector, err error, at time.Time) {
	if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[reflector.TypeDescription()] = refusal{reflector, reflector.LastSyncResourceVersion(), at, err}
	r.refusals.Store(int32(len(r.refused)))
}

// denied returns the error of a read that is refused at the moment, or nil.
func (r *running) denied(now time.Time) error {
	if r.refusals.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var kinds []string
	for kind, refused := range r.refused {
		if refused.reflector.LastSyncResourceVersion() != refused.version || now.Sub(refused.at) > refusalTTL {
			delete(r.refused, kind)
			continue
		}
		kinds = append(kinds, kind)
	}
	r.refusals.Store(int32(len(r.refused)))
	if len(kinds) == 0 {
		return nil
	}
	return r.refused[slices.Min(kinds)].err
}

func (r *running) hasSynced() bool {
	if !r.whole.Load() && !slices.ContainsFunc(r.synced, func(synced toolscache.InformerSynced) bool { return !synced() }) {
		r.whole.Store(true)
	}
	return r.whole.Load()
}

// state of a part.
type state string

const (
	stateReady   state = "ready"   // all caches have synced
	stateSyncing state = "syncing" // the caches are being filled
	stateBlocked state = "blocked" // a read is refused, or the part cannot be set up
)

// state returns the state of the part, and the error that blocks it.
func (p *part) state() (state, error) {
	now := p.current.Load()
	if now == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.failure != nil {
			return stateBlocked, p.failure
		}
		return stateSyncing, nil
	}
	if err := now.denied(time.Now()); err != nil {
		return stateBlocked, err
	}
	if !now.hasSynced() {
		return stateSyncing, nil
	}
	return stateReady, nil
}

// serving returns the backend for devices, or Unavailable while the caches have not synced.
func (p *part) serving() (deviceapi.Backend, error) {
	switch state, err := p.state(); state {
	case stateReady:
		if now := p.current.Load(); now != nil {
			return now.backend, nil
		}
	case stateBlocked:
		return nil, deviceapi.Unavailable{RetryAfter: refusedRetry, Cause: err}
	default:
	}
	return nil, deviceapi.Unavailable{RetryAfter: syncRetry, Cause: errors.New("the caches have not synced yet")}
}
