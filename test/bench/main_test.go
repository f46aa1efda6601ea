// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures a whole Goshawk on a real API server. Every result is a ratio within one
// run, or a count, because the speed of the machine changes.
package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	cluster.Main(m)
}

// fleetSize is the number of targets of the benchmarks. GOSHAWK_BENCH_TARGETS replaces it: an API
// server on two cores accepts some hundred writes a second, and a target needs about 15.
var fleetSize = 10000

// progressInterval is the default of --ddi-progress-interval.
const progressInterval = 30 * time.Second

var shared struct {
	start sync.Once
	world *world.World
	names []string
	// run runs a process of Goshawk, whose writes are counted in writes.
	run    func(context.Context, manager.Options) error
	writes counter
	err    error
	// bytesPerTarget is the growth of the heap of this process for each idle target, with caches
	// and indexes.
	bytesPerTarget float64
}

// fleet is one Goshawk with fleetSize targets that are reconciled and have polled. It is created
// once for all benchmarks.
func fleet(b *testing.B) (*world.World, []string) {
	b.Helper()
	config, c := cluster.Start(b)
	shared.start.Do(func() {
		if shared.err = world.EnsureSystemNamespace(c); shared.err != nil {
			return
		}
		if shared.err = readFleetSize(); shared.err != nil {
			return
		}
		config = rest.CopyConfig(config)
		config.Wrap(shared.writes.count)
		shared.run = func(ctx context.Context, o manager.Options) error { return manager.Run(ctx, config, o) }
		mqtt, err := net.Listen("tcp", "127.0.0.1:0")
		if shared.err = err; err != nil {
			return
		}
		options := manager.Options{Backend: backend(false), MQTT: manager.MQTTOptions{Listener: mqtt, MaxAddressConnections: fleetSize}}
		deviceAPI, stop, err := world.Start(context.Background(), options, shared.run)
		if shared.err = err; err != nil {
			return
		}
		cluster.BeforeStop(stop)
		shared.world = &world.World{T: b, Client: c, Namespace: cluster.Namespace(b), DeviceAPI: deviceAPI, MQTT: mqtt.Addr().String()}
		before, started := heap(), time.Now()
		shared.names = shared.world.Targets("device", fleetSize, map[string]string{"fleet": "bench"})
		sort.Strings(shared.names)   // so that a part of them can be selected by comparing names
		waitUntilQuiet(shared.world) // the first reconcile writes every target
		if n := shared.writes.of("PATCH targets/status"); n < fleetSize {
			b.Fatalf("%d of %d targets are reconciled", n, fleetSize)
		}
		shared.bytesPerTarget = (heap() - before) / float64(fleetSize)
		b.Logf("%d targets are ready after %s", fleetSize, time.Since(started).Round(time.Second))
	})
	if shared.err != nil {
		b.Fatal(shared.err)
	}
	shared.world.T = b
	return shared.world, shared.names
}

// readFleetSize sets fleetSize.
func readFleetSize() error {
	const name = "GOSHAWK_BENCH_TARGETS"
	text := os.Getenv(name)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10 || n > 20000 {
		return fmt.Errorf("%s is %q; give a number of targets from 10 to 20000, which one group can hold", name, text)
	}
	fleetSize = n
	return nil
}

// backend returns the settings of a process that serves devices alone, or as one of several.
func backend(replicated bool) kube.Options {
	return kube.Options{PollInterval: 10 * time.Second, ProgressInterval: progressInterval, Replicated: replicated}
}

// heap returns the heap in use after a garbage collection.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// counter counts the writes of Goshawk's own process.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) count(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet {
			c.mu.Lock()
			if c.n == nil {
				c.n = map[string]int{}
			}
			c.n[r.Method+" "+resource(r.URL.Path)]++
			c.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

func (c *counter) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[what]
}

// since returns the writes after an earlier reading, without events and leases, and their sum.
func (c *counter) since(before map[string]int) (map[string]int, int) {
	after, sum := map[string]int{}, 0
	for what, n := range c.read() {
		if d := n - before[what]; d > 0 && !strings.Contains(what, "events") {
			after[what] = d
			sum += d
		}
	}
	return after, sum
}

func (c *counter) read() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	copied := map[string]int{}
	for what, n := range c.n {
		copied[what] = n
	}
	return copied
}

// quietWithin is how long waitUntilQuiet waits. A fleet of 10 000 devices registers with 20 000
// writes.
const quietWithin = 15 * time.Minute

// waitUntilQuiet waits until there were no writes for three seconds.
func waitUntilQuiet(w *world.World) {
	w.T.Helper()
	started, quiet, last := time.Now(), time.Now(), -1
	for time.Since(quiet) < 3*time.Second {
		if _, sum := shared.writes.since(nil); sum != last {
			quiet, last = time.Now(), sum
		}
		if time.Since(started) > quietWithin {
			w.T.Fatalf("Goshawk still writes after %s", quietWithin)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func show(writes map[string]int) string {
	lines := make([]string, 0, len(writes))
	for what, n := range writes {
		lines = append(lines, fmt.Sprintf("%s: %d", what, n))
	}
	sort.Strings(lines)
	return strings.Join(lines, ", ")
}

// resource returns the plural and subresource of a path below
// /apis/GROUP/VERSION/namespaces/NAMESPACE.
func resource(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		if p == "namespaces" && len(parts) > i+2 {
			name := parts[i+2]
			if len(parts) > i+4 {
				name += "/" + parts[i+4]
			}
			return name
		}
	}
	return path
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
