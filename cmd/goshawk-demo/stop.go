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

// commit is the patch that a user would commit: one field of the bad set.
const commit = `{"spec":{"invalidation":{"cancellation":"Force","reason":"bricks the modem"}}}`

// longestWatch is the maximum time until every device has polled twice.
const longestWatch = 40 * time.Second

// stop starts the bad update, invalidates its set when half of the devices have started, and prints
// what the devices recorded.
func (d *demo) stop(ctx context.Context) error {
	d.screen.print(`Firmware %s goes to all devices at once. When half of the devices have started, we
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
	d.screen.print("\nCommitted at %s, when %d devices had started. Each device with DDI polls twice more.\n", c.sent.Format("15:04:05.000"), started)
	v, err := d.watch(ctx, r, startTime, c)
	if err != nil {
		return err
	}
	d.screen.print("\n%s", v.text(c, r.Status.FinishedAt.Time))
	return v.err(c)
}

// watch shows the rollout until it is Stopped and every device has polled twice since the commit.
func (d *demo) watch(ctx context.Context, r *v1alpha1.Rollout, startTime time.Time, c stopCommit) (v verdict, err error) {
	err = d.follow(ctx, r, func() bool {
		if r.Status.State != v1alpha1.RolloutStopped || r.Status.FinishedAt == nil {
			return false
		}
		v = evaluate(d.recorder.Events(), len(d.fleet.devices), d.fleet.polling(), startTime, c)
		return v.askedTwice == v.polling || time.Since(c.acknowledged) > longestWatch
	})
	if err != nil {
		return v, err
	}
	v.record, err = d.readRecord(ctx, setName(badVersion))
	return v, err
}

// runUntilHalf starts the bad rollout and returns when half of the devices have started. It returns
// the number of started devices, which the simulated devices count, because the counts in status
// are written with a delay of a second or more.
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

// stopCommit has the times when the commit was sent to the API server and when the API server had
// stored it.
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

// record counts the actions for a set in the status of all Targets.
type record struct{ started, open int }

func (d *demo) readRecord(ctx context.Context, set string) (record, error) {
	var targets v1alpha1.TargetList
	if err := d.cluster.List(ctx, &targets, client.InNamespace(d.fleet.namespace)); err != nil {
		return record{}, fmt.Errorf("read the targets: %w", err)
	}
	var b record
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
