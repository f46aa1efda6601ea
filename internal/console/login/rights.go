// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/console"
)

const (
	// decisionTTL is how long an answer of the API server about a right is used, and maxDecisions
	// how many are kept.
	decisionTTL, maxDecisions = 30 * time.Second, 20_000
	// maxClients is how many clients of users are kept.
	maxClients = 500
	// reviewTimeout limits a question to the API server.
	reviewTimeout = 5 * time.Second
)

// Impersonation gives each viewer the rights of their user and groups. Whether a viewer may do
// something is asked with the console's own account (SubjectAccessReview), so reading needs no
// right to impersonate. Requests for changes are sent with the headers Impersonate-User and
// Impersonate-Group.
type Impersonation struct {
	config    *rest.Config
	scheme    *runtime.Scheme
	reviews   client.Client
	now       func() time.Time
	clients   *lru.Cache // of client.Client
	decisions *lru.Cache // of decision
	asking    singleflight.Group
}

// NewImpersonation returns the rights of viewers at an API server. config is that of the console's
// own account.
func NewImpersonation(config *rest.Config, scheme *runtime.Scheme, now func() time.Time) (*Impersonation, error) {
	i := &Impersonation{config: config, scheme: scheme, now: now, clients: lru.New(maxClients), decisions: lru.New(maxDecisions)}
	var err error
	i.reviews, err = client.New(config, client.Options{Scheme: scheme, Mapper: mapper()})
	return i, err
}

// mapper knows the resources that are used, so that no client asks the API server for them.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, authorizationv1.SchemeGroupVersion})
	for _, kind := range []string{"SoftwareModule", "DistributionSet", "Target", "Rollout", "DeploymentGroup", "AutoAssignment", "DeviceAccess", "TargetInventory"} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"), meta.RESTScopeRoot)
	m.Add(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), meta.RESTScopeRoot)
	return m
}

// Of implements Rights.
func (i *Impersonation) Of(viewer *console.Viewer, groups []string) error {
	if viewer.Anonymous {
		viewer.Authorizer = rights{i, viewer.Name, []string{"system:unauthenticated"}}
		return nil
	}
	if isReserved(viewer.Name) { // a session has no such user
		return fmt.Errorf("the console acts as no user whose name starts with %s", reservedPrefix(viewer.Name))
	}
	for _, group := range groups {
		if isReserved(group) {
			return fmt.Errorf("the console acts as no group whose name starts with %s", reservedPrefix(group))
		}
	}
	viewer.Authorizer = rights{i, viewer.Name, append(groups[:len(groups):len(groups)], "system:authenticated")}
	key := userKey(viewer.Name, groups)
	if known, ok := i.clients.Get(key); ok {
		viewer.Client, _ = known.(client.Client)
		return nil
	}
	config := rest.CopyConfig(i.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: viewer.Name, Groups: groups}
	made, err := client.New(config, client.Options{Scheme: i.scheme, Mapper: mapper()})
	if err != nil {
		return fmt.Errorf("make the client of a viewer: %w", err)
	}
	i.clients.Add(key, made)
	viewer.Client = made
	return nil
}

// userKey returns a text for a user with groups. No name has a control character.
func userKey(name string, groups []string) string {
	return name + "\x00" + strings.Join(groups, "\x00")
}

// rights are those of one user.
type rights struct {
	*Impersonation
	user   string
	groups []string
}

// decision is what the API server has decided.
type decision struct {
	console.Decision
	at time.Time
}

// May implements console.Authorizer.
func (r rights) May(ctx context.Context, a console.Access) (console.Decision, error) {
	key := strings.Join([]string{userKey(r.user, r.groups), a.Verb, string(a.Resource), a.Namespace, a.Name}, "\x01")
	if known, ok := r.decisions.Get(key); ok {
		if d, _ := known.(decision); r.now().Sub(d.at) < decisionTTL {
			return d.Decision, nil
		}
	}
	asked, err, _ := r.asking.Do(key, func() (any, error) { return r.ask(context.WithoutCancel(ctx), a) })
	if err != nil {
		return console.Decision{}, err
	}
	d, _ := asked.(console.Decision)
	r.decisions.Add(key, decision{d, r.now()})
	return d, nil
}

func (r rights) ask(ctx context.Context, a console.Access) (console.Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: r.user, Groups: r.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: v1alpha1.GroupVersion.Group, Resource: string(a.Resource), Verb: a.Verb, Namespace: a.Namespace, Name: a.Name,
		},
	}}
	if err := r.reviews.Create(ctx, review); err != nil {
		return console.Decision{}, fmt.Errorf("ask the API server whether %s may %s: %w", r.user, a, err)
	}
	return console.Decision{Allowed: review.Status.Allowed, Reason: review.Status.Reason}, nil
}
