// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// noteAssigned updates the condition Assigned in a write that happens anyway, such as a report of
// the device, so that the controller does not have to write once more after each of them. If the
// controller has not recorded the assignment yet, or if there is only a spec.cancel, it is left to
// the controller.
func (s *Store) noteAssigned(t *v1alpha1.Target, now time.Time) {
	if wanted := t.Spec.Assignment; wanted == nil || !offer.IsSeen(wanted, t.Status.Assignment) {
		return
	}
	if c := offer.Assigned(s.Index.World(t, now)); c != nil {
		c.ObservedGeneration = observedGeneration(t)
		meta.SetStatusCondition(&t.Status.Conditions, *c)
	}
}

// OfflineAfter is how long after lastSeen a device counts as offline. lastSeen is written at most
// once a day, so this includes one more day.
const OfflineAfter = 48 * time.Hour

// Presence is what a process knows about the connection of a device.
type Presence struct {
	// State is empty if the process knows nothing: the device has had no connection to it.
	State PresenceState
	// Since is when the connection was made, or when the last one ended.
	Since time.Time
	// AwaitsFeatures means that the device is connected and has not reported its features.
	AwaitsFeatures bool
	// TakenOver means that the connection counts as a new one although the condition shows one: it
	// was one to another process.
	TakenOver bool
}

// PresenceState is whether a device has a connection.
type PresenceState string

const (
	// Connected means that the device has a connection to this process.
	Connected PresenceState = "Connected"
	// Disconnected means that it had one, and has had none for longer than may be ignored.
	Disconnected PresenceState = "Disconnected"
	// Unused means that no process knows which devices have a connection, so what a condition says
	// about that is outdated.
	Unused PresenceState = "Unused"
)

// noteOnline sets the condition Online: whether the device has a connection or, if none is known,
// whether it contacted the device API lately. It is updated by every write, like lastSeen: if the
// controller updated it, each restart would write to the whole fleet. What a process with the
// connection has written is kept by processes that know nothing about it, as long as the device was
// heard of lately. A device that was never seen does not have this condition.
func noteOnline(t *v1alpha1.Target, now time.Time, p Presence) {
	c := onlineOf(t, now, p)
	if c == nil {
		meta.RemoveStatusCondition(&t.Status.Conditions, v1alpha1.ConditionOnline)
		return
	}
	c.Type, c.ObservedGeneration, c.LastTransitionTime = v1alpha1.ConditionOnline, observedGeneration(t), metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(&t.Status.Conditions, *c)
}

// ChangesOnline reports whether a write would change the condition Online, apart from the time of
// the last contact.
func ChangesOnline(t *v1alpha1.Target, now time.Time, p Presence) bool {
	before, after := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline), onlineOf(t, now, p)
	if before == nil || after == nil {
		return before != nil || after != nil
	}
	return before.Status != after.Status || before.Reason != after.Reason
}

// onlineOf returns status, reason and message of the condition Online, or nil if the device was
// never seen.
func onlineOf(t *v1alpha1.Target, now time.Time, p Presence) *metav1.Condition {
	before := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline)
	switch {
	case p.State == Connected:
		return connected(before, p)
	case p.State == Disconnected:
		return &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDisconnected, Message: fmt.Sprintf("the last connection ended at %s", p.Since.UTC().Format(time.RFC3339))}
	case t.Status.LastSeen == nil:
		return nil
	case isDisconnected(before) && !t.Status.LastSeen.After(before.LastTransitionTime.Time):
		return before.DeepCopy()
	case now.Sub(t.Status.LastSeen.Time) >= OfflineAfter:
		return &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSilent, Message: fmt.Sprintf(
			"last contact between %s and a day later: the device has been silent for at least a day", formatTime(t.Status.LastSeen))}
	case before != nil && eligibility.IsConnected(before) && p.State != Unused:
		return before.DeepCopy()
	}
	return &metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSeen, Message: fmt.Sprintf(
		"last contact recorded at %s; without other reports this time is updated at most once a day, so the device may have been in contact since", formatTime(t.Status.LastSeen))}
}

// connected returns the condition of a device with a connection. Connections that follow each other
// without a Disconnected in between count as one, so that a reconnect writes nothing.
func connected(before *metav1.Condition, p Presence) *metav1.Condition {
	since := p.Since.UTC().Format(time.RFC3339)
	if at, ok := connectedSince(before); ok && !p.TakenOver {
		since = at
	}
	c := &metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonConnected, Message: connectedText + since}
	if p.AwaitsFeatures {
		c.Reason = v1alpha1.ReasonAwaitingFeatures
		c.Message += awaitingText
	}
	return c
}

const (
	connectedText = "the device has a connection since "
	awaitingText  = "; it has not reported its features, so no update starts: make its client publish them when it connects (docs/mqtt.md)"
)

// connectedSince returns the time in the message of connected.
func connectedSince(c *metav1.Condition) (string, bool) {
	if c == nil || !eligibility.IsConnected(c) {
		return "", false
	}
	since, ok := strings.CutPrefix(strings.TrimSuffix(c.Message, awaitingText), connectedText)
	return since, ok
}

// ConnectedSince returns since when the device has a connection according to the condition Online,
// or zero if it has none.
func ConnectedSince(t *v1alpha1.Target) time.Time {
	since, ok := connectedSince(meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline))
	at, err := time.Parse(time.RFC3339, since)
	if !ok || err != nil {
		return time.Time{}
	}
	return at
}

func isDisconnected(c *metav1.Condition) bool {
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonDisconnected
}

// formatTime formats a time for a message.
func formatTime(t *metav1.Time) string { return t.UTC().Format(time.RFC3339) }

// observedGeneration returns the generation of the whole status: a device may report before the
// controller has reconciled a change of the spec. For a target that was never reconciled it returns
// the current generation.
func observedGeneration(t *v1alpha1.Target) int64 {
	if t.Status.ObservedGeneration > 0 {
		return t.Status.ObservedGeneration
	}
	return t.Generation
}

// NoteReady sets Ready and Stalled: whether a device can be served as this target. sameID are the
// names of the targets with its controllerID, the oldest first. The condition TokenUsable is set by
// the device API and is only read here.
func NoteReady(t *v1alpha1.Target, status *v1alpha1.TargetStatus, sameID []string, now time.Time) {
	if t.Spec.TokenSecretRef == nil {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTokenUsable)
	}
	ready := readiness(t, meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionTokenUsable), sameID)
	ready.ObservedGeneration, ready.LastTransitionTime = t.Generation, metav1.NewTime(now.Truncate(time.Second))
	meta.SetStatusCondition(&status.Conditions, ready)
	if ready.Status == metav1.ConditionTrue {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
		return
	}
	ready.Type, ready.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
	meta.SetStatusCondition(&status.Conditions, ready)
}

// readiness returns the condition Ready of a target: the oldest target of a controllerID is served,
// if its token is usable.
func readiness(t *v1alpha1.Target, token *metav1.Condition, sameID []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, Message: "the device API serves this target"}
	switch {
	case len(sameID) > 0 && sameID[0] != t.Name:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonDuplicate
		c.Message = fmt.Sprintf("target %s is older and has the same controllerID %q: delete one of the two (controllerID is immutable)", sameID[0], t.ControllerID())
	case token != nil && token.Status == metav1.ConditionFalse:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, token.Reason, token.Message
	case t.Spec.TokenSecretRef == nil:
		c.Message = "spec.tokenSecretRef is not set: only credentials of a DeviceAccess that selects this target are accepted"
	}
	return c
}
