// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// simulation is one device in a synctest bubble: it polls at 0 s, 10 s, 20 s…, every step takes 1 s
// and there are two progress reports.
type simulation struct {
	t         *testing.T
	deviceAPI *deviceAPI
	fleet     *Fleet
	record    *Recorder
}

func newSimulation(t *testing.T, behavior Behavior, change func(*Config)) *simulation {
	t.Helper()
	p := &simulation{t: t, deviceAPI: newDeviceAPI(), record: &Recorder{}}
	config := Config{
		BaseURL: deviceAPIURL, Transport: p.deviceAPI, Observer: p.record.Observe, Concurrency: 2,
		Devices:      []Device{{ID: "d", Token: "secret", Behavior: behavior}},
		PollInterval: 10 * time.Second, StepTime: time.Second, Steps: 2,
	}
	if change != nil {
		change(&config)
	}
	fleet, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range fleet.devices { // no spread: the table needs whole seconds
		d.nextPoll = time.Now()
		fleet.enqueue(d)
	}
	p.fleet = fleet
	return p
}

// run runs the fleet until the given time since the start.
func (p *simulation) run(until time.Duration) {
	p.t.Helper()
	ctx, cancel := context.WithDeadline(p.t.Context(), p.deviceAPI.start.Add(until+time.Millisecond))
	defer cancel()
	if err := p.fleet.Run(ctx); err != nil {
		p.t.Fatal(err)
	}
}

func (p *simulation) wantLog(want ...string) {
	p.t.Helper()
	if diff := cmp.Diff(want, p.deviceAPI.lines()); diff != "" {
		p.t.Errorf("requests to the device API (-want +got):\n%s", diff)
	}
}

