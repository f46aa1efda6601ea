// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/console"
)

// maxClients is how many clients of users are kept.
const maxClients = 500

// Impersonation gives each viewer the rights of their user and groups. Whether a viewer may do
// something is asked with the console's own account (SubjectAccessReview), so reading needs no
// right to impersonate. Requests for changes are sent with the headers Impersonate-User and
// Impersonate-Group.
type Impersonation struct {
	config  *rest.Config
	scheme  *runtime.Scheme
	own     client.Client
	reviews *console.Reviews
	clients *lru.Cache // of client.Client
}

// NewImpersonation returns the rights of viewers at an API server. config is that of the console's
// own account.
func NewImpersonation(config *rest.Config, scheme *runtime.Scheme, now func() time.Time) (*Impersonation, error) {
	i := &Impersonation{config: config, scheme: scheme, reviews: console.NewReviews(now), clients: lru.New(maxClients)}
	var err error
	i.own, err = client.New(config, client.Options{Scheme: scheme, Mapper: console.Mapper()})
	return i, err
}

// Of implements Rights.
func (i *Impersonation) Of(viewer *console.Viewer, groups []string) error {
	if viewer.Anonymous {
		viewer.Authorizer = i.reviews.OfUser(viewer.Name, []string{"system:unauthenticated"}, i.own)
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
	viewer.Authorizer = i.reviews.OfUser(viewer.Name, append(slices.Clone(groups), "system:authenticated"), i.own)
	key := strings.Join(append([]string{viewer.Name}, groups...), "\x00") // no name has a control character
	if known, ok := i.clients.Get(key); ok {
		viewer.Client, _ = known.(client.Client)
		return nil
	}
	config := rest.CopyConfig(i.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: viewer.Name, Groups: groups}
	made, err := client.New(config, client.Options{Scheme: i.scheme, Mapper: console.Mapper()})
	if err != nil {
		return fmt.Errorf("make the client of a viewer: %w", err)
	}
	i.clients.Add(key, made)
	viewer.Client = made
	return nil
}
