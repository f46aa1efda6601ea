// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures a whole Goshawk on a real API server. Every result is a ratio within one
// run, or a count, because the speed of the machine changes.
package bench

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// fleetSize is the number of targets of the benchmarks with an API server, which accepts some
// hundred writes a second.
const fleetSize = 5000

var shared struct {
	start  sync.Once
	world  *world.World
	names  []string
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
		config = rest.CopyConfig(config)
		config.Wrap(shared.writes.count)
		deviceAPI, stop, err := world.Start(context.Background(), manager.Options{Backend: kube.Options{PollInterval: 10 * time.Second, ProgressInterval: time.Minute}},
			func(ctx context.Context, o manager.Options) error { return manager.Run(ctx, config, o) })
		if shared.err = err; err != nil {
			return
		}
		cluster.BeforeStop(stop)
		shared.world = &world.World{T: b, Client: c, Namespace: cluster.Namespace(b), DeviceAPI: deviceAPI}
		before, started := heap(), time.Now()
		shared.names = shared.world.Targets("device", fleetSize, map[string]string{"fleet": "bench"})
		sort.Strings(shared.names) // so that a part of them can be selected by comparing names
		shared.world.Eventually("the first reconcile of every target", func() string {
			if n := shared.writes.of("PATCH targets/status"); n < fleetSize {
				return fmt.Sprintf("%d of %d", n, fleetSize)
			}
			return ""
		})
		time.Sleep(2 * time.Second) // until the caches have seen the last of them
		shared.bytesPerTarget = (heap() - before) / fleetSize
		b.Logf("%d targets are ready after %s", fleetSize, time.Since(started).Round(time.Second))
	})
	if shared.err != nil {
		b.Fatal(shared.err)
	}
	shared.world.T = b
	return shared.world, shared.names
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

// waitUntilQuiet waits until there were no writes for three seconds.
func waitUntilQuiet(w *world.World) {
	w.T.Helper()
	quiet, last := time.Now(), -1
	w.Eventually("quiet", func() string {
		if _, sum := shared.writes.since(nil); sum != last {
			quiet, last = time.Now(), sum
		}
		if time.Since(quiet) < 3*time.Second {
			return "still writing"
		}
		return ""
	})
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
