// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/decode"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/httpapi"
)

var objects = build.At(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))

// start returns a source that reads from a server until the end of the test.
func start(t *testing.T, server *httpapi.Server, namespaces ...string) *Source {
	t.Helper()
	s, err := New(t.Context(), server.Config(), Options{Namespaces: namespaces, Unreadable: decode.NewReport(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	})
	return s
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func in[T interface{ SetNamespace(string) }](o T, namespace string) T {
	o.SetNamespace(namespace)
	return o
}

func isRead(s *Source, namespace string) bool {
	return !slices.ContainsFunc(console.Kinds(), func(k console.Kind) bool { return !s.Reading(k, namespace).Synced })
}

func TestSourceReadsAllNamespacesOrSome(t *testing.T) {
	server := httpapi.New(t, objects.Rollout("r", "set"), in(objects.Rollout("r", "set"), "plant"), in(objects.Rollout("r", "set"), "secret"),
		objects.Target("t"), in(objects.Target("t"), "plant"), in(objects.Target("t"), "secret"))
	all := start(t, server)
	await(t, "reading all namespaces", func() bool { return isRead(all, "") })
	if got := all.Index().Namespaces(); !slices.Equal(got, []string{"fleet", "plant", "secret"}) {
		t.Errorf("the namespaces are %q", got)
	}
	if got := all.Reading(console.Targets, ""); got.Objects != 3 {
		t.Errorf("%d targets are read, want 3", got.Objects)
	}

	some := start(t, server, "fleet", "plant")
	await(t, "reading two namespaces", func() bool { return isRead(some, "") })
	if got := some.Index().Namespaces(); !slices.Equal(got, []string{"fleet", "plant"}) {
		t.Errorf("the namespaces are %q", got)
	}
	if got := len(some.Index().AllTargets()); got != 2 {
		t.Errorf("the index has %d targets, want 2", got)
	}
	for _, namespace := range []string{"fleet", "plant"} {
		if some.Index().Target(types.NamespacedName{Namespace: namespace, Name: "t"}) == nil {
			t.Errorf("the target of namespace %s is missing", namespace)
		}
	}
	if got := some.Reading(console.Rollouts, "secret"); !got.Outside {
		t.Errorf("a namespace that is not read is %+v", got)
	}
	for _, request := range server.Requests() {
		if strings.Contains(request, "secret") {
			t.Errorf("the request %q is for a namespace that is not read", request)
		}
	}

	changed := make(chan string, 100)
	some.Watch(func(kind console.Kind, namespace string) { changed <- fmt.Sprint(kind, " ", namespace) })
	server.Put(in(objects.Target("new"), "plant"))
	if got := <-changed; got != "targets plant" {
		t.Errorf("the change is %q", got)
	}
}

func TestKindThatIsRefusedDoesNotStopTheOthers(t *testing.T) {
	server := httpapi.New(t, objects.Rollout("r", "set"), objects.Target("t"))
	server.Deny("targets", "")
	s := start(t, server)
	await(t, "reading rollouts, and the refusal of targets", func() bool {
		return s.Reading(console.Rollouts, "fleet").Synced && s.Reading(console.Targets, "fleet").Refused != ""
	})
	if got := s.Reading(console.Targets, ""); got.Synced || !strings.Contains(got.Refused, `cannot list resource "targets"`) {
		t.Errorf("the refused kind is %+v", got)
	}
	if c := s.Contact(); !c.LostSince.IsZero() {
		t.Errorf("a refusal is no lost connection: %+v", c)
	}
	server.Allow("targets", "")
	await(t, "reading targets after it was allowed", func() bool {
		r := s.Reading(console.Targets, "fleet")
		return r.Synced && r.Refused == "" && r.Objects == 1
	})
}

func TestLostConnectionIsKnownUntilItIsBack(t *testing.T) {
	for _, c := range []struct {
		status int
		want   string
	}{{http.StatusServiceUnavailable, "status 503"}, {http.StatusUnauthorized, "credentials"}} {
		t.Run(c.want, func(t *testing.T) {
			server := httpapi.New(t, objects.Rollout("r", "set"))
			s := start(t, server)
			await(t, "reading", func() bool { return isRead(s, "") })
			server.Fail(c.status)
			await(t, "the loss of the connection", func() bool { return strings.Contains(s.Contact().Message, c.want) })
			if got := s.Contact().LostSince; got.IsZero() || time.Since(got) > time.Minute {
				t.Errorf("the API server was reached last at %s", got)
			}
			if s.Index().Rollout(types.NamespacedName{Namespace: "fleet", Name: "r"}) == nil {
				t.Error("the objects are gone with the connection")
			}
			server.Fail(0)
			await(t, "the connection", func() bool { return s.Contact().LostSince.IsZero() })
		})
	}
}

func TestSourceStartsWithoutServer(t *testing.T) {
	server := httpapi.New(t, objects.Rollout("r", "set"))
	server.Fail(http.StatusBadGateway)
	s := start(t, server)
	await(t, "the failure", func() bool { return !s.Contact().LostSince.IsZero() })
	if got := s.Reading(console.Rollouts, ""); got.Synced || got.Refused != "" {
		t.Errorf("rollouts are %+v without a server", got)
	}
	server.Fail(0)
	await(t, "reading", func() bool { return isRead(s, "") })
}

func TestCachesKeepOwnersOnlyWhereChangesAreProposed(t *testing.T) {
	own := func(o client.Object) {
		o.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "x"})
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "argocd"}})
	}
	target, rollout := objects.Target("t"), objects.Rollout("r", "set")
	own(target)
	own(rollout)
	slimTarget, err := slim(target)
	if err != nil {
		t.Fatal(err)
	}
	if got := slimTarget.(*v1alpha1.Target); len(got.ManagedFields) > 0 || len(got.Annotations) != 1 {
		t.Errorf("a target keeps %v and %v", got.ManagedFields, got.Annotations)
	}
	slimRollout, err := slim(rollout)
	if err != nil {
		t.Fatal(err)
	}
	if got := slimRollout.(*v1alpha1.Rollout); len(got.Annotations) != 2 || len(got.ManagedFields) != 1 {
		t.Errorf("a rollout keeps only %v and %v", got.Annotations, got.ManagedFields)
	}
}

func TestObjectsAreCountedWhileTheyAreRead(t *testing.T) {
	object := `{"apiVersion":"goshawk.dev/v1alpha1","kind":"Target","metadata":{"name":"t","annotations":{"last":"{\"metadata\":{}}"},"managedFields":[{"fieldsV1":{"f:metadata":{"f:labels":{}}}}]}}`
	body := strings.Repeat(object+"\n", 1000)
	for _, c := range []struct {
		name   string
		reader io.Reader
	}{
		{"in large parts", strings.NewReader(body)},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(body))},
		{"in parts that end within an object", iotest.HalfReader(strings.NewReader(body))},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newObserver(time.Now, func() {}, func(list) bool { return true })
			at := list{kind: console.Targets}
			counted := &countingBody{ReadCloser: io.NopCloser(c.reader), observer: o, list: at, listed: o.listed(at), notified: time.Now()}
			got, err := io.ReadAll(counted)
			if err != nil || !bytes.Equal(got, []byte(body)) {
				t.Fatalf("the body was changed, error %v", err)
			}
			if n, _ := o.reading(console.Targets, ""); n != 1000 {
				t.Errorf("%d objects are counted, want 1000", n)
			}
		})
	}
}
