// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tenants runs Goshawk with exactly the rights of config/namespaced, or with fewer, on a
// real API server: controllers and device API are two processes, each with its own account.
package tenants

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // the stories do not check the log
	cluster.BeforeStop(usage.writes.Audit)
	cluster.AtOnce(6) // a story mostly waits, and its process watches only namespaces of its own
	cluster.Main(m)
}

var overlay struct {
	sync.Once
	err error
}

// applyOverlay applies config/namespaced without changes; its namespaces exist before, as in a
// cluster.
func applyOverlay(t *testing.T) client.Client {
	t.Helper()
	_, c := cluster.Start(t)
	overlay.Do(func() {
		for _, name := range []string{"fleet-a", "fleet-b"} {
			if overlay.err = c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); overlay.err != nil {
				return
			}
		}
		_, overlay.err = cluster.TryKubectl(t, "", "apply", "--server-side", "--force-conflicts", "-k", filepath.Join(cluster.Root(), "config", "namespaced"))
	})
	if overlay.err != nil {
		t.Fatal(overlay.err)
	}
	return c
}

// bind binds an account of Goshawk to a role in a namespace.
func bind(t *testing.T, c client.Client, namespace, account, role string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: world.SystemNamespace, Name: account}},
	}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}

// refusals records the requests that the API server has forbidden, and can end all watches.
type refusals struct {
	mu    sync.Mutex
	paths map[string]int
	ends  []context.CancelFunc
}

func (r *refusals) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.URL.Query().Get("watch") == "true" {
			ctx, end := context.WithCancel(request.Context())
			r.mu.Lock()
			r.ends = append(r.ends, end)
			r.mu.Unlock()
			request = request.WithContext(ctx)
		}
		response, err := next.RoundTrip(request)
		if err == nil && response.StatusCode == http.StatusForbidden {
			r.mu.Lock()
			r.paths[request.Method+" "+request.URL.Path]++
			r.mu.Unlock()
		}
		return response, err
	})
}

// endWatches ends all watches, as the API server does every few minutes.
func (r *refusals) endWatches() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, end := range r.ends {
		end()
	}
	r.ends = nil
}

func (r *refusals) seen() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paths
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// goshawk is one process.
type goshawk struct {
	t         *testing.T
	deviceAPI string
	health    string
	*refusals
}

// start runs a process as one of Goshawk's accounts until the test ends.
func start(t *testing.T, account string, o manager.Options) *goshawk {
	t.Helper()
	config, _ := cluster.Start(t)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + world.SystemNamespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + world.SystemNamespace, "system:authenticated"},
	}
	g := &goshawk{t: t, health: ports.Free(t), refusals: &refusals{paths: map[string]int{}}}
	config.Wrap(g.wrap)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return use(account, next) })
	if o.DeviceAPI {
		var err error
		if o.DeviceAPIListener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		g.deviceAPI = "http://" + o.DeviceAPIListener.Addr().String()
		o.Backend.PollInterval, o.Backend.ProgressInterval = time.Second, 5*time.Second
		o.DeviceAPIOptions.Rates.Device = deviceapi.Rate{PerSecond: 1000, Burst: 1000}
	}
	o.Namespace, o.MetricsAddress, o.HealthAddress, o.WritesInFlight = world.SystemNamespace, "0", g.health, 8
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(ctx, config, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the process of %s ended with %v", account, err)
		}
	})
	return g
}

// in returns the world of one namespace, whose devices the process serves.
func (g *goshawk) in(namespace string) *world.World {
	_, c := cluster.Start(g.t)
	return &world.World{T: g.t, Client: c, Namespace: namespace, DeviceAPI: g.deviceAPI}
}

// answer of the device API or of a probe.
type answer struct {
	status     int
	retryAfter string
	code       string
	took       time.Duration
}

func get(t *testing.T, url string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	started := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{took: time.Since(started)}
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	var problem struct{ ErrorCode string }
	_ = json.Unmarshal(body, &problem)
	return answer{response.StatusCode, response.Header.Get("Retry-After"), problem.ErrorCode, time.Since(started)}
}

// poll sends one poll of a device and returns the response.
func (g *goshawk) poll(namespace, device string) answer {
	g.t.Helper()
	return get(g.t, g.deviceAPI+"/"+namespace+"/controller/v1/"+device)
}

func (g *goshawk) ready() int {
	g.t.Helper()
	return get(g.t, "http://"+g.health+"/readyz").status
}

// eventually waits until ask returns "".
func eventually(t *testing.T, what string, ask func() (missing string)) {
	t.Helper()
	(&world.World{T: t}).Eventually(what, ask)
}

func is(what string, got, want int) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s is %d, want %d", what, got, want)
}

// fileOf returns the content of a file of the repository.
func fileOf(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{cluster.Root()}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