// TestBehaviors lists the requests of a device of each behavior to which one forced update is
// offered, within 25 seconds.
func TestBehaviors(t *testing.T) {
	starts := []string{"0s d GET deploymentBase/1", "0s d deploymentBase download/none"}
	installs := append(starts[:2:2],
		"1s d deploymentBase downloaded/none",
		"2s d deploymentBase proceeding/none 1 of 2",
		"3s d deploymentBase proceeding/none 2 of 2")
	with := func(lines []string, more ...string) []string { return append(lines[:len(lines):len(lines)], more...) }
	tests := map[Behavior]struct {
		want      []string
		installed string
		stats     Stats
	}{
		Obedient: {with(installs, "4s d deploymentBase closed/success"), "os:linux:6.6", Stats{Reports: 5, Succeeded: 1}},
		Slow: {with(starts,
			"10s d deploymentBase downloaded/none",
			"20s d deploymentBase proceeding/none 1 of 2"), "", Stats{Reports: 3, Busy: 1}},
		Failing:      {with(installs, "4s d deploymentBase closed/failure code 1"), "", Stats{Reports: 5, Failed: 1}},
		Flaky:        {with(installs, "4s d deploymentBase closed/failure code 1"), "", Stats{Reports: 5, Failed: 1}},
		Inconsistent: {with(installs, "4s d deploymentBase closed/failure code INCONSISTENT"), "", Stats{Reports: 5, Failed: 1}},
		DownloadFails: {with(starts, "1s d deploymentBase closed/failure code 1"), "",
			Stats{Reports: 2, Failed: 1}},
		RejectsCancel:   {with(installs, "4s d deploymentBase closed/success"), "os:linux:6.6", Stats{Reports: 5, Succeeded: 1}},
		FinishesInstall: {with(installs, "4s d deploymentBase closed/success"), "os:linux:6.6", Stats{Reports: 5, Succeeded: 1}},
		Silent:          {starts[:1], "", Stats{Busy: 1}},
		Vanishes:        {starts[:1], "", Stats{Busy: 1}},
		ReportsTwice: {[]string{
			"0s d GET deploymentBase/1",
			"0s d deploymentBase download/none", "0s d deploymentBase download/none",
			"1s d deploymentBase downloaded/none", "1s d deploymentBase downloaded/none",
			"2s d deploymentBase proceeding/none 1 of 2", "2s d deploymentBase proceeding/none 1 of 2",
			"3s d deploymentBase proceeding/none 2 of 2", "3s d deploymentBase proceeding/none 2 of 2",
			"4s d deploymentBase closed/success", "4s d deploymentBase closed/success answered 410",
		}, "os:linux:6.6", Stats{Reports: 9, Succeeded: 1, Dropped: 1}},
		ReportsLate: {installs, "", Stats{Reports: 4, Busy: 1}},
		SkipsUpdate: {with(starts[:1], "0s d deploymentBase closed/success"), "", Stats{Reports: 1, Succeeded: 1}},
		Denies:      {with(installs, "4s d deploymentBase closed/success"), "os:linux:6.6", Stats{Reports: 5, Succeeded: 1}},
		Unconfirmed: {with(installs, "4s d deploymentBase closed/success"), "os:linux:6.6", Stats{Reports: 5, Succeeded: 1}},
	}
	for _, behavior := range Behaviors() {
		tc, known := tests[behavior]
		if behavior == Offline || behavior.needsMQTT() {
			continue // TestOffline, TestBehaviorsWithMQTT
		}
		if !known {
			t.Errorf("%s has no case in this test", behavior)
			continue
		}
		t.Run(string(behavior), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSimulation(t, behavior, nil)
				p.deviceAPI.offer("d", "1")
				p.run(25 * time.Second)
				p.wantLog(tc.want...)
				if got := p.fleet.Installed("d"); got != tc.installed {
					t.Errorf("installed %q, want %q", got, tc.installed)
				}
				tc.stats.Devices, tc.stats.Started = 1, 1
				got := p.fleet.Stats()
				got.Polls = 0 // TestPolling
				if diff := cmp.Diff(tc.stats, got); diff != "" {
					t.Errorf("stats (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Offline, nil)
		p.deviceAPI.offer("d", "1")
		p.run(time.Hour)
		if err := p.fleet.PollNow("d"); err != nil {
			t.Fatal(err)
		}
		p.run(2 * time.Hour)
		p.wantLog()
		if n := p.deviceAPI.polls["d"]; n != 0 {
			t.Errorf("an offline device polled %d times", n)
		}
		if err := p.fleet.SetBehavior("d", Obedient); err != nil {
			t.Fatal(err)
		}
		p.run(2*time.Hour + time.Minute)
		if got := p.fleet.Installed("d"); got != "os:linux:6.6" {
			t.Errorf("after the change to obedient the device runs %q", got)
		}
	})
}

// TestCancel offers a cancel at 1.5 s and lets the device poll at once.
func TestCancel(t *testing.T) {
	starts := []string{"0s d GET deploymentBase/1", "0s d deploymentBase download/none", "1s d deploymentBase downloaded/none"}
	with := func(more ...string) []string { return append(starts[:3:3], more...) }
	install := []string{
		"2s d deploymentBase proceeding/none 1 of 2", "3s d deploymentBase proceeding/none 2 of 2",
		"4s d deploymentBase closed/success",
	}
	tests := map[string]struct {
		behavior Behavior
		at       time.Duration
		want     []string
		kinds    map[Kind]int
	}{
		"obedient cancels": {Obedient, 1500 * time.Millisecond,
			with("1.5s d cancelAction closed/success"), map[Kind]int{Canceled: 1}},
		"obedient cancels also while installing": {Obedient, 2500 * time.Millisecond,
			with(install[0], "2.5s d cancelAction closed/success"), map[Kind]int{Canceled: 1}},
		"rejects-cancel continues": {RejectsCancel, 1500 * time.Millisecond,
			with(append([]string{"1.5s d cancelAction rejected/success"}, install...)...), map[Kind]int{CancelRejected: 1, Closed: 1}},
		"finishes-install cancels while downloading": {FinishesInstall, 1500 * time.Millisecond,
			with("1.5s d cancelAction closed/success"), map[Kind]int{Canceled: 1}},
		"finishes-install rejects while installing": {FinishesInstall, 2500 * time.Millisecond,
			with(install[0], "2.5s d cancelAction rejected/success", install[1], install[2]), map[Kind]int{CancelRejected: 1, Closed: 1}},
		"silent sends no answer": {Silent, 1500 * time.Millisecond, starts[:1], map[Kind]int{}},
		"reports-late cancels, and reports success after that": {ReportsLate, 1500 * time.Millisecond,
			with("1.5s d cancelAction closed/success", "1.5s d deploymentBase closed/success answered 410"), map[Kind]int{Canceled: 1, Dropped: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSimulation(t, tc.behavior, nil)
				offer := p.deviceAPI.offer("d", "1")
				p.run(tc.at - 100*time.Millisecond)
				p.sleepUntil(tc.at)
				p.deviceAPI.change(func() { offer.state = canceling })
				if err := p.fleet.PollNow("d"); err != nil {
					t.Fatal(err)
				}
				p.run(25 * time.Second)
				p.wantLog(tc.want...)
				for _, kind := range []Kind{Canceled, CancelRejected, Closed, Dropped} {
					if got := len(p.record.Of(kind)); got != tc.kinds[kind] {
						t.Errorf("%d events %s, want %d", got, kind, tc.kinds[kind])
					}
				}
			})
		})
	}
}

