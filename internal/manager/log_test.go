// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestRefusedEventOfATerminatingNamespaceIsNotLogged: the refusal of an event in a namespace that
// is being deleted needs no action, so it is no error.
func TestRefusedEventOfATerminatingNamespaceIsNotLogged(t *testing.T) {
	events := schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	forbidden := apierrors.NewForbidden(events, "a", errors.New("no right"))
	ending := apierrors.NewForbidden(events, "a", errors.New("it is being terminated"))
	ending.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, c := range map[string]struct {
		err    error
		logged bool
	}{
		"the namespace is being deleted": {ending, false},
		"a missing permission":           {forbidden, true},
		"any other error":                {errors.New("no route to host"), true},
		"a nil error":                    {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			l := withoutRaces(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
			l.WithName("events").WithValues("a", "b").Error(c.err, "Server rejected event (will not retry!)")
			if logged := len(lines) > 0; logged != c.logged || logged && !strings.Contains(lines[0], `"a"="b"`) {
				t.Errorf("logged %q", lines)
			}
		})
	}
	if l := withoutRaces(logr.Discard()); l.GetSink() != nil {
		t.Error("a logger that drops everything has a sink")
	}
}
