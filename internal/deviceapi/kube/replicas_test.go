// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// TestReplicaWithAStaleCache: a device sends requests to one replica, and then at once to another
// one, whose cache does not show the writes of the first one yet. The other replica applies the
// request as the first one would.
func TestReplicaWithAStaleCache(t *testing.T) {
	accepted := func(other *deviceAPI, err error) {
		other.w.t.Helper()
		if err != nil {
			other.w.t.Errorf("the other replica returns %v", err)
		}
	}
	for name, c := range map[string]struct {
		confirmationRequired bool
		// before are the requests that both replicas know, at one replica those that the other one
		// does not know, and then the one that the other one gets.
		before, at, then func(*deviceAPI)
		want             v1alpha1.ActionState
	}{
		"a result of an action that has just started": {
			at:   func(d *deviceAPI) { d.start() },
			then: func(d *deviceAPI) { d.wantReport(nil, firstID, succeeded) },
			want: v1alpha1.ActionFinished,
		},
		"an intermediate report of an action that has just started": {
			at:   func(d *deviceAPI) { d.start() },
			then: func(d *deviceAPI) { d.wantReport(nil, firstID, proceeding) },
			want: v1alpha1.ActionRunning,
		},
		"a second result": {
			before: func(d *deviceAPI) { d.start() },
			at:     func(d *deviceAPI) { d.wantReport(nil, firstID, succeeded) },
			then:   func(d *deviceAPI) { d.wantReport(deviceapi.ErrGone, firstID, failed) },
			want:   v1alpha1.ActionFinished,
		},
		"a result after a confirmation": {
			confirmationRequired: true,
			before:               fetchConfirmation,
			at:                   func(d *deviceAPI) { d.wantAnswer(nil, firstID, confirmed) },
			then:                 func(d *deviceAPI) { d.wantReport(nil, firstID, succeeded) },
			want:                 v1alpha1.ActionFinished,
		},
		"an intermediate report after a confirmation": {
			confirmationRequired: true,
			before:               fetchConfirmation,
			at:                   func(d *deviceAPI) { d.wantAnswer(nil, firstID, confirmed) },
			then:                 func(d *deviceAPI) { d.wantReport(nil, firstID, proceeding) },
			want:                 v1alpha1.ActionRunning,
		},
		"the deployment after a confirmation": {
			confirmationRequired: true,
			before:               fetchConfirmation,
			at:                   func(d *deviceAPI) { d.wantAnswer(nil, firstID, confirmed) },
			then: func(d *deviceAPI) {
				_, err := d.Deployment(context.Background(), dev0, firstID)
				accepted(d, err)
			},
			want: v1alpha1.ActionRunning,
		},
		"a confirmation of an action that was just created": {
			confirmationRequired: true,
			at:                   fetchConfirmation,
			then:                 func(d *deviceAPI) { d.wantAnswer(nil, firstID, confirmed) },
			want:                 v1alpha1.ActionRunning,
		},
		"the fetch of a cancel": {
			before: func(d *deviceAPI) { d.start() },
			at:     stopAndPoll,
			then:   func(d *deviceAPI) { accepted(d, d.Cancel(context.Background(), dev0, firstID)) },
			want:   v1alpha1.ActionCanceling,
		},
		"an accepted cancel": {
			before: func(d *deviceAPI) { d.start() },
			at:     stopAndPoll,
			then:   func(d *deviceAPI) { d.wantCancel(nil, firstID, succeeded) },
			want:   v1alpha1.ActionCanceled,
		},
		"a refused cancel": {
			before: func(d *deviceAPI) { d.start() },
			at:     stopAndPoll,
			then:   func(d *deviceAPI) { d.wantCancel(nil, firstID, failed) },
			want:   v1alpha1.ActionRetrieved,
		},
		"auto-confirm that is deactivated": {
			confirmationRequired: true,
			at:                   func(d *deviceAPI) { accepted(d, d.activate("operator", "")) },
			then: func(d *deviceAPI) {
				accepted(d, d.DeactivateAutoConfirm(context.Background(), dev0))
				if isActive(d.w.target("dev-0").Status.AutoConfirm) {
					d.w.t.Error("auto-confirm is still active")
				}
			},
		},
		"auto-confirm that is activated again": {
			confirmationRequired: true,
			before:               func(d *deviceAPI) { accepted(d, d.activate("operator", "")) },
			at:                   func(d *deviceAPI) { accepted(d, d.DeactivateAutoConfirm(context.Background(), dev0)) },
			then: func(d *deviceAPI) {
				accepted(d, d.activate("operator", ""))
				if !isActive(d.w.target("dev-0").Status.AutoConfirm) {
					d.w.t.Error("auto-confirm is not active")
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			if c.confirmationRequired {
				w.requireConfirmation()
			}
			options := Options{Replicated: true, PollInterval: time.Minute, ProgressInterval: time.Minute}
			one := w.deviceAPI(options)
			if c.before != nil {
				c.before(one)
			}
			other := w.deviceAPI(options)
			c.at(one)
			c.then(other)
			one.flushAll()
			other.flushAll()
			if c.want != "" {
				w.wantState(firstID, c.want)
			}
		})
	}
}

// fetchConfirmation fetches the confirmation of the first action, which creates it.
func fetchConfirmation(d *deviceAPI) {
	d.w.t.Helper()
	if _, err := d.Confirmation(context.Background(), dev0, firstID); err != nil {
		d.w.t.Fatal(err)
	}
}

// stopAndPoll stops the rollout, and lets the device poll, which gets a cancel.
func stopAndPoll(d *deviceAPI) {
	d.w.t.Helper()
	d.w.editRollout(stop(v1alpha1.CancellationSoft))
	d.sync()
	if p := d.poll(); p.CancelID != firstID {
		d.w.t.Fatalf("the poll announces cancel %d, want %d", p.CancelID, firstID)
	}
}

// TestReadsOfAStaleReplicaAreBounded: a device that reports on an action that waits for its
// confirmation causes as many reads from the API server as it may cause writes.
func TestReadsOfAStaleReplicaAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.requireConfirmation()
	d := w.deviceAPI(Options{Replicated: true, PollInterval: time.Minute, ProgressInterval: time.Minute})
	fetchConfirmation(d)
	before := w.reads["*v1alpha1.Target"]
	for range 10 * writeBurst {
		if err := d.report(firstID, succeeded); !errors.Is(err, deviceapi.ErrNotFound) {
			t.Fatalf("the error is %v, want not found", err)
		}
	}
	if n := w.reads["*v1alpha1.Target"] - before; n == 0 || n > writeBurst {
		t.Errorf("%d reads, want at most %d", n, writeBurst)
	}
	w.wait(writeEvery)
	d.wantAnswer(nil, firstID, confirmed)
}

