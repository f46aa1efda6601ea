// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/console"
)

// apiServer records requests with their headers, and lets users of the group oidc:viewers list.
type apiServer struct {
	mu       sync.Mutex
	requests []*http.Request
	reviews  []authorizationv1.SubjectAccessReviewSpec
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		review := authorizationv1.SubjectAccessReview{}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.reviews = append(a.reviews, review.Spec)
		review.Status.Allowed = slices.Contains(review.Spec.Groups, "oidc:viewers")
		review.Status.Reason = "RBAC says so"
		_ = json.NewEncoder(w).Encode(review)
	case r.Method == http.MethodPatch:
		_ = json.NewEncoder(w).Encode(v1alpha1.Rollout{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Rollout"}})
	default:
		http.NotFound(w, r)
	}
}

func newRights(t *testing.T) (*Impersonation, *apiServer, *clock) {
	t.Helper()
	a, c := &apiServer{}, &clock{at: time.Now()}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	i, err := NewImpersonation(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, scheme, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return i, a, c
}

// TestChangesAreSentAsTheViewer: with the name and each group, and with nothing of the console's
// own.
func TestChangesAreSentAsTheViewer(t *testing.T) {
	t.Parallel()
	i, a, _ := newRights(t)
	v := &console.Viewer{Name: "oidc:anna"}
	if err := i.Of(v, []string{"oidc:release-team", "oidc:stoppers"}); err != nil {
		t.Fatal(err)
	}
	o := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "firmware"}}
	if err := v.Client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"state":"Paused"}}`))); err != nil {
		t.Fatal(err)
	}
	r := a.requests[0]
	if r.URL.Path != "/apis/goshawk.dev/v1alpha1/namespaces/fleet/rollouts/firmware" || r.Header.Get("Impersonate-User") != "oidc:anna" ||
		!slices.Equal(r.Header.Values("Impersonate-Group"), []string{"oidc:release-team", "oidc:stoppers"}) {
		t.Errorf("the request is %s with %v", r.URL.Path, r.Header)
	}
	if len(a.requests) != 1 {
		t.Errorf("%d requests, want 1", len(a.requests))
	}
	again := &console.Viewer{Name: "oidc:anna"}
	if err := i.Of(again, []string{"oidc:release-team", "oidc:stoppers"}); err != nil || again.Client != v.Client {
		t.Errorf("the client of the same user is made again, %v", err)
	}
	other := &console.Viewer{Name: "oidc:anna"}
	if err := i.Of(other, []string{"oidc:release-team"}); err != nil || other.Client == v.Client {
		t.Errorf("the client of other groups is the same, %v", err)
	}
}

// TestNoViewerIsAUserOfTheAPIServer: also if a session had such a user.
func TestNoViewerIsAUserOfTheAPIServer(t *testing.T) {
	t.Parallel()
	i, a, _ := newRights(t)
	for _, test := range []struct {
		name   string
		groups []string
	}{{"system:admin", nil}, {"anna", []string{"a", "system:masters"}}, {"goshawk:anonymous", nil}} {
		v := &console.Viewer{Name: test.name}
		if err := i.Of(v, test.groups); err == nil || v.Client != nil || v.Authorizer != nil {
			t.Errorf("%s with groups %v is a viewer, %v", test.name, test.groups, err)
		}
	}
	if len(a.requests) != 0 {
		t.Errorf("%d requests", len(a.requests))
	}
}

// TestRightsAreAskedForTheViewer: with the console's own account, once in half a minute.
func TestRightsAreAskedForTheViewer(t *testing.T) {
	t.Parallel()
	i, a, clock := newRights(t)
	viewer := func(name string, isAnonymous bool, groups ...string) *console.Viewer {
		v := &console.Viewer{Name: name, Anonymous: isAnonymous}
		if err := i.Of(v, groups); err != nil {
			t.Fatal(err)
		}
		return v
	}
	list := console.Access{Verb: "list", Resource: console.Rollouts, Namespace: "fleet"}
	may := func(v *console.Viewer, access console.Access) console.Decision {
		d, err := v.Authorizer.May(t.Context(), access)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	anna, anonymous := viewer("oidc:anna", false, "oidc:viewers"), viewer(Anonymous, true)
	if d := may(anna, list); !d.Allowed || d.Reason != "RBAC says so" {
		t.Errorf("anna: %+v", d)
	}
	if d := may(anonymous, list); d.Allowed || anonymous.Client != nil {
		t.Errorf("the anonymous viewer: %+v with client %v", d, anonymous.Client)
	}
	for range 20 {
		may(viewer("oidc:anna", false, "oidc:viewers"), list)
	}
	want := []string{
		"oidc:anna [oidc:viewers system:authenticated] list rollouts.goshawk.dev fleet/",
		"goshawk:anonymous [system:unauthenticated] list rollouts.goshawk.dev fleet/",
	}
	asked := func() []string {
		a.mu.Lock()
		defer a.mu.Unlock()
		var list []string
		for _, r := range a.reviews {
			list = append(list, fmt.Sprint(r.User, " ", r.Groups, " ", r.ResourceAttributes.Verb, " ", r.ResourceAttributes.Resource, ".", r.ResourceAttributes.Group, " ", r.ResourceAttributes.Namespace, "/", r.ResourceAttributes.Name))
		}
		return list
	}
	if got := asked(); !slices.Equal(got, want) {
		t.Errorf("the questions are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, r := range a.requests {
		if r.Header.Get("Impersonate-User") != "" {
			t.Error("a question is sent as the viewer")
		}
	}
	if d := may(viewer("oidc:anna", false), list); d.Allowed { // the same name with other groups
		t.Errorf("anna without groups: %+v", d)
	}
	clock.move(time.Minute)
	may(anna, list)
	if got := asked(); len(got) != 4 {
		t.Errorf("after a minute there are %d questions, want 4", len(got))
	}
}