func (p *simulation) sleepUntil(at time.Duration) { time.Sleep(time.Until(p.deviceAPI.start.Add(at))) }

func TestCancelOfAnUnknownActionIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, nil)
		p.deviceAPI.offer("d", "9").state = canceling
		p.run(15 * time.Second)
		p.wantLog("0s d cancelAction closed/success")
	})
}

func TestCancelIsFoundByAPollDuringAnUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Slow, nil)
		offer := p.deviceAPI.offer("d", "1")
		p.run(time.Second)
		p.deviceAPI.change(func() { offer.state = canceling })
		p.run(25 * time.Second)
		p.wantLog("0s d GET deploymentBase/1", "0s d deploymentBase download/none", "5s d cancelAction closed/success")
	})
}

func TestReportsLateReportsAfterTheActionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, ReportsLate, nil)
		offer := p.deviceAPI.offer("d", "1")
		p.run(31 * time.Second)
		before := len(p.deviceAPI.lines())
		p.deviceAPI.change(func() { offer.state = closed })
		p.run(45 * time.Second)
		got := p.deviceAPI.lines()[before:]
		if diff := cmp.Diff([]string{"35s d deploymentBase closed/success answered 410"}, got); diff != "" {
			t.Errorf("requests after the action was closed (-want +got):\n%s", diff)
		}
		if got := p.fleet.Installed("d"); got != "os:linux:6.6" {
			t.Errorf("installed %q", got)
		}
	})
}

func TestFlakyCountsAttemptsPerSoftware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Flaky, func(c *Config) { c.Steps = 0; c.StepTime = 0 })
		for i, version := range []string{"6.6", "6.6", "6.7"} {
			p.deviceAPI.offer("d", fmt.Sprint(i+1)).chunks[0].Version = version
			p.run(time.Duration(i)*10*time.Second + 5*time.Second)
		}
		var results []wire.Finished
		for _, e := range p.record.Of(Closed) {
			results = append(results, e.Status.Result.Finished)
		}
		if diff := cmp.Diff([]wire.Finished{"failure", "success", "failure"}, results); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
	})
}

func TestSilentStartsTheNextActionWhenTheOldIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Silent, nil)
		p.deviceAPI.offer("d", "1")
		p.run(12 * time.Second)
		p.deviceAPI.offer("d", "2")
		p.run(30 * time.Second)
		p.wantLog("0s d GET deploymentBase/1", "15s d GET deploymentBase/2")
	})
}

func TestConfirmation(t *testing.T) {
	tests := map[Behavior][]string{
		Obedient: {
			"0s d confirmationBase confirmed, error <nil>", "10s d GET deploymentBase/1",
			"10s d deploymentBase download/none", "11s d deploymentBase downloaded/none",
		},
		Denies:      {"0s d confirmationBase denied, error <nil>"},
		Unconfirmed: nil,
	}
	for behavior, want := range tests {
		t.Run(string(behavior), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSimulation(t, behavior, nil)
				p.deviceAPI.offer("d", "1").state = confirming
				p.run(11500 * time.Millisecond)
				p.wantLog(want...)
			})
		})
	}
}

func TestDownloadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, nil)
		p.deviceAPI.offer("d", "1").update = wire.HandlingSkip
		p.run(25 * time.Second)
		p.wantLog("0s d GET deploymentBase/1", "0s d deploymentBase download/none", "1s d deploymentBase downloaded/success")
		if got := p.fleet.Installed("d"); got != "" {
			t.Errorf("a download-only update installed %q", got)
		}
	})
}

func TestMaintenanceWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, nil)
		offer := p.deviceAPI.offer("d", "1")
		offer.update, offer.window = wire.HandlingSkip, wire.WindowUnavailable
		p.run(7 * time.Second)
		p.deviceAPI.change(func() { offer.update, offer.window = wire.HandlingForced, wire.WindowAvailable })
		p.run(25 * time.Second)
		p.wantLog(
			"0s d GET deploymentBase/1", "0s d deploymentBase download/none", "1s d deploymentBase downloaded/none",
			"5s d GET deploymentBase/1", "10s d GET deploymentBase/1",
			"10s d deploymentBase proceeding/none 1 of 2", "11s d deploymentBase proceeding/none 2 of 2",
			"12s d deploymentBase closed/success",
		)
	})
}

func TestAttributesAreSentWhenRequested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, func(c *Config) { c.Devices[0].Attributes = map[string]string{"hw": "B", "site": "x"} })
		p.deviceAPI.wants["d"] = true
		p.run(25 * time.Second)
		p.wantLog("0s d configData 2 attributes, error <nil>")
		if n := len(p.record.Of(AttributesSent)); n != 1 {
			t.Errorf("%d events AttributesSent, want 1", n)
		}
	})
}

// TestErrorsOfTheDeviceAPI returns an error for one resource until 12 s. The device retries, unless
// the error says that the action is closed.
func TestErrorsOfTheDeviceAPI(t *testing.T) {
	report := "POST deploymentBase/1/feedback"
	tests := map[string]struct {
		request string
		status  int
		until   time.Duration
		want    []string
		errors  int64
	}{
		"an unauthorized poll is repeated": {"GET ", 401, 20 * time.Second,
			[]string{"0s d GET  answered 401", "10s d GET  answered 401", "20s d GET deploymentBase/1", "20s d deploymentBase download/none"}, 2},
		"a poll above the rate is repeated": {"GET ", 429, 20 * time.Second,
			[]string{"0s d GET  answered 429", "10s d GET  answered 429", "20s d GET deploymentBase/1", "20s d deploymentBase download/none"}, 2},
		"a deployment that fails is fetched again": {"GET deploymentBase/1", 503, 20 * time.Second,
			[]string{"0s d GET deploymentBase/1 answered 503", "10s d GET deploymentBase/1 answered 503", "20s d GET deploymentBase/1", "20s d deploymentBase download/none"}, 2},
		"a report that fails is sent again": {report, 500, 20 * time.Second,
			[]string{"0s d GET deploymentBase/1", "0s d " + report + " answered 500", "5s d " + report + " answered 500",
				"10s d " + report + " answered 500", "15s d deploymentBase download/none", "16s d deploymentBase downloaded/none",
				"17s d deploymentBase proceeding/none 1 of 2", "18s d deploymentBase proceeding/none 2 of 2", "19s d deploymentBase closed/success"}, 3},
		"a report with wrong content is left out": {report, 400, 4500 * time.Millisecond,
			[]string{"0s d GET deploymentBase/1", "0s d " + report + " answered 400", "1s d " + report + " answered 400",
				"2s d " + report + " answered 400", "3s d " + report + " answered 400", "4s d " + report + " answered 400"}, 5},
		"a report on a closed action ends the update": {report, 410, 15 * time.Second,
			[]string{"0s d GET deploymentBase/1", "0s d " + report + " answered 410",
				"5s d GET deploymentBase/1", "5s d " + report + " answered 410",
				"10s d GET deploymentBase/1", "10s d " + report + " answered 410",
				"15s d GET deploymentBase/1", "15s d deploymentBase download/none"}, 0},
		"a deployment that is not found is not an error": {"GET deploymentBase/1", 404, 20 * time.Second,
			[]string{"0s d GET deploymentBase/1 answered 404", "10s d GET deploymentBase/1 answered 404", "20s d GET deploymentBase/1", "20s d deploymentBase download/none"}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSimulation(t, Obedient, nil)
				p.deviceAPI.offer("d", "1")
				p.deviceAPI.statuses[tc.request] = tc.status
				p.run(min(12*time.Second, tc.until))
				p.deviceAPI.change(func() { clear(p.deviceAPI.statuses) })
				p.run(tc.until)
				p.wantLog(tc.want...)
				if stats := p.fleet.Stats(); stats.HTTPErrors != tc.errors {
					t.Errorf("%d HTTP errors, want %d (last: %s)", stats.HTTPErrors, tc.errors, stats.LastError)
				}
			})
		})
	}
}

