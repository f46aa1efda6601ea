// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// manyObjects returns a fleet with this many targets, which are the members of rollouts with a plan
// of ten groups each.
func manyObjects(targets, rollouts int) []client.Object {
	all := []client.Object{objects.SoftwareModule("os-1"), objects.SoftwareModule("os-2"),
		objects.DistributionSet("firmware-1", build.Modules("os-1")), objects.DistributionSet("firmware-2", build.Modules("os-2"))}
	for i := range targets {
		all = append(all, objects.Target(fmt.Sprintf("gateway-%06d", i), func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"site": fmt.Sprint("site-", i%40)}
			t.Status.UpdateStatus = v1alpha1.UpdateStatusInSync
			t.Status.LastSeen = &metav1.Time{Time: worldTime.Add(-time.Duration(i%600) * time.Second)}
			t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: fmt.Sprint("firmware-", 1+i%2)}
		}))
	}
	each := targets / rollouts
	for i := range rollouts {
		var groups []*v1alpha1.DeploymentGroup
		r := objects.Rollout(fmt.Sprintf("rollout-%03d", i), "firmware-2")
		for g := range 10 {
			group := objects.DeploymentGroup(r, int32(g))
			for m := range each / 10 {
				group.Spec.Targets = append(group.Spec.Targets, v1alpha1.TargetName(fmt.Sprintf("gateway-%06d", i*each+g*each/10+m)))
			}
			groups = append(groups, group)
			all = append(all, group)
		}
		build.Running(worldTime.Add(-time.Hour), "sha256:content", groups...)(r)
		r.Status.ObservedGeneration = r.Generation
		n := int32(each)
		r.Status.Targets = &v1alpha1.Counts{Targets: n, Succeeded: n / 2, Failed: n / 20, InProgress: n / 10, Pending: n / 10, Scheduled: n - n/2 - n/20 - n/10 - n/10}
		r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: "SuccessThreshold", Message: fmt.Sprintf("group group-3: %d of %d succeeded, waiting for the rest; %d pending, e.g. gateway-%06d", n/20, n/10, n/20, i*each)}
		all = append(all, r)
	}
	return all
}

// firstPages are the pages that are measured.
var firstPages = []struct{ name, path string }{
	{"fleet", "/"}, {"rollouts", "/rollouts"}, {"rollout", "/rollouts/fleet/rollout-001"}, {"targets", "/targets"}, {"target", "/targets/fleet/gateway-000001"},
	{"sets", "/sets"}, {"set", "/sets/fleet/firmware-2"}, {"overlaps", "/overlaps"}, {"search", "/search?q=gateway"},
}

// TestFirstPageIsSmall: with 5 000 targets and 50 rollouts, a browser without a cache loads less
// than 60 KiB for the first page, the styles and the script included.
func TestFirstPageIsSmall(t *testing.T) {
	w := newWorld(t, manyObjects(5000, 50)...)
	shared := 0
	for _, a := range assets {
		shared += transferred(w.do(acceptingGzip(a.path)))
	}
	for _, p := range firstPages {
		page := w.do(acceptingGzip(p.path)).wantStatus(http.StatusOK)
		total := shared + transferred(page)
		t.Logf("%s: %d bytes, with styles and script %d", p.name, transferred(page), total)
		if total > 60<<10 {
			t.Errorf("the first page %s has %d bytes with styles and script, want at most 60 KiB", p.path, total)
		}
	}
}

func acceptingGzip(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", "gzip")
	return r
}

// transferred returns the number of bytes of a body, as they are sent.
func transferred(p *response) int { return p.sent }

// BenchmarkFirstPage makes each page for the first time, with 5 000 targets and 50 rollouts.
func BenchmarkFirstPage(b *testing.B) { benchmarkPages(b, 5000, 50) }

// BenchmarkPagesOfLargeFleet does the same with 100 000 targets and 10 rollouts.
func BenchmarkPagesOfLargeFleet(b *testing.B) { benchmarkPages(b, 100_000, 10) }