// TestWritesOfAnUpdateOverTwoReplicas: the requests of a device go to two replicas in turn. An
// update costs the writes that the decision about evidence names, and none for the reports that the
// other replica has buffered when the result arrives, or for a result that is sent again.
func TestWritesOfAnUpdateOverTwoReplicas(t *testing.T) {
	download, downloaded := feedback(wire.ExecutionDownload, wire.FinishedNone), feedback(wire.ExecutionDownloaded, wire.FinishedNone)
	installation := []wire.Feedback{download, downloaded, step(1, 5), step(2, 5), step(3, 5), step(4, 5), step(5, 5)}
	for name, c := range map[string]struct {
		change  func(*world)
		update  v1alpha1.UpdateType
		reports []wire.Feedback
		result  wire.Feedback
		state   v1alpha1.ActionState
		writes  int // after the start, which is one write
	}{
		"a success, with rollback":    {change: (*world).rollsBack, reports: installation, result: succeeded, state: v1alpha1.ActionFinished, writes: 1},
		"a failure, with rollback":    {change: (*world).rollsBack, reports: installation, result: failed, state: v1alpha1.ActionError, writes: 1},
		"a success, without rollback": {reports: installation, result: succeeded, state: v1alpha1.ActionFinished, writes: 2},
		"a failure, without rollback": {reports: installation, result: failed, state: v1alpha1.ActionError, writes: 2},
		"a download only": {
			update: v1alpha1.UpdateTypeDownloadOnly, reports: []wire.Feedback{download, download, download}, result: downloaded,
			state: v1alpha1.ActionFinished, writes: 2,
		},
		"a result only": {result: succeeded, state: v1alpha1.ActionFinished, writes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				if c.update != "" {
					r.Spec.Update.Type = c.update
				}
			})
			if c.change != nil {
				c.change(w)
			}
			options := Options{Replicated: true, PollInterval: time.Minute, ProgressInterval: time.Minute}
			replicas := []*deviceAPI{w.deviceAPI(options), w.deviceAPI(options)}
			replicas[0].start()
			for i, r := range append(c.reports, c.result) {
				for _, d := range replicas {
					d.sync()
				}
				replicas[i%2].wantReport(nil, firstID, r)
			}
			for _, d := range replicas {
				d.sync()
				if err := d.report(firstID, c.result); err != nil && !errors.Is(err, deviceapi.ErrGone) {
					t.Errorf("the result is sent again and gets the error %v", err)
				}
				d.flushAll()
			}
			w.wantWrites(c.writes, "what follows the start")
			w.wantState(firstID, c.state)
		})
	}
}
