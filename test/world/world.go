// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package world runs a whole Goshawk in a test: a real API server, the controllers and the device
// API in this process, and simulated devices that use the device API over HTTP.
package world

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/transport"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/artifact"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// World is one namespace of a running Goshawk.
type World struct {
	T         testing.TB
	Client    client.Client
	Namespace string
	// DeviceAPI is the URL of the device API, and MQTT the address of its MQTT broker.
	DeviceAPI, MQTT string
	// HasExternalBroker means that MQTT is the address of an external broker. Its devices use
	// topics with their names.
	HasExternalBroker bool
}

// SystemNamespace is the namespace of Goshawk's own objects.
const SystemNamespace = "goshawk-system"

var shared struct {
	start           sync.Once
	deviceAPI, mqtt string
	err             error
	wraps           []transport.WrapperFunc
}

// Wrap puts a transport between Goshawk and the API server. A test package calls it in its
// TestMain.
func Wrap(wrap transport.WrapperFunc) { shared.wraps = append(shared.wraps, wrap) }

// New returns a world in a new namespace. All worlds of a test binary share one process, because
// its controllers work in every namespace, and two processes would work against each other.
func New(t testing.TB) *World {
	t.Helper()
	config, c := cluster.Start(t)
	shared.start.Do(func() {
		if shared.err = EnsureSystemNamespace(c); shared.err != nil {
			return
		}
		ctrl.SetLogger(logr.New(&errorLog{errorLines: logged})) // no effect if the package has set another logger
		for _, wrap := range shared.wraps {
			config.Wrap(wrap)
		}
		var stop func() error
		var o manager.Options
		if o.MQTT.Listener, shared.err = net.Listen("tcp", "127.0.0.1:0"); shared.err != nil {
			return
		}
		shared.mqtt = o.MQTT.Listener.Addr().String()
		shared.deviceAPI, stop, shared.err = Start(context.Background(), o, func(ctx context.Context, o manager.Options) error {
			return manager.Run(ctx, config, o)
		})
		if shared.err == nil {
			cluster.BeforeStop(stop)
			cluster.BeforeStop(otherErrors) // the end of the process must not log errors, either
		}
	})
	if shared.err != nil {
		t.Fatalf("starting Goshawk: %v", shared.err)
	}
	w := &World{T: t, Client: c, Namespace: cluster.Namespace(t), DeviceAPI: shared.deviceAPI, MQTT: shared.mqtt}
	t.Cleanup(func() { failOnErrors(t, w.Namespace) })
	return w
}

// Start runs a process with defaults for tests where o has no value: controllers and device API, a
// free port, short intervals, no probes. It returns the URL of the device API and a function that
// ends the process and waits for its end.
func Start(ctx context.Context, o manager.Options, run func(context.Context, manager.Options) error) (deviceAPI string, stop func() error, err error) {
	if o.DeviceAPIListener == nil {
		if o.DeviceAPIListener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", nil, err
		}
	}
	if !o.Controllers && !o.DeviceAPI {
		o.Controllers, o.DeviceAPI = true, true
	}
	o.Namespace, o.MetricsAddress, o.HealthAddress = SystemNamespace, "0", "0"
	if o.WritesInFlight == 0 {
		o.WritesInFlight = 8
	}
	if o.Backend == (kube.Options{}) {
		o.Backend = kube.Options{PollInterval: time.Second, ProgressInterval: 5 * time.Second, InventoryPrefix: "sw.", OfflineAfter: 5 * time.Second}
	}
	if o.Artifacts.Sources, err = artifact.ParseSources("127.0.0.0/8"); err != nil { // where the files of tests are
		return "", nil, err
	}
	o.DeviceAPIOptions.Rates.Device = deviceapi.Rate{PerSecond: 1000, Burst: 1000}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o) }()
	return "http://" + o.DeviceAPIListener.Addr().String(), func() error { cancel(); return <-ended }, nil
}