func TestAClosedActionIsReportedAgainAndNotInstalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, func(c *Config) { c.Steps = 0 })
		p.deviceAPI.offer("d", "1").state = stuck
		p.run(15 * time.Second)
		p.wantLog(
			"0s d GET deploymentBase/1", "0s d deploymentBase download/none", "1s d deploymentBase downloaded/none",
			"2s d deploymentBase closed/success", "5s d deploymentBase closed/success", "15s d deploymentBase closed/success",
		)
		if n := len(p.record.Of(Started)); n != 1 {
			t.Errorf("started %d times, want once", n)
		}
	})
}

func TestPolling(t *testing.T) {
	tests := map[string]struct {
		change      func(*Config)
		least, most int // polls in 300 s
	}{
		"the interval of the device API, 60 s": {func(c *Config) { c.PollInterval = 0 }, 6, 6},
		"the interval of the fleet":            {func(c *Config) { c.PollInterval = 20 * time.Second }, 16, 16},
		"jitter keeps the mean, ±30%":          {func(c *Config) { c.PollInterval = 3 * time.Second; c.Jitter = 0.3 }, 90, 112},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSimulation(t, Obedient, tc.change)
				p.run(300 * time.Second)
				if got := p.deviceAPI.polls["d"]; got < tc.least || got > tc.most {
					t.Errorf("%d polls, want %d to %d", got, tc.least, tc.most)
				}
			})
		})
	}
}

// slowStart is a device API that needs a second to start an update.
type slowStart struct{ next http.RoundTripper }

func (s slowStart) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/deploymentBase/") {
		time.Sleep(time.Second)
	}
	return s.next.RoundTrip(r)
}

// TestUpdatesGoBeforePolls: 20 devices are due at the same time, and there is one worker. A device
// that has started reports its steps before all other devices have started. A device that cannot
// continue does not delay the others.
func TestUpdatesGoBeforePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, func(c *Config) {
			c.Concurrency, c.StepTime, c.Transport = 1, time.Second/2, slowStart{c.Transport}
			c.Devices = []Device{{ID: "silent", Behavior: Silent}}
			for i := range 20 {
				c.Devices = append(c.Devices, Device{ID: fmt.Sprintf("d%d", i), Behavior: Obedient})
			}
		})
		for id := range p.fleet.devices {
			p.deviceAPI.offer(id, "1")
		}
		p.run(time.Minute)
		started := map[string]time.Time{}
		for _, e := range p.record.Of(Started) {
			started[e.Device] = e.At
		}
		closed := p.record.Of(Closed)
		if len(started) != 21 || len(closed) != 20 {
			t.Fatalf("%d devices have started and %d have finished, want 21 and 20", len(started), len(closed))
		}
		// Without a wait there are 2 s between a start and its result. Before each of its 4 steps a
		// device may wait for two starts: one in progress, and one that is next for the worker.
		for _, e := range closed {
			if took := e.At.Sub(started[e.Device]); took > 10*time.Second {
				t.Errorf("the update of %s took %s, want at most 10 s", e.Device, took)
			}
		}
	})
}

