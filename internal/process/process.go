// Package process wires Goshawk's controllers and its door into one process: the same wiring for the binary, the stories and the benchmarks.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/controllers"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/kube"
	"github.com/goshawk-dev/goshawk/internal/intents"
	"github.com/goshawk-dev/goshawk/internal/targets"
)

// Options are the settings of a process.
type Options struct {
	// Controllers and Door say what the process runs.
	Controllers, Door bool
	// Namespace of Goshawk's own objects: leases and tombstones.
	Namespace string
	// LeaderElect lets one of several processes run the controllers. A door is served by all.
	LeaderElect bool
	// MetricsAddress and HealthAddress; "0" serves none.
	MetricsAddress, HealthAddress string
	// DoorListener that devices come to; needed with Door.
	DoorListener net.Listener
	// DoorOptions of the HTTP server, Backend of what is behind it.
	DoorOptions ddi.Options
	Backend     kube.Options
	// RequireApproval makes spec.approvalRequired true for all rollouts.
	RequireApproval bool
	// WritesInFlight bounds this process's writes to Targets.
	WritesInFlight int
	// Now is the clock; nil: the machine's.
	Now func() time.Time
	// NewClient makes the clients that write; nil: controller-runtime's. Tests put faults here.
	NewClient client.NewClientFunc

	// slots are shared by the two managers of one process.
	slots targets.Slots
}

// Scheme knows all kinds that Goshawk reads or writes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // the kinds are compiled in
		}
	}
	return scheme
}

// Run runs until ctx ends. With controllers and door in one process under leader election, a lost lease ends the controllers, which stand for election again,
// and never the door.
func Run(ctx context.Context, config *rest.Config, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if !o.Controllers || !o.Door || !o.LeaderElect {
		return runManager(ctx, config, o)
	}
	o.slots = targets.NewSlots(o.WritesInFlight)
	door, lead := o, o
	door.Controllers, door.LeaderElect = false, false
	lead.Door, lead.MetricsAddress, lead.HealthAddress = false, "0", "0"
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- runManager(ctx, config, door)
	}()
	for ctx.Err() == nil {
		if err := runManager(ctx, config, lead); err != nil && ctx.Err() == nil {
			ctrl.Log.Error(err, "controllers ended; standing for election again")
			pause(ctx, time.Second)
		}
	}
	return <-ended
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func runManager(ctx context.Context, config *rest.Config, o Options) error {
	mgr, err := New(ctx, config, o)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// New wires a manager that is ready to start.
func New(ctx context.Context, config *rest.Config, o Options) (manager.Manager, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // WritesInFlight and API priority and fairness bound what is asked; a client-side rate would only delay a stop
	mgr, err := ctrl.NewManager(config, managerOptions(o))
	if err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	if err := controllers.AddIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	index := intents.New()
	if err := index.Follow(ctx, mgr.GetCache()); err != nil {
		return nil, err
	}
	store := targets.NewStore(index, mgr.GetClient(), mgr.GetAPIReader(), o.Now, o.WritesInFlight)
	if o.slots != nil {
		store.Share(o.slots)
	}
	if o.Controllers {
		if err := addControllers(mgr, index, store, o); err != nil {
			return nil, err
		}
	}
	if o.Door {
		if err := addDoor(mgr, store, o); err != nil {
			return nil, err
		}
	}
	return mgr, addProbes(mgr, index)
}

func managerOptions(o Options) manager.Options {
	grace := 15 * time.Second
	return manager.Options{
		Scheme:                        Scheme(),
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
		LeaderElection:                o.LeaderElect && o.Controllers,
		LeaderElectionID:              "goshawk-controllers",
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
		NewClient:                     o.NewClient,
		Cache: cache.Options{
			DefaultTransform: slim,
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Secret{}: {Field: fields.OneTermEqualSelector("type", string(kube.TokenSecretType))},
			},
		},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.ConfigMap{}}}},
	}
}

// slim drops from the caches what nobody here reads and what fleets pay for in memory.
func slim(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
		if notes := object.GetAnnotations(); notes[corev1.LastAppliedConfigAnnotation] != "" {
			delete(notes, corev1.LastAppliedConfigAnnotation)
			object.SetAnnotations(notes)
		}
	}
	return o, nil
}

func addControllers(mgr manager.Manager, index *intents.Index, store *targets.Store, o Options) error {
	recorder := mgr.GetEventRecorder("goshawk")
	tallies := controllers.NewTallies(index)
	for _, c := range []interface{ SetupWithManager(manager.Manager) error }{
		&controllers.SoftwareModuleReconciler{Client: mgr.GetClient(), Events: recorder, Now: o.Now},
		&controllers.DistributionSetReconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Index: index, Targets: store, Events: recorder, Now: o.Now, Namespace: o.Namespace,
		},
		&controllers.TargetReconciler{Client: mgr.GetClient(), Index: index, Targets: store, Now: o.Now},
		&controllers.RolloutReconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Index: index, Targets: store, Tallies: tallies, Events: recorder, Now: o.Now,
			RequireApproval: o.RequireApproval,
		},
		&controllers.AutoAssignmentReconciler{Client: mgr.GetClient(), Index: index, Events: recorder, Now: o.Now},
		&controllers.DeploymentGroupReconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Index: index, Tallies: tallies},
	} {
		if err := c.SetupWithManager(mgr); err != nil {
			return fmt.Errorf("set up %T: %w", c, err)
		}
	}
	return nil
}

// addDoor serves the door on every replica, leader or not.
func addDoor(mgr manager.Manager, store *targets.Store, o Options) error {
	backend := kube.New(store, mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder("goshawk-door"), o.Backend)
	options := o.DoorOptions
	options.Log, options.Registerer = mgr.GetLogger().WithName("door"), metrics.Registry
	server, err := ddi.NewServer(backend, options)
	if err != nil {
		return fmt.Errorf("make door: %w", err)
	}
	if err := mgr.Add(everywhere(func(ctx context.Context) error {
		if !store.Index.WaitForSync(ctx) {
			return errors.Join(ctx.Err(), o.DoorListener.Close())
		}
		return server.Serve(ctx, o.DoorListener)
	})); err != nil {
		return err
	}
	return mgr.Add(everywhere(backend.Flush))
}

// everywhere is a runnable of every replica.
type everywhere func(context.Context) error

// Start runs it.
func (e everywhere) Start(ctx context.Context) error { return e(ctx) }

// NeedLeaderElection is false: a lost lease never ends it.
func (e everywhere) NeedLeaderElection() bool { return false }

// addProbes: alive at once, ready when the caches and the index have synced.
func addProbes(mgr manager.Manager, index *intents.Index) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("caches", func(*http.Request) error {
		if !index.HasSynced() {
			return errors.New("the caches have not synced yet")
		}
		return nil
	})
}
