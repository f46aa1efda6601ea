// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// noon is the time of each world, and an hour after its objects were created.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// objects builds objects of namespace fleet, created an hour before noon.
var objects = build.At(noon.Add(-time.Hour))

// world is a cluster on a fake client, and what a person has in front of it: an environment, and a
// terminal or none. Commands run in namespace fleet.
type world struct {
	t *testing.T
	// client is the cluster.
	client client.WithWatch
	// connectErr is the error of the connection to the cluster, if there is one.
	connectErr error
	// now is the time, which starts at noon.
	now time.Time
	// environment has the environment variables.
	environment map[string]string
	// requests counts the lists of pages.
	requests int
	// expire ends each --timeout when it is closed.
	expire chan struct{}
	// columns is the width of the terminal. 0: the output is no terminal.
	columns int
}

// newWorld returns a world with these objects, with their status, an output that is no terminal,
// and a locale with UTF-8.
func newWorld(t *testing.T, all ...client.Object) *world {
	t.Helper()
	builder := fakes.Server(t).WithReturnManagedFields().WithIndex(&v1alpha1.Target{}, "status.updateStatus", func(o client.Object) []string {
		return []string{string(o.(*v1alpha1.Target).Status.UpdateStatus)}
	}).WithIndex(&corev1.Event{}, "involvedObject.name", func(o client.Object) []string {
		return []string{o.(*corev1.Event).InvolvedObject.Name}
	})
	for _, o := range all {
		builder = builder.WithObjects(o.DeepCopyObject().(client.Object))
	}
	return &world{t: t, client: builder.Build(), now: noon, expire: make(chan struct{}), environment: map[string]string{"LANG": "C.UTF-8"}}
}

// pages lets the cluster divide lists of Targets into pages, as an API server does, and counts the
// requests.
func (w *world) pages() {
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		w.requests++
		asked := client.ListOptions{}
		asked.ApplyOptions(options)
		if err := c.List(ctx, list, client.InNamespace(asked.Namespace)); err != nil {
			return err
		}
		targets, isTargets := list.(*v1alpha1.TargetList)
		if !isTargets || asked.Limit == 0 {
			return nil
		}
		from, _ := strconv.Atoi(asked.Continue)
		to := min(from+int(asked.Limit), len(targets.Items))
		if to < len(targets.Items) {
			targets.Continue = strconv.Itoa(to)
		}
		targets.Items = targets.Items[from:to]
		return nil
	}})
}

// result is what a command printed, and its exit code.
type result struct {
	out, errOut string
	code        int
}

// run runs `kubectl goshawk` with these arguments.
func (w *world) run(args ...string) result {
	w.t.Helper()
	return w.runContext(w.t.Context(), args...)
}

func (w *world) runContext(ctx context.Context, args ...string) result {
	w.t.Helper()
	var out, errOut bytes.Buffer
	o := w.options(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	code := Run(ctx, newCommand(o), &errOut, args)
	return result{out: out.String(), errOut: errOut.String(), code: code}
}

// options returns the options of a command in this world.
func (w *world) options(streams genericiooptions.IOStreams) *Options {
	o := NewOptions(streams)
	namespace, none := build.Namespace, ""
	o.Config.Namespace = &namespace
	o.Config.KubeConfig = &none
	o.Now = func() time.Time { return w.now }
	o.Getenv = func(name string) string { return w.environment[name] }
	o.TerminalSize = func() (int, int, bool) { return w.columns, 0, w.columns > 0 }
	o.refresh = time.Millisecond
	o.withTimeout = func(parent context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(parent)
		go func() {
			select {
			case <-w.expire:
				cancel()
			case <-ctx.Done():
			}
		}()
		return ctx, cancel
	}
	o.connect = func() (client.WithWatch, error) { return w.client, w.connectErr }
	return o
}

// golden compares the text with the file of that name in testdata. With -update it writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