// TestSameSeedSameRequests: two runs of a mixed fleet with jitter send the same requests at the
// same millisecond, and a run with another seed does not.
func TestSameSeedSameRequests(t *testing.T) {
	run := func(seed int64) string {
		var log string
		synctest.Test(t, func(t *testing.T) {
			mix, err := ParseMix("obedient=5,failing=3,silent=2")
			if err != nil {
				t.Fatal(err)
			}
			deviceAPI := newDeviceAPI()
			config := Config{
				BaseURL: deviceAPIURL, Transport: deviceAPI, Mix: mix, Seed: seed, Jitter: 0.5, Concurrency: 1,
				PollInterval: 7 * time.Second, StepTime: time.Second, Steps: 1,
			}
			for i := range 20 {
				id := fmt.Sprintf("d%d", i)
				config.Devices = append(config.Devices, Device{ID: id})
				deviceAPI.offer(id, "1")
			}
			fleet, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := fleet.Run(ctx); err != nil {
				t.Fatal(err)
			}
			log = strings.Join(deviceAPI.lines(), "\n")
		})
		return log
	}
	first := run(1)
	if diff := cmp.Diff(first, run(1)); diff != "" {
		t.Errorf("requests with the same seed (-first +second):\n%s", diff)
	}
	if first == run(2) {
		t.Error("another seed sent the same requests")
	}
}

func TestStartedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSimulation(t, Obedient, nil)
		p.run(5 * time.Second)
		p.deviceAPI.offer("d", "1")
		stop := time.Now()
		p.run(15 * time.Second)
		if got := p.record.StartedAfter(stop); len(got) != 1 || got[0].Action != "1" {
			t.Errorf("started after the stop: %v, want action 1", got)
		}
		if got := p.record.StartedAfter(time.Now()); len(got) != 0 {
			t.Errorf("started after now: %v", got)
		}
	})
}

func TestArtifactsAreFetchedAndChecked(t *testing.T) {
	content := "firmware"
	sum := sha256.Sum256([]byte(content))
	right := hex.EncodeToString(sum[:])
	tests := map[string]struct {
		size   int64
		sha256 string
		status int
		want   string
	}{
		"right size and checksum": {8, right, 200, "closed/success"},
		"wrong checksum":          {8, strings.Repeat("0", 64), 200, "closed/failure code 1"},
		"wrong size":              {9, right, 200, "closed/failure code 1"},
		"not found":               {8, right, 404, "closed/failure code 1"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var leaked string
			store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				leaked = r.Header.Get("Authorization")
				w.WriteHeader(tc.status)
				fmt.Fprint(w, content)
			}))
			defer store.Close()
			deviceAPI := newDeviceAPI()
			server := httptest.NewServer(deviceAPI)
			defer server.Close()
			deviceAPI.url = server.URL
			deviceAPI.offer("d", "1").chunks[0].Artifacts = []wire.Artifact{{
				Filename: "a.swu", Size: tc.size, Hashes: wire.Hashes{SHA256: tc.sha256},
				Links: wire.ArtifactLinks{DownloadHTTP: wire.Link{Href: store.URL + "/a.swu"}},
			}}
			config := Config{
				BaseURL: deviceAPI.url, FetchArtifacts: true, PollInterval: 10 * time.Millisecond,
				Devices: []Device{{ID: "d", Token: "secret"}},
			}
			runUntil(t, config, func(f *Fleet) bool { return f.Stats().Succeeded+f.Stats().Failed == 1 })
			lines := deviceAPI.lines()
			if last := lines[len(lines)-1]; !strings.HasSuffix(last, tc.want) {
				t.Errorf("the last report was %q, want %s", last, tc.want)
			}
			if leaked != "" {
				t.Errorf("the token %q was sent to another host", leaked)
			}
			if !deviceAPI.tokens["TargetToken secret"] || len(deviceAPI.tokens) != 1 {
				t.Errorf("the device API got %v, want only the token", deviceAPI.tokens)
			}
		})
	}
}

// runUntil runs a fleet over a real network until enough returns true.
func runUntil(t *testing.T, config Config, enough func(*Fleet) bool) {
	t.Helper()
	fleet, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		for !enough(fleet) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := fleet.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !enough(fleet) {
		t.Fatalf("the counts after 30 s are %+v", fleet.Stats())
	}
}

