// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// noTime returns the message of the API server for a field with a metav1.Time.
func noTime(field string) string {
	return field + " must be a time such as 2026-12-01T02:00:00Z or 2026-12-01T03:00:00+01:00: a capital T and Z, an existing day, seconds up to 59, " +
		"an offset below 24 hours, and a year from 1970 to 9999 in UTC"
}

// Go must be able to read what the API server stores; otherwise one object ends the informer of its
// kind.
func TestEveryTimeHasTheRuleOfTimes(t *testing.T) {
	found := 0
	for kind, crd := range definitions(t) {
		times := map[string]bool{}
		timesOf(goTypes[kind], "", times)
		walk("", crd.schema(), func(path string, schema map[string]any) {
			if strings.Contains(fmt.Sprint(schema["format"], schema["allOf"], schema["anyOf"], schema["oneOf"]), "date-time") {
				t.Errorf("%s%s has the format date-time, which accepts times that Go cannot read: run make generate (hack/crdtypes)", kind, path)
			}
			micro, is := times[path]
			if !is {
				return
			}
			found++
			delete(times, path)
			field := path[strings.LastIndex(path, ".")+1:]
			want := noTime(field)
			if micro {
				want = strings.Replace(want, "Z or 2026-12-01T03:00:00+01:00", ".000000Z, with six digits after the point", 1)
			}
			rules := dig[[]any](schema, "x-kubernetes-validations")
			if len(rules) != 1 || dig[string](rules[0].(map[string]any), "message") != want {
				t.Errorf("%s%s lacks the rule of times: run make generate (hack/crdtypes)", kind, path)
			}
		})
		if len(times) > 0 {
			t.Errorf("%s: times that are not in the CRD: %v", kind, times)
		}
	}
	if found < 50 {
		t.Errorf("only %d times were found", found)
	}
}

var goTypes = map[string]reflect.Type{
	"SoftwareModule": reflect.TypeFor[v1alpha1.SoftwareModule](), "DistributionSet": reflect.TypeFor[v1alpha1.DistributionSet](),
	"Target": reflect.TypeFor[v1alpha1.Target](), "Rollout": reflect.TypeFor[v1alpha1.Rollout](),
	"AutoAssignment": reflect.TypeFor[v1alpha1.AutoAssignment](), "DeploymentGroup": reflect.TypeFor[v1alpha1.DeploymentGroup](),
	"DeviceAccess": reflect.TypeFor[v1alpha1.DeviceAccess](), "TargetInventory": reflect.TypeFor[v1alpha1.TargetInventory](),
}

// timesOf returns the paths of all times below a Go type, and whether they have microseconds.
func timesOf(t reflect.Type, path string, found map[string]bool) {
	switch {
	case t == reflect.TypeFor[metav1.Time](), t == reflect.TypeFor[metav1.MicroTime]():
		found[path] = t == reflect.TypeFor[metav1.MicroTime]()
	case t.Kind() == reflect.Pointer:
		timesOf(t.Elem(), path, found)
	case t.Kind() == reflect.Slice:
		timesOf(t.Elem(), path+"[]", found)
	case t.Kind() == reflect.Map:
		timesOf(t.Elem(), path+"{}", found)
	case t.Kind() == reflect.Struct && t != reflect.TypeFor[metav1.ObjectMeta]():
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name != "" && name != "-" {
				name = "." + name
			}
			timesOf(t.Field(i).Type, path+name, found)
		}
	}
}

