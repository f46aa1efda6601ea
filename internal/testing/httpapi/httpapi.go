// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpapi is an API server for tests, over HTTP and without a database: it lists and
// watches objects of Goshawk, answers reviews of rights, refuses what the test says, and can fail.
package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// User is the user that the server says each request is of.
const User = "jane"

// Server is the API server.
type Server struct {
	t    testing.TB
	http *httptest.Server

	mu       sync.Mutex
	version  int
	objects  map[string]client.Object // by resource/namespace/name
	watchers map[*watcher]struct{}
	denied   map[string]bool
	status   int
	requests []string
}

// watcher is an open watch.
type watcher struct {
	resource, namespace string
	events              chan []byte
	end                 chan struct{}
}

// New returns a server with these objects. It ends with the test.
func New(t testing.TB, objects ...client.Object) *Server {
	t.Helper()
	s := &Server{t: t, objects: map[string]client.Object{}, watchers: map[*watcher]struct{}{}, denied: map[string]bool{}, version: 100}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.Disconnect()
		s.http.CloseClientConnections()
		s.http.Close()
	})
	s.Put(objects...)
	return s
}

// URL returns the address of the server.
func (s *Server) URL() string { return s.http.URL }

// Config returns the configuration of a client.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: s.http.URL} }

// Put adds or replaces objects.
func (s *Server) Put(objects ...client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		o = o.DeepCopyObject().(client.Object)
		resource := resourceOf(s.t, o)
		s.version++
		o.SetResourceVersion(strconv.Itoa(s.version))
		key := strings.Join([]string{resource, o.GetNamespace(), o.GetName()}, "/")
		kind := "ADDED"
		if s.objects[key] != nil {
			kind = "MODIFIED"
		}
		s.objects[key] = o
		s.send(resource, o.GetNamespace(), eventOf(s.t, kind, o))
	}
}

// Deny refuses to list a resource in a namespace; empty: in all namespaces. Allow ends that.
func (s *Server) Deny(resource, namespace string) { s.setDenied(resource, namespace, true) }

// Allow lists a resource again that was denied.
func (s *Server) Allow(resource, namespace string) { s.setDenied(resource, namespace, false) }

func (s *Server) setDenied(resource, namespace string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[resource+"/"+namespace] = denied
}

// Fail answers each request with a status and ends the open watches; 0 ends the failure.
func (s *Server) Fail(status int) {
	s.mu.Lock()
	s.status = status
	s.mu.Unlock()
	s.Disconnect()
}

// Disconnect ends the open watches.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		close(w.end)
		delete(s.watchers, w)
	}
}

// Requests returns the method and the path of each request so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// send sends an event to the watchers. The caller holds the lock.
func (s *Server) send(resource, namespace string, event []byte) {
	for w := range s.watchers {
		if w.resource == resource && (w.namespace == "" || w.namespace == namespace) {
			w.events <- event
		}
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	status := s.status
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case status != 0:
		refuse(w, status, metav1.StatusReasonUnknown, http.StatusText(status))
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		reply(w, &authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: User}},
		})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		review := &authorizationv1.SelfSubjectAccessReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		a := review.Spec.ResourceAttributes
		review.Status.Allowed = !s.isDenied(a.Resource, a.Namespace)
		reply(w, review)
	case len(parts) == 4 && parts[1] == v1alpha1.GroupVersion.Group:
		s.read(w, r, parts[3], "")
	case len(parts) == 6 && parts[1] == v1alpha1.GroupVersion.Group:
		s.read(w, r, parts[5], parts[4])
	default:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	}
}

func (s *Server) isDenied(resource, namespace string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied[resource+"/"+namespace] || s.denied[resource+"/"]
}

// read lists or watches a resource.
func (s *Server) read(w http.ResponseWriter, r *http.Request, resource, namespace string) {
	if s.isDenied(resource, namespace) {
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf("%s.goshawk.dev is forbidden: User %q cannot list resource %q", resource, User, resource))
		return
	}
	if r.URL.Query().Get("watch") != "true" {
		objects, version := s.list(resource, namespace)
		reply(w, map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "List", "metadata": map[string]string{"resourceVersion": version}, "items": objects})
		return
	}
	watching := &watcher{resource: resource, namespace: namespace, events: make(chan []byte, 10_000), end: make(chan struct{})}
	var initial [][]byte
	s.mu.Lock()
	s.watchers[watching] = struct{}{}
	version := strconv.Itoa(s.version)
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, o := range s.matching(resource, namespace) {
			initial = append(initial, eventOf(s.t, "ADDED", o))
		}
		bookmark := map[string]any{"type": "BOOKMARK", "object": map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": kindOf(resource),
			"metadata": map[string]any{"resourceVersion": version, "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
		}}
		encoded, _ := json.Marshal(bookmark)
		initial = append(initial, append(encoded, '\n'))
	}
	s.mu.Unlock()
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	for _, event := range initial {
		_, _ = w.Write(event)
	}
	_ = flusher.Flush()
	for {
		select {
		case event := <-watching.events:
			_, _ = w.Write(event)
			_ = flusher.Flush()
		case <-watching.end:
			return
		case <-r.Context().Done():
			s.mu.Lock()
			delete(s.watchers, watching)
			s.mu.Unlock()
			return
		}
	}
}

func (s *Server) list(resource, namespace string) ([]client.Object, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.matching(resource, namespace), strconv.Itoa(s.version)
}

// matching returns the objects of a resource in a namespace. The caller holds the lock.
func (s *Server) matching(resource, namespace string) []client.Object {
	found := []client.Object{}
	for key, o := range s.objects {
		if strings.HasPrefix(key, resource+"/"+namespace) && (namespace == "" || o.GetNamespace() == namespace) {
			found = append(found, withType(o, kindOf(resource)))
		}
	}
	return found
}

func withType(o client.Object, kind string) client.Object {
	o = o.DeepCopyObject().(client.Object)
	o.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	return o
}

func eventOf(t testing.TB, kind string, o client.Object) []byte {
	encoded, err := json.Marshal(map[string]any{"type": kind, "object": withType(o, kindOf(resourceOf(t, o)))})
	if err != nil {
		t.Fatal(err)
	}
	return append(encoded, '\n')
}

func reply(w http.ResponseWriter, o any) { _ = json.NewEncoder(w).Encode(o) }

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.WriteHeader(code)
	reply(w, &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message})
}

var kinds = map[string]string{
	"targets": "Target", "targetinventories": "TargetInventory", "rollouts": "Rollout", "deploymentgroups": "DeploymentGroup",
	"distributionsets": "DistributionSet", "softwaremodules": "SoftwareModule", "autoassignments": "AutoAssignment",
}

func kindOf(resource string) string { return kinds[resource] }

func resourceOf(t testing.TB, o client.Object) string {
	for resource, kind := range kinds {
		if fmt.Sprintf("%T", o) == "*v1alpha1."+kind {
			return resource
		}
	}
	t.Fatalf("%T is no resource of the server", o)
	return ""
}
