// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// commit is what a person would commit: one field of the bad set.
const commit = `{"spec":{"invalidation":{"cancellation":"Force","reason":"bricks the modem"}}}`

// longestWatch is how long the demo waits until every device has asked again.
const longestWatch = 40 * time.Second

// stop starts the bad update, stops it when some devices have started and others not, and tells
// what the devices saw.
func (d *demo) stop(ctx context.Context) error {
	d.screen.say(`Firmware %s goes to everybody at once. When half of the devices have started we
learn that it is bad, and commit one field of its DistributionSet:

  spec:
    invalidation:
      cancellation: Force
      reason: bricks the modem
`, badVersion)
	startTime := time.Now()
	r := badRollout(d.fleet.namespace, startTime)
	started, err := d.runUntilHalf(ctx, r)
	if err != nil {
		return err
	}
	c, err := d.invalidate(ctx)
	if err != nil {
		return err
	}
	d.screen.say("\nCommitted at %s, when %d devices had started. Each may ask for work twice more.\n", c.sent.Format("15:04:05.000"), started)
	v, err := d.watch(ctx, r, startTime, c)
	if err != nil {
		return err
	}
	d.screen.say("\n%s", v.text(c, r.Status.FinishedAt.Time))
	return v.err(c)
}

// watch follows the rollout until it is Stopped and every device has asked twice since the commit.
func (d *demo) watch(ctx context.Context, r *v1alpha1.Rollout, startTime time.Time, c stopCommit) (v verdict, err error) {
	err = d.follow(ctx, r, func() bool {
		if r.Status.State != v1alpha1.RolloutStopped || r.Status.FinishedAt == nil {
			return false
		}
		v = judge(d.recorder.Events(), len(d.fleet.devices), startTime, c)
		return v.askedTwice == v.devices || time.Since(c.acknowledged) > longestWatch
	})
	if err != nil {
		return v, err
	}
	v.books, err = d.readBooks(ctx, setName(badVersion))
	return v, err
}

// runUntilHalf starts the bad rollout and returns when half of the devices have started, with how
// many that are. The devices know it first: status counts are gathered for a second or more.
func (d *demo) runUntilHalf(ctx context.Context, r *v1alpha1.Rollout) (started int64, err error) {
	before, half := d.devices.Stats().Started, int64(len(d.fleet.devices)/2)
	if err := d.cluster.Create(ctx, r); err != nil {
		return 0, fmt.Errorf("create Rollout %s: %w", r.Name, err)
	}
	err = d.follow(ctx, r, func() bool {
		started = d.devices.Stats().Started - before
		return started >= half
	})
	return started, err
}

// stopCommit is when the commit was sent to the API server, and when that had stored it.
type stopCommit struct{ sent, acknowledged time.Time }

func (d *demo) invalidate(ctx context.Context) (c stopCommit, err error) {
	set := &v1alpha1.DistributionSet{}
	set.Namespace, set.Name = d.fleet.namespace, setName(badVersion)
	c.sent = time.Now()
	if err = d.cluster.Patch(ctx, set, client.RawPatch(types.MergePatchType, []byte(commit))); err != nil {
		return c, fmt.Errorf("invalidate DistributionSet %s: %w", set.Name, err)
	}
	c.acknowledged = time.Now()
	return c, nil
}

// books are what Goshawk has written down of a set in its Targets.
type books struct{ started, open int }

func (d *demo) readBooks(ctx context.Context, set string) (books, error) {
	var targets v1alpha1.TargetList
	if err := d.cluster.List(ctx, &targets, client.InNamespace(d.fleet.namespace)); err != nil {
		return books{}, fmt.Errorf("read the targets: %w", err)
	}
	var b books
	for i := range targets.Items {
		for _, a := range targets.Items[i].Status.Actions {
			if a.DistributionSet != set {
				continue
			}
			b.started++
			if a.ClosedAt == nil {
				b.open++
			}
		}
	}
	return b, nil
}
