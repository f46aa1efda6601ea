// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

// writers is the number of parallel requests of the demo.
const writers = 8

// demo is the state of the demo.
type demo struct {
	options
	cluster client.Client
	screen  *screen
	fleet   fleet

	recorder devicesim.Recorder
	devices  *devicesim.Fleet
}

// run runs all parts of the demo.
func (d *demo) run(ctx context.Context) error {
	namespace, err := d.freeNamespace(ctx)
	if err != nil {
		return fmt.Errorf("list namespaces: %w; start a cluster with make up", err)
	}
	if err := d.checkDeviceAPI(ctx); err != nil {
		return fmt.Errorf("no device API at %s: %w; start one with make up, or set --device-api", d.deviceAPI, err)
	}
	d.fleet = newFleet(namespace, d.options.devices, d.mqtt != "")
	d.screen.title("1. A fleet")
	if err := d.createFleet(ctx); err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- d.devices.Run(running) }()
	d.screen.title("2. A rollout")
	if err := d.runGoodRollout(ctx); err != nil {
		return err
	}
	d.screen.title("3. A bad update, and the stop")
	if err := d.stop(ctx); err != nil {
		return err
	}
	d.printCommands()
	end()
	return <-ended
}

// checkDeviceAPI returns an error if the device API does not respond.
func (d *demo) checkDeviceAPI(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.deviceAPI, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return errors.Unwrap(err)
	}
	return response.Body.Close()
}

// freeNamespace returns demo, or demo-2 and so on if the namespace exists, because the objects of
// earlier demos are kept.
func (d *demo) freeNamespace(ctx context.Context) (string, error) {
	var namespaces corev1.NamespaceList
	if err := d.cluster.List(ctx, &namespaces); err != nil {
		return "", err
	}
	return freeName(namespaces.Items), nil
}

func freeName(taken []corev1.Namespace) string {
	name := "demo"
	for n := 2; slices.ContainsFunc(taken, func(ns corev1.Namespace) bool { return ns.Name == name }); n++ {
		name = fmt.Sprintf("demo-%d", n)
	}
	return name
}

// createFleet creates the objects of the fleet, and its simulated devices.
func (d *demo) createFleet(ctx context.Context) error {
	start, namespace := time.Now(), d.fleet.namespace
	first := append([]client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, d.fleet.tokens}, releases(namespace)...)
	for _, object := range first {
		if err := d.cluster.Create(ctx, object); err != nil {
			return fmt.Errorf("create %T %s: %w", object, object.GetName(), err)
		}
	}
	if err := d.createTargets(ctx); err != nil {
		return err
	}
	behaviors, err := devicesim.ParseMix(mix)
	if err != nil {
		return err
	}
	d.devices, err = devicesim.New(devicesim.Config{
		BaseURL: d.deviceAPI, MQTT: devicesim.MQTT{Address: d.mqtt}, Tenant: namespace, Devices: d.fleet.devices, Mix: behaviors, Seed: d.seed,
		Jitter: 0.2, StepTime: 300 * time.Millisecond, Steps: 3, Observer: d.recorder.Observe,
	})
	if err != nil {
		return err
	}
	d.screen.print(`Namespace %s has %d Targets now, gateways and sensors (%s).
Of as many simulated devices, %d poll %s, and %d
are connected by MQTT:
%s.`, namespace, len(d.fleet.targets), seconds(time.Since(start)), d.fleet.polling(), d.deviceAPI, len(d.fleet.devices)-d.fleet.polling(), d.behaviorCounts())
	return nil
}

// createTargets creates the Targets.
func (d *demo) createTargets(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, t := range d.fleet.targets {
		group.Go(func() error {
			if err := d.cluster.Create(ctx, t); err != nil {
				return fmt.Errorf("create Target %s: %w", t.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// behaviorCounts returns how many devices have each behavior.
func (d *demo) behaviorCounts() string {
	counts := map[devicesim.Behavior]int{}
	for _, device := range d.fleet.devices {
		counts[d.devices.Behavior(device.ID)]++
	}
	return fmt.Sprintf("%d install every update, %d are slow, %d fail every update",
		counts[devicesim.Obedient], counts[devicesim.Slow], counts[devicesim.Failing])
}

// runGoodRollout creates the rollout of the good version and waits until it is Finished.
func (d *demo) runGoodRollout(ctx context.Context) error {
	r := goodRollout(d.fleet.namespace, time.Now())
	d.screen.print(`Firmware %s goes to the lab first, then to a quarter of all, to the sensors, and
to the rest. A group opens when %d %% of the one before have succeeded. If more
than %d %% of a group fail, the rollout pauses automatically.
`, goodVersion, *r.Spec.SuccessThreshold, *r.Spec.ErrorThreshold)
	if err := d.cluster.Create(ctx, r); err != nil {
		return fmt.Errorf("create Rollout %s: %w", r.Name, err)
	}
	return d.follow(ctx, r, func() bool { return r.Status.State == v1alpha1.RolloutFinished })
}

// follow shows a rollout until done returns true.
func (d *demo) follow(ctx context.Context, r *v1alpha1.Rollout, done func() bool) error {
	tick := time.NewTicker(frameInterval)
	defer tick.Stop()
	deadline := time.Now().Add(d.patience)
	for {
		if err := d.cluster.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return fmt.Errorf("get Rollout %s: %w", r.Name, err)
		}
		if done() {
			d.screen.finish(r, time.Now())
			return nil
		}
		d.screen.show(r, time.Now())
		if time.Now().After(deadline) {
			return fmt.Errorf("rollout %s is still %s after %s: %s; see the log of the manager", r.Name, r.Status.State, d.patience, reason(r))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// reason returns what the rollout waits for.
func reason(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return "status.waitingFor is not set"
	}
	return "waiting: " + r.Status.WaitingFor.Message
}

// printCommands prints commands that show the objects of the demo.
func (d *demo) printCommands() {
	namespace := d.fleet.namespace
	d.screen.title("See the objects")
	if kubeconfig := os.Getenv("KUBECONFIG"); kubeconfig != "" {
		d.screen.print("  export KUBECONFIG=%s%s", kubeconfig, path())
	}
	d.screen.print(`  kubectl get goshawk -n %[1]s
  kubectl describe rollouts.goshawk.dev %[2]s -n %[1]s
  kubectl get events -n %[1]s --sort-by=.metadata.creationTimestamp

Stop the control plane with make down.`, namespace, setName(badVersion))
}

// path returns the PATH for the kubectl of the control plane if there is no other one.
func path() string {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if _, err := exec.LookPath("kubectl"); err == nil || assets == "" {
		return ""
	}
	return " PATH=$PATH:" + assets
}

// seconds returns a duration in milliseconds or seconds.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
}