// EnsureSystemNamespace creates the namespace of Goshawk's own objects.
func EnsureSystemNamespace(c client.Client) error {
	return client.IgnoreAlreadyExists(c.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: SystemNamespace}}))
}

// Apply creates or changes objects from YAML with the request of `kubectl apply --server-side`. It
// does not run kubectl, which takes more time than Goshawk needs for the object.
func (w *World) Apply(manifests string) {
	w.T.Helper()
	for documents := yamlutil.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			w.T.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			w.T.Fatalf("%v in\n%s", err, document)
		}
		if object.Object == nil {
			continue // an empty document, such as the one before the first separator
		}
		w.applyObject(object)
	}
}

func (w *World) applyObject(object *unstructured.Unstructured) {
	w.T.Helper()
	object.SetNamespace(w.Namespace)
	body, err := object.MarshalJSON()
	if err != nil {
		w.T.Fatal(err)
	}
	c := client.WithFieldValidation(w.Client, metav1.FieldValidationStrict)
	if err := c.Patch(w.T.Context(), object, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner("kubectl")); err != nil {
		w.T.Fatalf("apply %s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

// ApplySpec creates or changes an object of a kind of Goshawk with this spec, as YAML.
func (w *World) ApplySpec(kind, name, spec string) {
	w.T.Helper()
	fields := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(spec), &fields); err != nil {
		w.T.Fatalf("%v in\n%s", err, spec)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": fields}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	object.SetName(name)
	w.applyObject(object)
}

// Commit changes one object by a merge patch, as an edited manifest does.
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

// Set creates a software module and a distribution set with this module, both with this name.
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

// Targets creates targets named <prefix>-000 and so on, with labels, and returns their names. They
// share one token.
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

// Devices runs one simulated device for each name until the test ends, and records their events.
func (w *World) Devices(behavior devicesim.Behavior, names ...string) (*devicesim.Fleet, *devicesim.Recorder) {
	w.T.Helper()
	return w.Play(nil, behavior, names...)
}

// Play is Devices with another configuration; nil changes nothing.
func (w *World) Play(change func(*devicesim.Config), behavior devicesim.Behavior, names ...string) (*devicesim.Fleet, *devicesim.Recorder) {
	w.T.Helper()
	devices := make([]devicesim.Device, len(names))
	for i, name := range names {
		devices[i] = devicesim.Device{ID: name, Token: Token, Behavior: behavior}
	}
	recorder := &devicesim.Recorder{}
	config := devicesim.Config{
		BaseURL: w.DeviceAPI, Tenant: w.Namespace, Devices: devices, Seed: 1, PollInterval: 200 * time.Millisecond, Jitter: 0.2,
		StepTime: 50 * time.Millisecond, Steps: 2, Observer: recorder.Observe,
	}
	if change != nil {
		change(&config)
	}
	fleet, err := devicesim.New(config)
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

// Rollout returns a rollout from the API server.
func (w *World) Rollout(name string) *v1alpha1.Rollout {
	w.T.Helper()
	r := &v1alpha1.Rollout{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, r); err != nil {
		w.T.Fatal(err)
	}
	return r
}

// Target returns a target from the API server.
func (w *World) Target(name string) *v1alpha1.Target {
	w.T.Helper()
	t := &v1alpha1.Target{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, t); err != nil {
		w.T.Fatal(err)
	}
	return t
}

// patience is the maximum time that a story waits for an expected state. It is long enough for a
// loaded machine, and is reached only by a failure.
const patience = 3 * time.Minute

// Eventually waits until check returns "". check returns what is missing.
func (w *World) Eventually(what string, check func() (missing string)) {
	w.T.Helper()
	missing := ""
	w.eventually(what, func() bool { missing = check(); return missing == "" }, func() string { return missing })
}

// eventually waits until done returns true. It calls missing only for the message of a failure.
func (w *World) eventually(what string, done func() bool, missing func() string) {
	w.T.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.T.Fatalf("waited %s for %s: %s", patience, what, missing())
		}
	}
}

// inYAML returns a status for the message of a failure.
func inYAML(status any) string {
	encoded, _ := yaml.Marshal(status)
	return "its status is\n" + string(encoded)
}

// EventuallyRollout waits until a rollout fulfills a condition, and returns it.
func (w *World) EventuallyRollout(name, what string, is func(*v1alpha1.Rollout) bool) *v1alpha1.Rollout {
	w.T.Helper()
	var r *v1alpha1.Rollout
	w.eventually("rollout "+name+" "+what, func() bool { r = w.Rollout(name); return is(r) }, func() string { return inYAML(r.Status) })
	return r
}

// InState is for EventuallyRollout.
func InState(s v1alpha1.RolloutState) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool { return r.Status.State == s }
}

// CommitRollout changes a rollout by a merge patch.
func (w *World) CommitRollout(name, patch string) {
	w.T.Helper()
	w.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}, patch)
}

