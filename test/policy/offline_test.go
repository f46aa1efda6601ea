// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/admission"
	"github.com/goshawk-dev/goshawk/internal/schema"
)

// wantSameOffline checks that internal/admission refuses the write of a manifest with the sentence
// of the API server, or does not refuse it. old is the stored object, or nil.
func (f *fleet) wantSameOffline(t *testing.T, old, manifest *unstructured.Unstructured, person, sentence string) {
	t.Helper()
	kinds, err := schema.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	resource, _ := meta.UnsafeGuessKindToResource(manifest.GroupVersionKind())
	r := &admission.Request{Resource: resource.Resource, Object: manifest.DeepCopy(), Account: person}
	if old == nil {
		kinds[manifest.GetKind()].Create(t.Context(), r.Object)
	} else {
		r.Old = old.DeepCopy()
		if err := f.admin.Get(t.Context(), client.ObjectKeyFromObject(old), r.Old); err != nil {
			t.Fatal(err)
		}
		kinds[manifest.GetKind()].Update(t.Context(), r.Object, r.Old)
	}
	if r.Allows, err = admission.RightsOf(people[person]); err != nil {
		t.Fatal(err)
	}
	refused, err := admission.Refusals(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	sentence = strings.NewReplacer("NS", f.namespace, "WHO", person).Replace(sentence)
	if first := strings.Join(refused[:min(1, len(refused))], ""); first != sentence {
		t.Errorf("without the API server %s is refused with\n%s\nwant\n%s", person, first, sentence)
	}
}
