// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestUndecodableObjectHasOneEventPerCause: there is one event for each cause, independent of how
// often the object is written and how many caches contain it.
func TestUndecodableObjectHasOneEventPerCause(t *testing.T) {
	r, recorder := NewReport(), events.NewFakeRecorder(100)
	object := func(version, why string) *v1alpha1.Rollout {
		o := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "o", UID: "u", ResourceVersion: version}}
		if why != "" {
			o.Unreadable = &v1alpha1.Unreadable{Message: why}
		}
		return o
	}
	announced := func(when string, want int) {
		t.Helper()
		if n := len(recorder.Events); n != want {
			t.Errorf("%s: %d events, want %d", when, n, want)
		}
		for len(recorder.Events) > 0 {
			<-recorder.Events
		}
	}
	r.update(object("1", "a"))
	announced("before this process is the leader", 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Announce(ctx, "", recorder) }()
	for deadline := time.Now().Add(10 * time.Second); len(recorder.Events) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	announced("when it is the leader", 1)
	for _, version := range []string{"1", "2", "3", "1"} {
		r.update(object(version, "a"))
	}
	announced("the same cause", 0)
	r.update(object("4", "b"))
	announced("another cause", 1)
	r.update(object("5", ""))
	r.update(object("6", "b"))
	announced("fixed and broken again", 1)
	r.remove(object("6", "b"))
	r.remove(object("6", "b"))
	cancel()
	<-done
	r.update(object("7", "c"))
	announced("when it is no longer the leader", 0)
}
