// Package world puts a whole Goshawk into one test: a real API server, the controllers and the door in this process, and simulated devices that speak
// only HTTP with the door.
package world

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/process"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// World is one namespace of a running Goshawk.
type World struct {
	T         testing.TB
	Client    client.Client
	Namespace string
	// Door is the URL that devices come to.
	Door string
}

// systemNamespace is where Goshawk keeps its own objects.
const systemNamespace = "goshawk-system"

var shared struct {
	start sync.Once
	door  string
	err   error
}

// New makes a world in a fresh namespace. All worlds of a test binary share one process: the controllers see every namespace, and two of them would work
// against each other.
func New(t testing.TB) *World {
	t.Helper()
	config, c := cluster.Start(t)
	shared.start.Do(func() {
		if shared.err = EnsureSystemNamespace(c); shared.err != nil {
			return
		}
		var stop func() error
		shared.door, stop, shared.err = Start(context.Background(), process.Options{}, func(ctx context.Context, o process.Options) error {
			return process.Run(ctx, config, o)
		})
		if shared.err == nil {
			cluster.BeforeStop(stop)
		}
	})
	if shared.err != nil {
		t.Fatalf("starting Goshawk: %v", shared.err)
	}
	return &World{T: t, Client: c, Namespace: cluster.Namespace(t), Door: shared.door}
}

// Start runs a process with what o leaves open filled in for tests: controllers and door, short intervals, no probes. It answers the door's URL and a function
// that ends the process and waits for its end.
func Start(ctx context.Context, o process.Options, run func(context.Context, process.Options) error) (door string, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	o.Controllers, o.Door, o.DoorListener = true, true, listener
	o.Namespace, o.MetricsAddress, o.HealthAddress = systemNamespace, "0", "0"
	if o.WritesInFlight == 0 {
		o.WritesInFlight = 8
	}
	if o.Backend == (kube.Options{}) {
		o.Backend = kube.Options{PollInterval: time.Second, ProgressInterval: 5 * time.Second}
	}
	o.DoorOptions.DeviceRate = ddi.Rate{PerSecond: 1000, Burst: 1000}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o) }()
	return "http://" + listener.Addr().String(), func() error { cancel(); return <-ended }, nil
}

// LogTo sends what the controllers log to a test.
func LogTo(t *testing.T) { ctrl.SetLogger(testr.NewWithOptions(t, testr.Options{Verbosity: 0})) }

// EnsureSystemNamespace creates the namespace of Goshawk's own objects.
func EnsureSystemNamespace(c client.Client) error {
	return client.IgnoreAlreadyExists(c.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}))
}

// Apply creates or replaces objects from YAML, as `kubectl apply --server-side` would.
func (w *World) Apply(manifests string) {
	w.T.Helper()
	if _, err := cluster.TryKubectl(w.T, manifests, "-n", w.Namespace, "apply", "--server-side", "-f", "-"); err != nil {
		w.T.Fatal(err)
	}
}

// Commit changes one object by a merge patch, as an edited manifest would.
func (w *World) Commit(object client.Object, patch string) {
	w.T.Helper()
	encoded, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		w.T.Fatal(err)
	}
	object.SetNamespace(w.Namespace)
	if err := w.Client.Patch(w.T.Context(), object, client.RawPatch(types.MergePatchType, encoded)); err != nil {
		w.T.Fatalf("commit to %s: %v", object.GetName(), err)
	}
}

// Set creates a software module and a distribution set of it, both with this name.
func (w *World) Set(name, version string) {
	w.T.Helper()
	w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: %[1]s}
spec:
  {type: os, name: linux, version: %[2]q, artifacts: [{fileName: rootfs.img, size: 4, checksums: {sha256: %[3]s},
   downloads: [{protocol: HTTP, url: "http://127.0.0.1/rootfs.img"}]}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: %[1]s}
spec: {name: firmware, version: %[2]q, type: full-image, modules: [{name: %[1]s}]}
`, name, version, strings.Repeat("0a", 32)))
}

// Token of every simulated device.
const Token = "let-me-in"

// Targets creates targets named <prefix>-000 and so on, with labels, and answers their names. They share one token.
func (w *World) Targets(prefix string, n int, labels map[string]string) []string {
	w.T.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tokens", Namespace: w.Namespace}, Type: kube.TokenSecretType, Data: map[string][]byte{"all": []byte(Token)}}
	if err := client.IgnoreAlreadyExists(w.Client.Create(w.T.Context(), secret)); err != nil {
		w.T.Fatal(err)
	}
	names := make([]string, n)
	work := make(chan string)
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for name := range work {
				target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace, Labels: labels}}
				target.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "tokens", Key: "all"}
				if err := w.Client.Create(w.T.Context(), target); err != nil {
					w.T.Errorf("create target %s: %v", name, err)
				}
			}
		})
	}
	for i := range names {
		names[i] = fmt.Sprintf("%s-%03d", prefix, i)
		work <- names[i]
	}
	close(work)
	done.Wait()
	return names
}

// Devices runs one simulated device for each name until the test ends, and records what they do.
func (w *World) Devices(temperament devicesim.Temperament, names ...string) (*devicesim.Fleet, *devicesim.Recorder) {
	w.T.Helper()
	devices := make([]devicesim.Device, len(names))
	for i, name := range names {
		devices[i] = devicesim.Device{ID: name, Token: Token, Temperament: temperament}
	}
	recorder := &devicesim.Recorder{}
	fleet, err := devicesim.New(devicesim.Config{
		BaseURL: w.Door, Tenant: w.Namespace, Devices: devices, Seed: 1, PollInterval: 200 * time.Millisecond, Jitter: 0.2,
		StepTime: 50 * time.Millisecond, Steps: 2, Observer: recorder.Observe,
	})
	if err != nil {
		w.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	w.T.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.T.Errorf("devices: %v", err)
		}
	})
	return fleet, recorder
}

// Rollout reads a rollout.
func (w *World) Rollout(name string) *v1alpha1.Rollout {
	w.T.Helper()
	r := &v1alpha1.Rollout{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, r); err != nil {
		w.T.Fatal(err)
	}
	return r
}

// Target reads a target.
func (w *World) Target(name string) *v1alpha1.Target {
	w.T.Helper()
	t := &v1alpha1.Target{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, t); err != nil {
		w.T.Fatal(err)
	}
	return t
}

// patience is how long a story waits for what must come: long enough for a loaded machine, and only ever used up by a failure.
const patience = 90 * time.Second

// Eventually waits until check is content; it answers what is still missing, or nothing.
func (w *World) Eventually(what string, check func() (missing string)) {
	w.T.Helper()
	deadline := time.Now().Add(patience)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			w.T.Fatalf("waited %s for %s: %s", patience, what, missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// EventuallyRollout waits until a rollout is as wanted, and answers it.
func (w *World) EventuallyRollout(name, what string, is func(*v1alpha1.Rollout) bool) *v1alpha1.Rollout {
	w.T.Helper()
	var r *v1alpha1.Rollout
	w.Eventually("rollout "+name+" "+what, func() string {
		if r = w.Rollout(name); is(r) {
			return ""
		}
		encoded, _ := yaml.Marshal(r.Status)
		return "its status is\n" + string(encoded)
	})
	return r
}

// InState is for EventuallyRollout.
func InState(s v1alpha1.RolloutState) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool { return r.Status.State == s }
}