// forms are ways to write a time, and whether a field accepts them.
var forms = map[string]bool{
	"2026-12-01T02:00:00Z":                true,
	"2026-12-01T02:00:00+00:00":           true,
	"2026-12-01T02:00:00-00:00":           true,
	"2026-12-01T02:00:00+05:45":           true,
	"2026-12-01T02:00:00-23:59":           true,
	"2026-12-01T02:00:00.5Z":              true,
	"2026-12-01T02:00:00.123456Z":         true,
	"2026-12-01T02:00:00.123456789+01:00": true,
	"2028-02-29T00:00:00Z":                true,
	"2000-02-29T00:00:00Z":                true,
	"1970-01-01T00:00:00Z":                true,
	"9999-12-31T23:59:59Z":                true,
	"9999-12-31T23:59:59+01:00":           true,
	"2026-12-01t02:00:00Z":                false,
	"2026-12-01T02:00:00z":                false,
	"2026-12-01t02:00:00z":                false,
	"2026-12-01 02:00:00Z":                false,
	"2026-12-01_02:00:00Z":                false,
	"2026-12-01T02:00:00":                 false,
	"2026-12-01T02:00Z":                   false,
	"2026-12-01":                          false,
	"20261201T020000Z":                    false,
	"2026-W49-2T02:00:00Z":                false,
	"2026-12-01T2:00:00Z":                 false,
	"2026-12-01T24:00:00Z":                false,
	"2026-12-01T02:60:00Z":                false,
	"2026-12-01T23:59:60Z":                false,
	"2026-12-31T23:59:60+00:00":           false,
	"2026-12-01T02:00:00,5Z":              false,
	"2026-12-01T02:00:00.Z":               false,
	"2026-12-01T02:00:00.1234567890Z":     false,
	"2026-12-01T02:00:00+25:00":           false,
	"2026-12-01T02:00:00+24:00":           false,
	"2026-12-01T02:00:00-24:00":           false,
	"2026-12-01T02:00:00+01:60":           false,
	"2026-12-01T02:00:00+0100":            false,
	"2026-12-01T02:00:00+01":              false,
	"2026-12-01T02:00:00 Z":               false,
	"2026-12-01T02:00:00Zulu":             false,
	" 2026-12-01T02:00:00Z":               false,
	"2026-12-01T02:00:00Z\n":              false,
	"2026-02-30T00:00:00Z":                false,
	"2027-02-29T00:00:00Z":                false,
	"2100-02-29T00:00:00Z":                false,
	"2026-04-31T00:00:00Z":                false,
	"2026-13-01T00:00:00Z":                false,
	"2026-00-10T00:00:00Z":                false,
	"2026-01-00T00:00:00Z":                false,
	"9999-12-31T23:59:59-01:00":           false,
	"9999-12-31T00:00:00-00:01":           false,
	"10000-01-01T00:00:00Z":               false,
	"+2026-12-01T02:00:00Z":               false,
	"0000-01-01T00:00:00Z":                false,
	"0001-01-01T00:00:00Z":                false,
	"1969-12-31T23:59:59Z":                false,
	"1970-01-01T00:00:00+14:00":           false,
	"":                                    false,
	"now":                                 false,
	"1764554400":                          false,
}

func TestFormsOfATime(t *testing.T) {
	t.Parallel()
	c := strict(t)
	object := newObject(t, group, "Rollout", cluster.Namespace(t), "")
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	for form, accepted := range forms {
		body, _ := json.Marshal(map[string]any{"spec": map[string]any{"startAt": form}})
		wantTime(t, "spec.startAt", form, accepted, c.Patch(t.Context(), object.DeepCopy(), client.RawPatch(types.MergePatchType, body)))
		micro := accepted && form == "2026-12-01T02:00:00.123456Z"
		body, _ = json.Marshal(map[string]any{"status": map[string]any{"startedAt": form}})
		wantTime(t, "status.startedAt", form, micro, c.Status().Patch(t.Context(), object.DeepCopy(), client.RawPatch(types.MergePatchType, body)))
		if accepted {
			rereads(t, form, new(metav1.Time))
		}
		if micro {
			rereads(t, form, new(metav1.MicroTime))
		}
	}
	for _, form := range []string{"2026-12-01T02:00:00.000000+01:00", "2026-12-01T02:00:00.999999Z"} {
		body, _ := json.Marshal(map[string]any{"status": map[string]any{"startedAt": form}})
		wantTime(t, "status.startedAt", form, true, c.Status().Patch(t.Context(), object.DeepCopy(), client.RawPatch(types.MergePatchType, body)))
		rereads(t, form, new(metav1.MicroTime))
	}
}

func wantTime(t *testing.T, field, form string, accepted bool, err error) {
	t.Helper()
	if accepted || err == nil {
		if accepted != (err == nil) {
			t.Errorf("%s: %q: accepted %t, want %t: %v", field, form, err == nil, accepted, err)
		}
		return
	}
	name := field[strings.LastIndex(field, ".")+1:]
	said := false
	for _, cause := range causesOf(err) {
		said = said || cause.Field == field && strings.Contains(cause.Message, name+" must be a time such as 2026-12-01T02:00:00")
	}
	if !said {
		t.Errorf("%s: %q is refused without the message: %v", field, form, err)
	}
}

// rereads checks that an accepted form can be read, and that the time that Go writes for it can be
// read again.
func rereads(t *testing.T, form string, into interface {
	json.Unmarshaler
	json.Marshaler
}) {
	t.Helper()
	text, _ := json.Marshal(form)
	if err := into.UnmarshalJSON(text); err != nil {
		t.Errorf("accepted, but not readable: %v", err)
		return
	}
	again, err := into.MarshalJSON()
	if err == nil {
		err = into.UnmarshalJSON(again)
	}
	if err != nil || len(again) > len(`"2026-12-01T02:00:00.000000Z"`) || string(again) == "null" {
		t.Errorf("%q is written back as %s: %v", form, again, err)
	}
}

