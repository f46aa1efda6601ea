// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package unreadable stores objects that Goshawk cannot decode, before it starts and while it runs,
// and tests that all other objects are handled as usual, that nothing is lost, and that an object
// is handled again when it is fixed.
package unreadable

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(funcr.New(func(prefix, args string) {
		if strings.HasPrefix(prefix, "decode") || testing.Verbose() {
			fmt.Println(time.Now().Format("15:04:05.000"), prefix, args)
		}
	}, funcr.Options{}))
	cluster.Main(m)
}

// newWorld returns a namespace without a process.
func newWorld(t *testing.T) *world.World {
	t.Helper()
	_, c := cluster.Start(t)
	if err := world.EnsureSystemNamespace(c); err != nil {
		t.Fatal(err)
	}
	return &world.World{T: t, Client: c, Namespace: cluster.Namespace(t)}
}

// goshawk is a running process.
type goshawk struct{ health, metrics string }

// start runs a process for these worlds until the test ends.
func start(t *testing.T, worlds ...*world.World) *goshawk {
	t.Helper()
	config, _ := cluster.Start(t)
	g, deviceAPI, stop := run(t, config)
	t.Cleanup(stop)
	for _, w := range worlds {
		w.DeviceAPI = deviceAPI
	}
	return g
}

func run(t *testing.T, config *rest.Config) (g *goshawk, deviceAPI string, stop func()) {
	t.Helper()
	return runWith(t, config, nil)
}

// runWith runs a process; change may change its options, and may be nil.
func runWith(t *testing.T, config *rest.Config, change func(*manager.Options)) (g *goshawk, deviceAPI string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g = &goshawk{health: ports.Free(t), metrics: ports.Free(t)}
	o := manager.Options{
		Controllers: true, DeviceAPI: true, Namespace: world.SystemNamespace, MetricsAddress: g.metrics, HealthAddress: g.health, WritesInFlight: 8, DeviceAPIListener: listener,
		Backend:          kube.Options{PollInterval: time.Second, ProgressInterval: 5 * time.Second},
		DeviceAPIOptions: ddi.Options{Rates: deviceapi.Rates{Device: deviceapi.Rate{PerSecond: 1000, Burst: 1000}}},
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(ctx, config, o) }()
	return g, "http://" + listener.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the process: %v", err)
		}
	}
}

// get returns the response of the process for a path.
func get(address, path string) (int, string, error) {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// ready waits for /readyz.
func (g *goshawk) ready(w *world.World) {
	w.T.Helper()
	w.Eventually("/readyz", func() string {
		if code, body, err := get(g.health, "/readyz"); err != nil || code != http.StatusOK {
			return fmt.Sprint(code, body, err)
		}
		return ""
	})
}

// counted waits until the metric has these values for these kinds.
func (g *goshawk) counted(w *world.World, want map[string]int) {
	w.T.Helper()
	w.Eventually("the metric", func() string {
		_, body, err := get(g.metrics, "/metrics")
		if err != nil {
			return err.Error()
		}
		for kind, n := range want {
			if line := fmt.Sprintf("goshawk_unreadable_objects{kind=%q} %d\n", kind, n); !strings.Contains(body, line) {
				return "no line " + line
			}
		}
		return ""
	})
}
