// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func decoder(t testing.TB) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := serializerFor(scheme)
	return s.DecoderToVersion(s.SupportedMediaTypes()[0].Serializer, v1alpha1.GroupVersion)
}

// object returns the JSON of an object named o.
func object(kind, spec, status string) string {
	return fmt.Sprintf(`{"apiVersion":"goshawk.dev/v1alpha1","kind":%q,"metadata":{"name":"o","namespace":"n","uid":"u","resourceVersion":"7","labels":{"a":"b"},"finalizers":["f"]},"spec":%s,"status":%s}`, kind, spec, status)
}

func TestUndecodableFieldsAreNamedAndTheOthersKept(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, spec, status string
		lacks              []string
		says               string
		check              func(t *testing.T, o runtime.Object)
	}{
		"a time in lower case": {kind: "Rollout", spec: `{"startAt":"2026-12-01t02:00:00z","state":"Stopped","update":{"distributionSet":"s"}}`, status: `{"state":"Running"}`,
			lacks: []string{"spec.startAt"}, says: "spec.startAt: parsing time", check: func(t *testing.T, o runtime.Object) {
				if r := o.(*v1alpha1.Rollout); r.Spec.State != v1alpha1.IntentStopped || r.Spec.Update.DistributionSet != "s" || r.Status.State != v1alpha1.RolloutRunning || r.Spec.StartAt != nil {
					t.Errorf("kept %+v", r)
				}
			}},
		"a time that cannot be encoded": {kind: "AutoAssignment", spec: `{"startAt":"9999-12-31T23:59:59-01:00"}`, status: `{}`,
			lacks: []string{"spec.startAt"}, says: "its year is 10000 in UTC"},
		"a time deep in a list of the status": {kind: "Target", spec: `{"hold":true}`, status: `{"lastSeen":"2026-01-01T00:00:00Z","actions":[{"id":1},{"id":2,"closedAt":"2026-01-01T24:00:00Z"}]}`,
			lacks: []string{"status.actions"}, says: "status.actions", check: func(t *testing.T, o runtime.Object) {
				if target := o.(*v1alpha1.Target); !target.Spec.Hold || target.Status.LastSeen == nil || target.Status.Actions != nil {
					t.Errorf("kept %+v", target)
				}
			}},
		"a condition's time":                 {kind: "SoftwareModule", spec: `{}`, status: `{"conditions":[{"type":"Ready","lastTransitionTime":"soon"}]}`, lacks: []string{"status.conditions"}, says: "status.conditions"},
		"a time without its six digits":      {kind: "Rollout", spec: `{}`, status: `{"startedAt":"2026-01-01T00:00:00Z"}`, lacks: []string{"status.startedAt"}, says: "status.startedAt"},
		"an enum value of a newer version":   {kind: "Rollout", spec: `{"state":"Frozen","groupCount":3}`, status: `{}`, lacks: []string{"spec.state"}, says: `spec.state: "Frozen" is none of the values that this version knows (Planned, `},
		"an enum value deep in a list":       {kind: "Target", spec: `{}`, status: `{"actions":[{"id":1,"state":"Finished"},{"id":2,"state":"Dreaming"}]}`, lacks: []string{"status.actions"}, says: `status.actions[1].state: "Dreaming"`},
		"an enum value in an inlined struct": {kind: "Target", spec: `{"assignment":{"distributionSet":"s","superseding":"Maybe"}}`, status: `{}`, lacks: []string{"spec.assignment"}, says: `spec.assignment.superseding: "Maybe"`},
		"a number too large":                 {kind: "Rollout", spec: `{"groupCount":4294967296}`, status: `{}`, lacks: []string{"spec.groupCount"}, says: "spec.groupCount"},
		"a number too large for 64 bits":     {kind: "DistributionSet", spec: `{"name":"x"}`, status: `{"observedGeneration":99999999999999999999}`, lacks: []string{"status.observedGeneration"}, says: "status.observedGeneration"},
		"a number below its minimum":         {kind: "Rollout", spec: `{"groupCount":-5,"groupOrder":"Name"}`, status: `{}`, lacks: []string{"spec.groupCount"}, says: "spec.groupCount: -5 is less than 1, the minimum of this version"},
		"a zero below its minimum":           {kind: "Rollout", spec: `{"groupCount":0}`, status: `{}`, lacks: []string{"spec.groupCount"}, says: "spec.groupCount: 0 is less than 1"},
		"a number above its maximum":         {kind: "Rollout", spec: `{"groupCount":2147483647}`, status: `{}`, lacks: []string{"spec.groupCount"}, says: "spec.groupCount: 2147483647 is more than 500, the maximum of this version"},
		"a negative index":                   {kind: "DeploymentGroup", spec: `{"index":-1,"group":"a"}`, status: `{}`, lacks: []string{"spec.index"}, says: "spec.index: -1"},
		"a number that is copied to Targets": {kind: "Rollout", spec: `{"update":{"distributionSet":"s","weight":5000}}`, status: `{}`, lacks: []string{"spec.update"}, says: "spec.update.weight: 5000 is more than 1000"},
		"a number in an inlined struct":      {kind: "Target", spec: `{"assignment":{"distributionSet":"s","startDeadlineSeconds":-1}}`, status: `{}`, lacks: []string{"spec.assignment"}, says: "spec.assignment.startDeadlineSeconds: -1"},
		"a number deep in an object":         {kind: "AutoAssignment", spec: `{"update":{"maintenanceWindow":{"schedule":"* * * * *","durationSeconds":2147483647}}}`, status: `{}`, lacks: []string{"spec.update"}, says: "spec.update.maintenanceWindow.durationSeconds: 2147483647"},
		"a number deep in a list":            {kind: "Rollout", spec: `{"groups":[{"name":"a","percentage":50},{"name":"b","percentage":-1}]}`, status: `{}`, lacks: []string{"spec.groups"}, says: "spec.groups[1].percentage: -1"},
		"a number of the status":             {kind: "Target", spec: `{}`, status: `{"actions":[{"id":-3}]}`, lacks: []string{"status.actions"}, says: "status.actions[0].id: -3"},
		"a fraction":                         {kind: "Rollout", spec: `{"groupCount":1.5}`, status: `{}`, lacks: []string{"spec.groupCount"}, says: "spec.groupCount"},
		"a string for a number":              {kind: "Rollout", spec: `{"groupCount":"3"}`, status: `{}`, lacks: []string{"spec.groupCount"}, says: "spec.groupCount"},
		"an object for a list":               {kind: "DistributionSet", spec: `{"name":"x","modules":{"a":"b"}}`, status: `{}`, lacks: []string{"spec.modules"}, says: "spec.modules"},
		"a list for an object":               {kind: "Target", spec: `[]`, status: `{"updateStatus":"InSync"}`, lacks: []string{"spec", "spec.controllerID"}, says: "spec is not an object"},
		"a string for a flag":                {kind: "Target", spec: `{"hold":"yes","type":"a"}`, status: `{}`, lacks: []string{"spec.hold"}, says: "spec.hold"},
		"a group without its rollout":        {kind: "DeploymentGroup", spec: `{"rolloutUID":7,"targets":["a"]}`, status: `{}`, lacks: []string{"spec.rolloutUID"}, says: "spec.rolloutUID"},
		"an operator of a newer version":     {kind: "DeviceAccess", spec: `{"gatewayToken":{"secretName":"s"},"targetSelector":{"matchExpressions":[{"key":"a","operator":"Like"}]}}`, status: `{}`, lacks: []string{"spec.targetSelector"}, says: `"Like" is none of the values`},
		"several fields":                     {kind: "Rollout", spec: `{"startAt":"x","resumedAt":"y"}`, status: `{"state":"Odd"}`, lacks: []string{"spec.startAt", "spec.resumedAt", "status.state"}, says: "spec.resumedAt"},
		"a status that is not an object":     {kind: "AutoAssignment", spec: `{"state":"Paused"}`, status: `"gone"`, lacks: []string{"status", "status.startedAt"}, says: "status is not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			text := object(tt.kind, tt.spec, tt.status)
			// A watch does not pass the expected type, a list does, and a get passes the object to
			// fill.
			watched, _, err := decoder(t).Decode([]byte(text), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			list := newListOf(newOf(tt.kind))
			good := object(tt.kind, `{}`, `{}`)
			listed := fmt.Sprintf(`{"apiVersion":"goshawk.dev/v1alpha1","kind":"%sList","metadata":{"resourceVersion":"9","continue":"c"},"items":[%s,%s,%s]}`, tt.kind, good, text, good)
			if _, _, err := decoder(t).Decode([]byte(listed), nil, list); err != nil {
				t.Fatal(err)
			}
			items := itemsOf(list)
			if items.Len() != 3 || v1alpha1.UnreadableOf(items.Index(0).Addr().Interface()) != nil || v1alpha1.UnreadableOf(items.Index(2).Addr().Interface()) != nil {
				t.Fatalf("the other items of the list: %+v", list)
			}
			if diff := cmp.Diff(watched, items.Index(1).Addr().Interface()); diff != "" {
				t.Errorf("watched and listed differ:\n%s", diff)
			}
			meta := reflect.ValueOf(watched).Elem().FieldByName("ObjectMeta")
			if meta.FieldByName("Name").String() != "o" || meta.FieldByName("ResourceVersion").String() != "7" || meta.FieldByName("Labels").Len() != 1 || meta.FieldByName("Finalizers").Len() != 1 {
				t.Errorf("metadata is %+v", meta)
			}
			mark := v1alpha1.UnreadableOf(watched)
			if mark == nil || !strings.Contains(mark.Message, tt.says) {
				t.Fatalf("marked %+v, want %q", mark, tt.says)
			}
			for _, field := range tt.lacks {
				if !mark.Lacks(field) {
					t.Errorf("%s is not reported as missing: %v", field, mark.Fields)
				}
			}
			if mark.Lacks("spec.description") && tt.spec != "[]" {
				t.Errorf("lacks %v", mark.Fields)
			}
			if tt.check != nil {
				tt.check(t, watched)
			}
			if copied := watched.DeepCopyObject(); v1alpha1.UnreadableOf(copied) == nil {
				t.Error("a copy loses the mark")
			}
			if written, err := json.Marshal(watched); err != nil || strings.Contains(string(written), "nreadable") {
				t.Errorf("the mark is encoded: %s %v", written, err)
			}
		})
	}
}