// TestTwoThousandDevices runs a fleet against a real server: one half is offered an update, and
// devices of the other half poll at once and change their behavior all the time. It checks the
// counts, and the race detector checks the locks.
func TestTwoThousandDevices(t *testing.T) {
	deviceAPI := newDeviceAPI()
	server := httptest.NewServer(deviceAPI)
	defer server.Close()
	deviceAPI.url = server.URL
	mix, err := ParseMix("obedient=90,failing=5,silent=5")
	if err != nil {
		t.Fatal(err)
	}
	config := Config{BaseURL: server.URL, Mix: mix, PollInterval: 400 * time.Millisecond, Jitter: 0.2}
	want := map[Behavior]int64{}
	for i := range 2000 {
		id := fmt.Sprintf("device-%04d", i)
		config.Devices = append(config.Devices, Device{ID: id})
		if i >= 1000 {
			deviceAPI.offer(id, "1")
			want[mix.Choose(0, id)]++
		}
	}
	i := 0
	runUntil(t, config, func(f *Fleet) bool {
		id := fmt.Sprintf("device-%04d", i%1000)
		i++
		_ = f.PollNow(id)
		_ = f.SetBehavior(id, Behaviors()[i%8])
		_, _ = f.Installed(id), f.Behavior(id)
		s := f.Stats()
		if s.HTTPErrors != 0 {
			t.Errorf("%d errors, the last: %s", s.HTTPErrors, s.LastError)
		}
		return s.Started == 1000 && s.Succeeded == want[Obedient] && s.Failed == want[Failing] &&
			s.Busy == want[Silent] && s.Polls > 4000
	})
}

func TestNewRefusesWrongConfigs(t *testing.T) {
	tests := map[string]struct {
		config Config
		want   string
	}{
		"no address":                  {Config{}, `base URL "" is not usable; give one like http://127.0.0.1:8080`},
		"an address without a scheme": {Config{BaseURL: "localhost:8080"}, `base URL "localhost:8080" is not usable; give one like http://127.0.0.1:8080`},
		"too much jitter":             {Config{BaseURL: deviceAPIURL, Jitter: 2}, "jitter is 2; give a share from 0 to 1"},
		"a device without an ID":      {Config{BaseURL: deviceAPIURL, Devices: []Device{{}}}, "a device has no ID; every device needs one"},
		"a duplicate":                 {Config{BaseURL: deviceAPIURL, Devices: []Device{{ID: "a"}, {ID: "a"}}}, "device a is given twice; ids must be unique in a fleet"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.config)
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v\nwant  %s", err, tc.want)
			}
		})
	}
	_, err := New(Config{BaseURL: deviceAPIURL, Devices: []Device{{ID: "a", Behavior: "unknown"}}})
	if err == nil || !strings.HasPrefix(err.Error(), `device a: unknown behavior "unknown"; known are obedient, slow,`) {
		t.Errorf("error %v does not name device and behavior", err)
	}
}

// BenchmarkMemory measures the memory of an idle device, including its ID.
func BenchmarkMemory(b *testing.B) {
	const devices = 20000
	for b.Loop() {
		var before, after runtime.MemStats
		config := Config{BaseURL: deviceAPIURL, Devices: make([]Device, devices)}
		for i := range config.Devices {
			config.Devices[i].ID = fmt.Sprintf("device-%05d", i)
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		fleet, err := New(config)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/devices, "B/device")
		runtime.KeepAlive(fleet)
		runtime.KeepAlive(config)
	}
}

// BenchmarkPolls measures the polls per second of one process against a handler that returns a
// constant response.
func BenchmarkPolls(b *testing.B) {
	body, err := wire.Marshal(wire.Base{})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	defer server.Close()
	config := Config{BaseURL: server.URL, PollInterval: time.Millisecond}
	for i := range 2000 {
		config.Devices = append(config.Devices, Device{ID: fmt.Sprintf("d%d", i)})
	}
	fleet, err := New(config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	fleet.config.Observer = func(Event) {
		if fleet.tally.polled.Load() >= int64(b.N) {
			cancel()
		}
	}
	b.ResetTimer()
	if err := fleet.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "polls/s")
}