func benchmarkPages(b *testing.B, targets, rollouts int) {
	w := newWorld(b, manyObjects(targets, rollouts)...)
	for _, p := range firstPages {
		b.Run(p.name, func(b *testing.B) {
			bytes := 0
			for b.Loop() {
				w.now = w.now.Add(cachedLifetime) // it is not kept from the iteration before
				recorder := httptest.NewRecorder()
				w.server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, p.path, nil))
				if recorder.Code != http.StatusOK {
					b.Fatalf("%s has status %d", p.path, recorder.Code)
				}
				bytes = recorder.Body.Len()
			}
			b.ReportMetric(float64(bytes)/1024, "KiB")
		})
	}
}

// BenchmarkOpenBrowsers has 200 browsers that show the list of rollouts, each on its own
// connection: at rest, and while a rollout changes each second and each browser asks for the page
// again. The result is the part of one core that the console and the browsers of the benchmark use
// together.
func BenchmarkOpenBrowsers(b *testing.B) {
	for _, c := range []struct {
		name     string
		changing bool
	}{{"at rest", false}, {"while a rollout changes each second", true}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b, manyObjects(5000, 50)...)
			w.server.o.Now, w.server.o.Viewers, w.server.cache.stale = time.Now, manyViewers{w.viewer}, cachedStale
			server := httptest.NewServer(w.server)
			ctx, stop := context.WithCancel(b.Context())
			defer func() { stop(); server.CloseClientConnections(); server.Close() }()
			ready := make(chan error, 200)
			for i := range cap(ready) {
				go func() {
					if err := showPage(ctx, fmt.Sprint("session-", i), server.URL, ready); err != nil && ctx.Err() == nil {
						ready <- err
					}
				}()
			}
			for range cap(ready) {
				if err := <-ready; err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				used, at := cpuTime(b), time.Now()
				for end := at.Add(heartbeatInterval + 5*time.Second); time.Now().Before(end); time.Sleep(time.Second) {
					if c.changing {
						w.source.put(objects.Rollout("rollout-001", "firmware-2", func(r *v1alpha1.Rollout) { r.Generation = time.Now().UnixNano() }))
					}
				}
				b.ReportMetric(100*float64(cpuTime(b)-used)/float64(time.Since(at)), "%core")
			}
		})
	}
}

// showPage opens the stream of a page, reports that on opened, and asks for the page after each
// change, as the script of the page does. It returns after the end of ctx.
func showPage(ctx context.Context, session, server string, opened chan<- error) error {
	browser := &http.Client{Transport: &http.Transport{}}
	get := func(path, tag string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+path, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set(partHeader, "main")
		r.Header.Set("Session", session)
		r.Header.Set("If-None-Match", tag)
		return browser.Do(r)
	}
	stream, err := get("/events?kinds=rollouts&namespace=&version=0", "")
	if err != nil {
		return err
	}
	defer func() { _ = stream.Body.Close() }()
	if stream.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream has status %d", stream.StatusCode)
	}
	tag, lines := "", bufio.NewScanner(stream.Body)
	for lines.Scan() {
		switch {
		case strings.HasPrefix(lines.Text(), "event: hello"):
			opened <- nil
		case strings.HasPrefix(lines.Text(), "event: changed"):
			page, err := get("/rollouts", tag)
			if err != nil {
				return ctx.Err()
			}
			tag = page.Header.Get("ETag")
			_, _ = io.Copy(io.Discard, page.Body)
			_ = page.Body.Close()
		}
	}
	<-ctx.Done()
	return nil
}

// manyViewers has a viewer for each session.
type manyViewers struct{ viewer *Viewer }

func (m manyViewers) Of(r *http.Request) (*Viewer, error) {
	v := *m.viewer
	v.Session = r.Header.Get("Session")
	return &v, nil
}

// cpuTime returns the time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