// Every time that a user writes, and one of each status.
func TestNoTimeOfAnyKindIsStoredUnreadable(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	for field, at := range map[string]struct{ kind, spec, status string }{
		"spec.startAt":                                {kind: "Rollout", spec: `{startAt: TIME}`},
		"spec.resumedAt":                              {kind: "Rollout", spec: `{resumedAt: TIME}`},
		"spec.advance.at":                             {kind: "Rollout", spec: `{advance: {to: group-1, at: TIME}}`},
		"spec.retry.at":                               {kind: "Rollout", spec: `{retry: {at: TIME}}`},
		"spec.dynamic.until":                          {kind: "Rollout", spec: `{dynamic: {groupSize: 1, until: TIME}}`},
		"spec.update.forceAt":                         {kind: "Rollout", spec: `{update: {type: TimeForced, forceAt: TIME}}`},
		"spec.startAt ":                               {kind: "AutoAssignment", spec: `{startAt: TIME}`},
		"spec.assignment.assignedAt":                  {kind: "Target", spec: `{assignment: {distributionSet: s, assignedAt: TIME}}`},
		"spec.assignment.forceAt":                     {kind: "Target", spec: `{assignment: {distributionSet: s, type: TimeForced, forceAt: TIME}}`},
		"status.lastSeen":                             {kind: "Target", status: `{lastSeen: TIME}`},
		"status.actions[0].closedAt":                  {kind: "Target", status: `{actions: [{id: 1, source: {kind: Rollout, name: r, uid: u}, distributionSet: s, state: Finished, closedAt: TIME}]}`},
		"status.waitingFor.until":                     {kind: "Rollout", status: `{waitingFor: {reason: R, message: m, until: TIME}}`},
		"status.history[0].time":                      {kind: "TargetInventory", status: `{history: [{time: TIME}]}`},
		"status.openedAt":                             {kind: "DeploymentGroup", status: `{openedAt: TIME}`},
		"status.invalidation.observedAt":              {kind: "DistributionSet", status: `{invalidation: {observedAt: TIME}}`},
		"status.conditions[0].lastTransitionTime":     {kind: "SoftwareModule", status: `{conditions: [{type: Ready, status: "True", reason: R, message: m, lastTransitionTime: TIME}]}`},
		"status.conditions[0].lastTransitionTime ":    {kind: "AutoAssignment", status: `{conditions: [{type: Ready, status: "True", reason: R, message: m, lastTransitionTime: TIME}]}`},
		"status.conditions[0].lastTransitionTime  ":   {kind: "Target", status: `{conditions: [{type: Ready, status: "True", reason: R, message: m, lastTransitionTime: TIME}]}`},
		"status.conditions[0].lastTransitionTime   ":  {kind: "Rollout", status: `{conditions: [{type: Ready, status: "True", reason: R, message: m, lastTransitionTime: TIME}]}`},
		"status.conditions[0].lastTransitionTime    ": {kind: "DistributionSet", status: `{conditions: [{type: Ready, status: "True", reason: R, message: m, lastTransitionTime: TIME}]}`},
	} {
		t.Run(at.kind+" "+field, func(t *testing.T) {
			for form, accepted := range map[string]bool{"2026-12-01T02:00:00Z": true, "2026-12-01t02:00:00z": false, "2026-12-01T02:00:00+25:00": false, "9999-12-31T23:59:59-01:00": false} {
				object := newObject(t, group, at.kind, namespace, strings.ReplaceAll(at.spec, "TIME", `"`+form+`"`))
				err := c.Create(t.Context(), object)
				if at.status != "" {
					if err != nil {
						t.Fatal(err)
					}
					patch := asJSON(t, "status: "+strings.ReplaceAll(at.status, "TIME", `"`+form+`"`))
					err = c.Status().Patch(t.Context(), object, client.RawPatch(types.MergePatchType, patch))
				}
				wantTime(t, strings.TrimSpace(field), form, accepted, err)
			}
		})
	}
}

// The same time in another notation is not another forceAt.
func TestForceAtInAnotherNotationIsTheSame(t *testing.T) {
	testSchema(t, "Rollout", map[string]schemaCase{
		"another notation": {given: `{update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}}`, status: started, when: `{update: {forceAt: "2026-12-01T03:00:00+01:00"}}`},
	})
}