// DistributionSet returns a set from the API server.
func (w *World) DistributionSet(name string) *v1alpha1.DistributionSet {
	w.T.Helper()
	s := &v1alpha1.DistributionSet{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, s); err != nil {
		w.T.Fatal(err)
	}
	return s
}

// Groups returns the deployment groups of the namespace.
func (w *World) Groups() []v1alpha1.DeploymentGroup {
	w.T.Helper()
	var list v1alpha1.DeploymentGroupList
	if err := w.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace), Readable); err != nil {
		w.T.Fatal(err)
	}
	return list.Items
}

// Kubectl runs kubectl in the namespace and returns its output.
func (w *World) Kubectl(args ...string) string {
	w.T.Helper()
	return cluster.Kubectl(w.T, append([]string{"-n", w.Namespace}, args...)...)
}

// EventuallyTarget waits until a target fulfills a condition, and returns it.
func (w *World) EventuallyTarget(name, what string, is func(*v1alpha1.Target) bool) *v1alpha1.Target {
	w.T.Helper()
	var t *v1alpha1.Target
	w.eventually("target "+name+" "+what, func() bool { t = w.Target(name); return is(t) }, func() string { return inYAML(t.Status) })
	return t
}

// EventuallyPolled waits until each device has polled n times since the given time. By then it
// would have started an offered update.
func (w *World) EventuallyPolled(devices *devicesim.Recorder, n int, since time.Time, names ...string) {
	w.T.Helper()
	w.Eventually(fmt.Sprintf("%d polls of each device", n), func() string {
		polls := map[string]int{}
		for _, e := range devices.Of(devicesim.Polled) {
			if e.Asked.After(since) {
				polls[e.Device]++
			}
		}
		for _, name := range names {
			if polls[name] < n {
				return fmt.Sprintf("%s polled %d times", name, polls[name])
			}
		}
		return ""
	})
}

// EventuallyStarted waits until each of the devices has started an update.
func (w *World) EventuallyStarted(devices *devicesim.Recorder, names ...string) {
	w.T.Helper()
	w.Eventually("the start of all devices", func() string {
		started := Starts(devices)
		for _, name := range names {
			if started[name] == 0 {
				return name + " has not started"
			}
		}
		return ""
	})
}

// Starts returns how often each device has fetched a deployment and started it.
func Starts(devices *devicesim.Recorder) map[string]int {
	started := map[string]int{}
	for _, e := range devices.Of(devicesim.Started) {
		started[e.Device]++
	}
	return started
}

// Condition returns the condition of this type, or nil.
func Condition(list []metav1.Condition, conditionType string) *metav1.Condition {
	return meta.FindStatusCondition(list, conditionType)
}

// Says reports whether a condition has this status and reason.
func Says(list []metav1.Condition, conditionType string, status metav1.ConditionStatus, reason string) bool {
	c := Condition(list, conditionType)
	return c != nil && c.Status == status && c.Reason == reason
}
