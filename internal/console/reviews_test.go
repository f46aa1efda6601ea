// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// accessServer answers reviews of rights.
type accessServer struct {
	allowed bool
	err     error
	asked   []string
}

func (s *accessServer) client() client.Client {
	return interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
		review := o.(*authorizationv1.SelfSubjectAccessReview)
		a := review.Spec.ResourceAttributes
		s.asked = append(s.asked, fmt.Sprintf("%s %s.%s %s/%s", a.Verb, a.Resource, a.Group, a.Namespace, a.Name))
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: s.allowed, Reason: "because"}
		return s.err
	}})
}

func TestAnswerAboutRightIsUsedForShortTime(t *testing.T) {
	now := worldTime
	server := &accessServer{allowed: true}
	reviews := NewReviews(func() time.Time { return now })
	a := Access{Verb: "list", Resource: Rollouts, Namespace: "fleet", Name: "r"}
	may := func(key string) (bool, error) {
		d, err := reviews.Of(key, server.client()).May(t.Context(), a)
		return d.Allowed, err
	}
	wants := func(key string, allowed, known bool, questions int) {
		t.Helper()
		got, err := may(key)
		if got != allowed || (err == nil) != known || len(server.asked) != questions {
			t.Fatalf("allowed: %t, error: %v, questions: %q; want allowed %t, known %t, %d questions", got, err, server.asked, allowed, known, questions)
		}
	}
	wants("jane", true, true, 1)
	if server.asked[0] != "list rollouts.goshawk.dev fleet/r" {
		t.Errorf("the API server was asked %q", server.asked[0])
	}
	server.allowed = false
	wants("jane", true, true, 1)
	wants("john", false, true, 2)
	now = now.Add(reviewLifetime)
	wants("jane", false, true, 3)
	server.allowed = true
	server.err = errors.New("connection refused")
	now = now.Add(reviewLifetime)
	wants("jane", false, true, 4)
	now = now.Add(reviewGrace)
	wants("jane", false, false, 5)
}

func TestNumberOfAnswersAboutRightsIsLimited(t *testing.T) {
	reviews := NewReviews(func() time.Time { return worldTime })
	for i := range maxReviews + 100 {
		reviews.keep(question{viewer: fmt.Sprint(i)}, Decision{})
	}
	if len(reviews.answers) > maxReviews {
		t.Errorf("%d answers are kept, want at most %d", len(reviews.answers), maxReviews)
	}
	if _, ok := reviews.answer(question{viewer: fmt.Sprint(maxReviews + 99)}); !ok {
		t.Error("the newest answer was dropped")
	}
}