// TestDecodableObjectsAreNotMarked: an object is not marked because of fields that this version
// does not know.
func TestDecodableObjectsAreNotMarked(t *testing.T) {
	for kind, spec := range map[string]string{
		"Rollout": `{"startAt":"2026-12-01T02:00:00+01:00","state":"Paused","update":{"distributionSet":"s","type":"Soft"}}`, "Target": `{"assignment":{"distributionSet":"s","assignedAt":"2026-12-01T02:00:00Z"}}`,
		"SoftwareModule": `{"rollback":"Supported"}`, "DistributionSet": `{"invalidation":{"cancellation":"Force"}}`, "AutoAssignment": `{"state":""}`, "DeploymentGroup": `{"targets":["a"]}`,
		"TargetInventory": `{}`, "DeviceAccess": `{"clientCertificate":{"identity":"URI"},"targetSelector":{"matchExpressions":[{"key":"a","operator":"Exists"}]}}`,
	} {
		o, _, err := decoder(t).Decode([]byte(object(kind, spec, `{"unknown":{"of":"a newer version"}}`)), nil, nil)
		if err != nil || v1alpha1.UnreadableOf(o) != nil {
			t.Errorf("%s: %v, marked %+v", kind, err, v1alpha1.UnreadableOf(o))
		}
	}
}

