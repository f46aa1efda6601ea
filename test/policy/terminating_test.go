// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// warnings collects the warnings in the answers of the API server.
type warnings struct {
	sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.Lock()
	defer w.Unlock()
	w.texts = append(w.texts, text)
}

// of returns the warnings of a request.
func (w *warnings) of(request func() error) (string, error) {
	w.Lock()
	w.texts = nil
	w.Unlock()
	err := request()
	w.Lock()
	defer w.Unlock()
	return strings.Join(w.texts, "\n"), err
}

// The API server accepts an apply to an object that is being deleted, also one that changes
// nothing, which no controller can see. The user gets a warning, and the removal of a finalizer,
// which is how Goshawk ends the deletion, does not.
func TestApplyToAnObjectThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	seen := &warnings{}
	config := rest.CopyConfig(f.config)
	config.WarningHandler = seen
	admin, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"SoftwareModule", "DistributionSet", "Target", "Rollout", "AutoAssignment", "DeviceAccess"} {
		manifest := f.object(t, kind, newName(kind))
		given := manifest.DeepCopy()
		given.SetFinalizers([]string{"goshawk.dev/test"})
		if err := f.admin.Create(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		apply := func(object *unstructured.Unstructured) func() error {
			return func() error { return serverSideApply(t.Context(), admin, object) }
		}
		if said, err := seen.of(apply(manifest)); err != nil || said != "" {
			t.Errorf("%s: error %v, warning %q before the deletion", kind, err, said)
		}
		if err := f.admin.Delete(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		// The policy is in force some time after its installation.
		want := " is being deleted, and this request does not keep it: apply the manifest again when it is gone"
		var said string
		err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			var err error
			said, err = seen.of(apply(manifest))
			return said != "", err
		})
		if err != nil || !strings.Contains(said, "'terminating.goshawk.dev'") || !strings.Contains(said, "/"+manifest.GetName()+" in namespace "+f.namespace+want) {
			t.Errorf("%s: error %v, warning %q", kind, err, said)
		}
		changed := manifest.DeepCopy()
		changed.SetLabels(map[string]string{"site": "lab"})
		if said, err := seen.of(apply(changed)); err != nil || !strings.HasSuffix(said, want) {
			t.Errorf("%s: error %v, warning %q about another manifest", kind, err, said)
		}
		remove := mergePatch(t, map[string]any{"metadata": map[string]any{"finalizers": nil}})
		if said, err := seen.of(func() error { return admin.Patch(t.Context(), manifest.DeepCopy(), remove) }); err != nil || said != "" {
			t.Errorf("%s: error %v, warning %q about the removal of the finalizer", kind, err, said)
		}
	}
}
