// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// reviewLifetime is how long an answer of the API server about a right is used.
	reviewLifetime = 30 * time.Second
	// reviewGrace is how long an answer is used while the API server cannot be asked again.
	reviewGrace = 5 * time.Minute
	// reviewTimeout is the maximum time of one question.
	reviewTimeout = 5 * time.Second
	// maxReviews is the maximum number of answers that are kept, of all viewers together.
	maxReviews = 20_000
)

// Reviews asks the API server for the rights of viewers by SelfSubjectAccessReview or
// SubjectAccessReview, and keeps the answers for a short time.
type Reviews struct {
	now     func() time.Time
	mu      sync.Mutex
	answers map[question]answer
}

type question struct {
	viewer string
	access Access
}

type answer struct {
	decision Decision
	at       time.Time
}

// NewReviews returns reviews without answers. now is the clock.
func NewReviews(now func() time.Time) *Reviews {
	return &Reviews{now: now, answers: map[question]answer{}}
}

// Of returns the rights of a viewer. The client acts as the viewer. The key is the same only for
// viewers with the same rights, such as the name of the user with the groups.
func (r *Reviews) Of(key string, c client.Client) Authorizer {
	return viewerReviews{reviews: r, key: key, client: c, review: selfReview}
}

// OfUser returns the rights of a user with groups. The client acts as the console, which needs the
// right to create SubjectAccessReviews.
func (r *Reviews) OfUser(user string, groups []string, c client.Client) Authorizer {
	return viewerReviews{reviews: r, key: strings.Join(append([]string{user}, groups...), "\x00"), client: c, review: func(a *authorizationv1.ResourceAttributes) (client.Object, *authorizationv1.SubjectAccessReviewStatus) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: a}}
		return review, &review.Status
	}}
}

type viewerReviews struct {
	reviews *Reviews
	key     string
	client  client.Client
	// review returns a question to the API server, and where its answer will be.
	review func(*authorizationv1.ResourceAttributes) (client.Object, *authorizationv1.SubjectAccessReviewStatus)
}

func selfReview(a *authorizationv1.ResourceAttributes) (client.Object, *authorizationv1.SubjectAccessReviewStatus) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: a}}
	return review, &review.Status
}

// May returns the answer of the API server, which is at most reviewLifetime old; if the API server
// cannot be asked, at most reviewGrace.
func (v viewerReviews) May(ctx context.Context, a Access) (Decision, error) {
	q := question{v.key, a}
	known, isKnown := v.reviews.answer(q)
	age := v.reviews.now().Sub(known.at)
	if isKnown && age < reviewLifetime {
		return known.decision, nil
	}
	ctx, stop := context.WithTimeout(ctx, reviewTimeout)
	defer stop()
	review, status := v.review(&authorizationv1.ResourceAttributes{
		Group: v1alpha1.GroupVersion.Group, Resource: string(a.Resource), Verb: a.Verb, Namespace: a.Namespace, Name: a.Name,
	})
	if err := v.client.Create(ctx, review); err != nil {
		if isKnown && age < reviewGrace {
			return known.decision, nil
		}
		return Decision{}, err
	}
	d := Decision{Allowed: status.Allowed && !status.Denied, Reason: status.Reason}
	if status.EvaluationError != "" && !d.Allowed && d.Reason == "" {
		d.Reason = status.EvaluationError
	}
	v.reviews.keep(q, d)
	return d, nil
}

func (r *Reviews) answer(q question) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.answers[q]
	return a, ok
}

// keep keeps an answer. If there are too many, the ones that are too old are dropped, or else
// any others: they are asked again.
func (r *Reviews) keep(q question, d Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.answers[q]; !ok && len(r.answers) >= maxReviews {
		for old, a := range r.answers {
			if r.now().Sub(a.at) >= reviewGrace {
				delete(r.answers, old)
			}
		}
		for old := range r.answers {
			if len(r.answers) < maxReviews*9/10 {
				break
			}
			delete(r.answers, old)
		}
	}
	r.answers[q] = answer{d, r.now()}
}
