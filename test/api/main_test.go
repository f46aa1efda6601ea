// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package api tests the kinds on a real API server: what each kind accepts and refuses, with which
// message, and what kubectl and GitOps tools see.
package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/internal/schema"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the client would print the API server's warnings
	cluster.Main(m)
}

// group is the API group of the kinds; a test that needs changed kinds copies them to another
// group.
const group = "goshawk.dev"

// A schemaCase is one object or edit that the API server accepts or refuses. All fields are YAML of
// the spec, or of the status.
type schemaCase struct {
	given   string // merged into the kind's smallest valid spec; null removes a field
	status  string // written to the status before the edit, as by a controller
	when    string // the edit, a merge patch; if it is empty, the creation is tested
	refused string // "field: message" that the user sees, or "" if it is accepted
}

// smallest has the smallest valid spec of every kind.
var smallest = map[string]string{
	"SoftwareModule":  `{type: os, name: linux, version: 6.6.1}`,
	"DistributionSet": `{name: firmware, version: "2.1", type: full-image}`,
	"Target":          `{}`,
	"Rollout":         `{update: {distributionSet: firmware-2-1}}`,
	"AutoAssignment":  `{update: {distributionSet: firmware-2-1}}`,
	"TargetInventory": `{}`,
	"DeviceAccess":    `{gatewayToken: {secretName: gateway}}`,
	"DeploymentGroup": `{rollout: r, rolloutUID: 8a4c, group: group-1, index: 0, planHash: "sha256:00",
		conditions: {successThreshold: 50, successAction: NextGroup, errorThreshold: 50, errorAction: Pause}, targets: [a, b]}`,
}

// testSchema tests every case of a kind with a new object.
func testSchema(t *testing.T, kind string, cases map[string]schemaCase) {
	t.Helper()
	t.Parallel()
	c := strict(t)
	namespace := cluster.Namespace(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := newObject(t, group, kind, namespace, tc.given)
			offline := offlineKind(t, kind)
			refusals := offline.Create(t.Context(), asSent(t, object))
			err := c.Create(t.Context(), object)
			if tc.when != "" {
				if err != nil {
					t.Fatalf("the object before the edit is not accepted: %v", err)
				}
				patchStatus(t, c, object, tc.status)
				edited := object.DeepCopy()
				merge(edited.Object, parse(t, fmt.Sprintf("spec: %s", tc.when)))
				refusals = offline.Update(t.Context(), asSent(t, edited), object)
				err = patchSpec(t, c, object, tc.when)
			}
			wantRefusal(t, err, tc.refused)
			wantSameOffline(t, err, refusals)
		})
	}
}

// wantRefusal compares the error of the API server with "field: message", or with "" for
// acceptance.
func wantRefusal(t *testing.T, err error, refused string) {
	t.Helper()
	if refused == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("accepted, want it refused with %q", refused)
	}
	field, sentence, _ := strings.Cut(refused, ": ")
	said := false
	for _, cause := range causesOf(err) {
		said = said || cause.Field == field && strings.HasSuffix(cause.Message, sentence)
		if cause.Field != field && !strings.HasSuffix(cause.Message, " in "+field) {
			t.Errorf("also refused because of %s: %s", cause.Field, cause.Message)
		}
	}
	if !said {
		t.Errorf("refused with\n%v\nwant\n%s: ...%s", err, field, sentence)
	}
}

// asSent returns a copy of the object as the API server decodes it: with whole numbers.
func asSent(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	data, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	sent := &unstructured.Unstructured{}
	if err := sent.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return sent
}

// offlineKind returns the kind as `kubectl goshawk lint` checks it, without an API server.
func offlineKind(t *testing.T, kind string) *schema.Kind {
	t.Helper()
	kinds, err := schema.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	return kinds[kind]
}

// wantSameOffline compares the causes in the error of the API server with the refusals without an
// API server.
func wantSameOffline(t *testing.T, err error, refusals field.ErrorList) {
	t.Helper()
	var server, offline []string
	for _, cause := range causesOf(err) {
		server = append(server, cause.Field+": "+cause.Message)
	}
	for _, refusal := range refusals {
		offline = append(offline, refusal.Field+": "+refusal.ErrorBody())
	}
	if (err == nil) != (len(refusals) == 0) {
		t.Errorf("the API server says %v, and without it the refusals are %q", err, offline)
		return
	}
	slices.Sort(server)
	slices.Sort(offline)
	if diff := cmp.Diff(server, offline); len(server) > 0 && diff != "" {
		t.Errorf("refusals (-API server +offline):\n%s", diff)
	}
}

// causesOf returns the causes in an error of the API server, without the one that some rules were
// not checked.
func causesOf(err error) []metav1.StatusCause {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return nil
	}
	var causes []metav1.StatusCause
	for _, cause := range status.Status().Details.Causes {
		if !strings.Contains(cause.Message, "some validation rules were not checked") {
			causes = append(causes, cause)
		}
	}
	return causes
}

// strict returns a client for which the API server refuses unknown fields, so that a misspelled
// field is found.
func strict(t *testing.T) client.Client {
	t.Helper()
	_, c := cluster.Start(t)
	return client.WithFieldValidation(c, metav1.FieldValidationStrict)
}

var names atomic.Int64

// newObject returns the smallest valid object of a kind with a new name, and with given merged into
// its spec.
func newObject(t *testing.T, group, kind, namespace, given string) *unstructured.Unstructured {
	t.Helper()
	spec := parse(t, smallest[kind])
	merge(spec, parse(t, given))
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	if kind == "TargetInventory" {
		delete(object.Object, "spec")
	}
	object.SetAPIVersion(group + "/v1alpha1")
	object.SetKind(kind)
	object.SetNamespace(namespace)
	object.SetName(fmt.Sprintf("%s-%d", strings.ToLower(kind), names.Add(1)))
	return object
}

func patchSpec(t *testing.T, c client.Client, object *unstructured.Unstructured, spec string) error {
	t.Helper()
	return c.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, asJSON(t, fmt.Sprintf("spec: %s", spec))))
}

func patchStatus(t *testing.T, c client.Client, object *unstructured.Unstructured, status string) {
	t.Helper()
	if status == "" {
		return
	}
	patch := client.RawPatch(types.MergePatchType, asJSON(t, fmt.Sprintf("status: %s", status)))
	if err := c.Status().Patch(t.Context(), object, patch); err != nil {
		t.Fatalf("writing the status: %v", err)
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var value map[string]any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return value
}

func asJSON(t *testing.T, text string) []byte {
	t.Helper()
	out, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// merge merges from into a map as a JSON merge patch does: null removes.
func merge(into, from map[string]any) {
	for key, value := range from {
		inner, isMap := value.(map[string]any)
		old, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(old, inner)
		default:
			into[key] = value
		}
	}
}

// list returns a YAML list of n items, each formatted with its number.
func list(n int, format string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// long returns a string of n characters.
func long(n int) string { return strings.Repeat("x", n) }

// all joins tables of cases into one.
func all(tables ...map[string]schemaCase) map[string]schemaCase {
	joined := map[string]schemaCase{}
	for _, table := range tables {
		for name := range table {
			if _, twice := joined[name]; twice {
				panic("two cases have the name " + name)
			}
		}
		maps.Copy(joined, table)
	}
	return joined
}

func asYAML(t *testing.T, value map[string]any) string {
	t.Helper()
	out, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
