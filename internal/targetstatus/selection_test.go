// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestNoteSelection: the first reconcile is no change; labels, type and attributes are.
func TestNoteSelection(t *testing.T) {
	dev := target()
	NoteSelection(dev, &dev.Status, "", noon)
	if dev.Status.SelectionHash == "" || dev.Status.SelectionChangedAt != nil {
		t.Fatalf("after the first reconcile: %+v", dev.Status)
	}
	for name, edit := range map[string]func(*v1alpha1.Target){
		"a label":      func(t *v1alpha1.Target) { t.Labels = map[string]string{"ring": "canary"} },
		"the type":     func(t *v1alpha1.Target) { t.Spec.Type = "gateway" },
		"an attribute": func(t *v1alpha1.Target) { t.Status.Attributes = map[string]v1alpha1.AttributeValue{"hw": "B"} },
	} {
		changed := dev.DeepCopy()
		edit(changed)
		NoteSelection(changed, &changed.Status, "", noon)
		if at := changed.Status.SelectionChangedAt; at == nil || !at.Time.Equal(noon) {
			t.Errorf("%s changed, recorded at %v", name, at)
		}
	}
	same := dev.DeepCopy()
	same.Status.Address, same.Spec.Hold = "elsewhere", true
	NoteSelection(same, &same.Status, "", noon)
	if same.Status.SelectionChangedAt != nil {
		t.Error("a changed address was recorded as a change of the selection")
	}
}

// TestNoteSelectionOfSoftware: software counts while an expression reads it. When one starts to
// read it, the target has not changed.
func TestNoteSelectionOfSoftware(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		want          bool
	}{
		"other software":                             {"a", "b", true},
		"the same software":                          {"a", "a", false},
		"the first software, or the first reader":    {"", "a", false},
		"no software any more, or no reader":         {"a", "", false},
		"no expression reads software before, after": {"", "", false},
	} {
		dev := target()
		NoteSelection(dev, &dev.Status, c.before, noon)
		NoteSelection(dev, &dev.Status, c.after, noon)
		if got := dev.Status.SelectionChangedAt != nil; got != c.want {
			t.Errorf("%s: changed is %t", name, got)
		}
		dev.Status.SelectionChangedAt = nil
		dev.Labels = map[string]string{"other": "label"}
		if NoteSelection(dev, &dev.Status, "z", noon); dev.Status.SelectionChangedAt == nil {
			t.Errorf("%s: a change of labels does not count", name)
		}
	}
}