// TestNumbersAtTheirLimitsAreNotMarked: an object is not marked because of a number that is equal
// to one of its limits, or that is absent.
func TestNumbersAtTheirLimitsAreNotMarked(t *testing.T) {
	for name, spec := range map[string]string{
		"the minimum": `{"groupCount":1,"errorThreshold":0,"stabilizationSeconds":0,"update":{"weight":0,"startDeadlineSeconds":1,"retries":{"limit":1,"backoffSeconds":0}}}`,
		"the maximum": `{"groupCount":500,"errorThreshold":100,"stabilizationSeconds":3600,"update":{"weight":1000,"startDeadlineSeconds":31536000,"retries":{"limit":10,"backoffSeconds":604800}}}`,
		"absent":      `{"dynamic":{},"errorBudget":{},"groups":[{"name":"a"}],"update":{"retries":{},"maintenanceWindow":{"schedule":"* * * * *"}}}`,
	} {
		o, _, err := decoder(t).Decode([]byte(object("Rollout", spec, `{}`)), nil, nil)
		if err != nil || v1alpha1.UnreadableOf(o) != nil {
			t.Errorf("%s: %v, marked %+v", name, err, v1alpha1.UnreadableOf(o))
		}
	}
}

// TestOtherObjectsAreLeftToClientGo: objects of other kinds are decoded by client-go.
func TestOtherObjectsAreLeftToClientGo(t *testing.T) {
	status := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}`
	if o, _, err := decoder(t).Decode([]byte(status), nil, nil); err == nil && v1alpha1.UnreadableOf(o) != nil {
		t.Errorf("a status was marked")
	}
	bookmark := `{"apiVersion":"goshawk.dev/v1alpha1","kind":"Target","metadata":{"resourceVersion":"12","annotations":{"k8s.io/initial-events-end":"true"}},"spec":{}}`
	if o, _, err := decoder(t).Decode([]byte(bookmark), nil, nil); err != nil || v1alpha1.UnreadableOf(o) != nil || o.(*v1alpha1.Target).ResourceVersion != "12" {
		t.Errorf("a bookmark is %+v, %v", o, err)
	}
	if _, _, err := decoder(t).Decode([]byte(`{"apiVersion":"goshawk.dev/v1alpha1","kind":"Target","spec":[]}`), nil, nil); err == nil {
		t.Error("an object without a name was decoded")
	}
}

// BenchmarkList compares the decoding of a list with client-go's own: `make bench BENCH=List`.
func BenchmarkList(b *testing.B) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	item := object("Target", `{"tokenSecretRef":{"name":"tokens","key":"dev-17"},"type":"gateway"}`, `{"observedGeneration":1,"controllerID":"dev-17","updateStatus":"InSync","nextActionID":217000001,
		"lastSeen":"2026-01-01T00:00:00Z","attributes":{"hw":"B","serial":"12345"},"installed":{"distributionSet":"s","contentHash":"0a0a","since":"2026-01-01T00:00:00Z"},
		"actions":[{"id":217000000,"source":{"kind":"Rollout","name":"r","uid":"u","since":"2026-01-01T00:00:00.000000Z"},"distributionSet":"s","state":"Finished","startedAt":"2026-01-01T00:00:00Z","closedAt":"2026-01-01T00:00:00Z"}],
		"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"served","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`)
	text := []byte(`{"apiVersion":"goshawk.dev/v1alpha1","kind":"TargetList","metadata":{"resourceVersion":"9"},"items":[` + strings.Repeat(item+",", 999) + item + `]}`)
	isolating := decoder(b)
	for name, d := range map[string]runtime.Decoder{"isolating": isolating, "plain": isolating.(isolatingDecoder).Decoder} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, _, err := d.Decode(text, nil, &v1alpha1.TargetList{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
