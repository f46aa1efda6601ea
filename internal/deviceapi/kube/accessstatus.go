// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/access"
)

const (
	// accessGrace is the time after a change until the status of a DeviceAccess is written: a
	// rotation may delete a Secret and create it again, and many devices may register at once.
	accessGrace = 3 * time.Second
	// maxFaults is the number of faults in the message of Ready.
	maxFaults = 5
)

// AccessStatus maintains the status of DeviceAccesses. The device API does this, because only it
// may read Secrets. All replicas compute the same status, and the first one writes it.
type AccessStatus struct {
	backend *Backend
	writer  client.Client
	queue   workqueue.TypedDelayingInterface[types.NamespacedName]
	others  *otherSecrets
}

// NewAccessStatus returns the AccessStatus of the DeviceAccesses of a backend. It must be called
// before FollowAccesses.
func NewAccessStatus(b *Backend, writer client.Client) *AccessStatus {
	s := &AccessStatus{backend: b, writer: writer, queue: workqueue.NewTypedDelayingQueue[types.NamespacedName](), others: newOtherSecrets(b)}
	b.accesses.changed = func(key types.NamespacedName) { s.queue.AddAfter(key, accessGrace) }
	return s
}

// Run writes the status of each DeviceAccess that changes, until ctx ends.
func (s *AccessStatus) Run(ctx context.Context) error {
	defer s.queue.ShutDown()
	if !toolscache.WaitForCacheSync(ctx.Done(), s.backend.index.HasSynced, s.backend.accesses.hasSynced) {
		return nil
	}
	checkQueued(ctx, s.queue, s.check)
	return nil
}

// check writes the status of one DeviceAccess if it has changed. It returns the delay until the
// next check, or 0 if only a change requires one.
func (s *AccessStatus) check(ctx context.Context, key types.NamespacedName) time.Duration {
	object, compiled := s.backend.accesses.get(key)
	if object == nil || compiled == nil || object.Unreadable != nil {
		return 0
	}
	next := object.DeepCopy()
	again := s.fill(ctx, next, compiled)
	if equality.Semantic.DeepEqual(object.Status, next.Status) {
		return again
	}
	if tokenWrites.Wait(ctx) != nil {
		return 0
	}
	err := s.writer.Status().Patch(ctx, next, client.MergeFromWithOptions(object.DeepCopy(), client.MergeFromWithOptimisticLock{}))
	switch {
	case err == nil, apierrors.IsNotFound(err):
	case apierrors.IsConflict(err): // another replica was first
		return accessGrace
	default:
		deviceLog.Error(err, "The status of a DeviceAccess cannot be written; this is tried again", "deviceAccess", key)
		return tokenRecheck
	}
	return again
}

// fill computes the status, and returns after which time it may change by itself.
func (s *AccessStatus) fill(ctx context.Context, a *v1alpha1.DeviceAccess, compiled *access.Access) time.Duration {
	key, now := client.ObjectKeyFromObject(a), s.backend.now()
	again := time.Duration(0)
	soonest := func(d time.Duration) {
		if d > 0 && (again == 0 || d < again) {
			again = d
		}
	}
	if !compiled.Until.IsZero() {
		soonest(compiled.Until.Sub(now) + time.Second)
	}
	faults := compiled.Faults
	if s.lacksSecret(a) {
		faults = access.New(a, func(name string) *access.Secret { return s.secret(ctx, a, name) }, now).Faults
		soonest(tokenRecheck)
	}
	registered := s.backend.accesses.registeredBy(key)
	stopped := metav1.Condition{Type: v1alpha1.ConditionRegistrationStopped, Status: metav1.ConditionTrue}
	if failed := s.backend.registrations.failureOf(key); failed != "" {
		stopped.Reason, stopped.Message = v1alpha1.ReasonRegistrationFailed, failed
		soonest(failureTTL)
	}
	if compiled.MaxTargets > 0 && registered >= compiled.MaxTargets {
		stopped.Reason = v1alpha1.ReasonMaxTargetsReached
		stopped.Message = fmt.Sprintf("%d targets are registered, and spec.registration.maxTargets is %d: new devices are refused; raise it, or delete targets that are not used any more", registered, compiled.MaxTargets)
	}
	a.Status.ObservedGeneration, a.Status.Registered = a.Generation, int32(registered)
	conditions := &a.Status.Conditions
	setOrRemove := func(c metav1.Condition, isSet bool) {
		if !isSet {
			meta.RemoveStatusCondition(conditions, c.Type)
			return
		}
		c.ObservedGeneration, c.LastTransitionTime = a.Generation, metav1.NewTime(now.Truncate(time.Second))
		meta.SetStatusCondition(conditions, c)
	}
	ready := readyOf(faults)
	setOrRemove(ready, true)
	isStalled := ready.Status == metav1.ConditionFalse
	setOrRemove(metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: ready.Reason, Message: ready.Message}, isStalled)
	setOrRemove(stopped, stopped.Reason != "")
	slices.SortFunc(*conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	return again
}

// readyOf returns the condition Ready for the faults of a DeviceAccess.
func readyOf(faults []access.Fault) metav1.Condition {
	if len(faults) == 0 {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, Message: "the device API accepts the credentials of this object"}
	}
	var messages []string
	for _, f := range faults[:min(len(faults), maxFaults)] {
		messages = append(messages, f.Message)
	}
	if more := len(faults) - maxFaults; more > 0 {
		messages = append(messages, fmt.Sprintf("and %d more", more))
	}
	return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: faults[0].Reason, Message: strings.Join(messages, "; ")}
}

// lacksSecret reports whether the cache does not have one of the Secrets.
func (s *AccessStatus) lacksSecret(a *v1alpha1.DeviceAccess) bool {
	return slices.ContainsFunc(secretsOf(a), func(name string) bool {
		_, ok := s.backend.accesses.dataOf(types.NamespacedName{Namespace: a.Namespace, Name: name})
		return !ok
	})
}

// secret returns a Secret as the cache has it, or whether there is one of another type.
func (s *AccessStatus) secret(ctx context.Context, a *v1alpha1.DeviceAccess, name string) *access.Secret {
	key := types.NamespacedName{Namespace: a.Namespace, Name: name}
	if data, ok := s.backend.accesses.dataOf(key); ok {
		return &access.Secret{Data: data}
	}
	ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	if s.others.exists(ctx, key, ready != nil && ready.Reason == v1alpha1.ReasonSecretWrongType) {
		return &access.Secret{IsOther: true}
	}
	return nil
}
