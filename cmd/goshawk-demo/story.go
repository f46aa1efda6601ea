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

// writers is how many requests the demo has under way at once.
const writers = 8

// demo is the whole story.
type demo struct {
	options
	cluster client.Client
	screen  *screen
	fleet   fleet

	recorder devicesim.Recorder
	devices  *devicesim.Fleet
}

// play tells the story from the first device to the commands for the reader.
func (d *demo) play(ctx context.Context) error {
	namespace, err := d.freeNamespace(ctx)
	if err != nil {
		return fmt.Errorf("look at the cluster: %w; is it up? make up starts it", err)
	}
	if err := d.knock(ctx); err != nil {
		return fmt.Errorf("no device API at %s: %w; make up opens one, and --device-api says where it is", d.deviceAPI, err)
	}
	d.fleet = newFleet(namespace, d.options.devices)
	d.screen.title("1. A fleet")
	if err := d.furnish(ctx); err != nil {
		return err
	}
	playing, quit := context.WithCancel(ctx)
	defer quit()
	ended := make(chan error, 1)
	go func() { ended <- d.devices.Run(playing) }()
	d.screen.title("2. A rollout")
	if err := d.rollOut(ctx); err != nil {
		return err
	}
	d.screen.title("3. A bad update, and the stop")
	if err := d.stop(ctx); err != nil {
		return err
	}
	d.farewell()
	quit()
	return <-ended
}

// knock returns an error if the device API does not answer.
func (d *demo) knock(ctx context.Context) error {
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

// freeNamespace is demo, or demo-2 and so on if the demo was here before: what it did then stays to
// be looked at.
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

// furnish applies the fleet and makes its devices.
func (d *demo) furnish(ctx context.Context) error {
	start, namespace := time.Now(), d.fleet.namespace
	first := append([]client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, d.fleet.tokens}, releases(namespace)...)
	for _, object := range first {
		if err := d.cluster.Create(ctx, object); err != nil {
			return fmt.Errorf("create %T %s: %w", object, object.GetName(), err)
		}
	}
	if err := d.enroll(ctx); err != nil {
		return err
	}
	temperaments, err := devicesim.ParseMix(mix)
	if err != nil {
		return err
	}
	d.devices, err = devicesim.New(devicesim.Config{
		BaseURL: d.deviceAPI, Tenant: namespace, Devices: d.fleet.devices, Mix: temperaments, Seed: d.seed,
		Jitter: 0.2, StepTime: 300 * time.Millisecond, Steps: 3, Observer: d.recorder.Observe,
	})
	if err != nil {
		return err
	}
	d.screen.say(`Namespace %s has %d Targets now, gateways and sensors (%s).
As many simulated devices poll %s:
%s.`, namespace, len(d.fleet.targets), seconds(time.Since(start)), d.deviceAPI, d.tempers())
	return nil
}

// enroll creates the targets.
func (d *demo) enroll(ctx context.Context) error {
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

// tempers says what the devices are like.
func (d *demo) tempers() string {
	counts := map[devicesim.Temperament]int{}
	for _, device := range d.fleet.devices {
		counts[d.devices.Temperament(device.ID)]++
	}
	return fmt.Sprintf("%d install every update, %d are slow, %d fail every update",
		counts[devicesim.Obedient], counts[devicesim.Slow], counts[devicesim.Failing])
}

// rollOut brings the good firmware to the fleet.
func (d *demo) rollOut(ctx context.Context) error {
	r := goodRollout(d.fleet.namespace, time.Now())
	d.screen.say(`Firmware %s goes to the lab first, then to a quarter of all, to the sensors, and
to the rest. A group opens when %d %% of the one before have succeeded. If more
than %d %% of a group fail, the rollout pauses by itself.
`, goodVersion, *r.Spec.SuccessThreshold, *r.Spec.ErrorThreshold)
	if err := d.cluster.Create(ctx, r); err != nil {
		return fmt.Errorf("create Rollout %s: %w", r.Name, err)
	}
	return d.follow(ctx, r, func() bool { return r.Status.State == v1alpha1.RolloutFinished })
}

// follow shows a rollout until it is done.
func (d *demo) follow(ctx context.Context, r *v1alpha1.Rollout, done func() bool) error {
	tick := time.NewTicker(frame)
	defer tick.Stop()
	deadline := time.Now().Add(d.patience)
	for {
		if err := d.cluster.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return fmt.Errorf("look at Rollout %s: %w", r.Name, err)
		}
		if done() {
			d.screen.finish(r, time.Now())
			return nil
		}
		d.screen.show(r, time.Now())
		if time.Now().After(deadline) {
			return fmt.Errorf("rollout %s is still %s after %s: %s; the manager's log may say more", r.Name, r.Status.State, d.patience, reason(r))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// reason is the rollout's own word on why it does not move.
func reason(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return "it does not say what it waits for"
	}
	return "it waits: " + r.Status.WaitingFor.Message
}

// farewell tells where to look.
func (d *demo) farewell() {
	namespace := d.fleet.namespace
	d.screen.title("Look around")
	if kubeconfig := os.Getenv("KUBECONFIG"); kubeconfig != "" {
		d.screen.say("  export KUBECONFIG=%s%s", kubeconfig, path())
	}
	d.screen.say(`  kubectl get goshawk -n %[1]s
  kubectl describe rollouts.goshawk.dev %[2]s -n %[1]s
  kubectl get events -n %[1]s --sort-by=.metadata.creationTimestamp

and make down when you have seen enough.`, namespace, setName(badVersion))
}

// path helps those who have no kubectl to the one that came with the control plane.
func path() string {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if _, err := exec.LookPath("kubectl"); err == nil || assets == "" {
		return ""
	}
	return " PATH=$PATH:" + assets
}

// seconds is a duration as people read it.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
}
