// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// Objects are kept when schemas change. An object that was accepted once must still accept the
// edits of an emergency, and writes of status by controllers, when a later schema would refuse the
// object. The kinds are in another API group here, so that other tests are not affected.
const olderGroup = "older.goshawk.dev"

// All values of these specs are refused by the present schema; the edits are those of an emergency.
var older = map[string]struct {
	given   string
	status  string
	edits   []string
	refused string // the refusal by the present schema, also when the wrong part is edited
}{
	"Rollout": {
		given: `{update: {distributionSet: "", type: TimeForced, weight: 5000, superseding: Never,
				maintenanceWindow: {schedule: "@daily", durationSeconds: 1, timeZone: Local}, retries: {limit: 99, statusCodes: [a, a]}},
			groupCount: 900, groups: [{name: a, percentage: 500}, {name: a}, {name: "Not a label"}], groupOrder: Random, successThreshold: 200,
			errorAction: Stop, errorBudget: {}, targetExpression: "", approval: {planHash: "yes"}, stabilizationSeconds: 100000}`,
		edits: []string{`{state: Paused}`, `{state: Running}`, `{approval: null}`, `{resumedAt: "2026-12-01T02:00:00Z"}`, `{state: Stopped, stopCancellation: None}`,
			`{stopCancellation: Force}`, `{deletionCancellation: Soft}`},
		status:  started,
		refused: `{stabilizationSeconds: 100001}`,
	},
	"DistributionSet": {
		given: `{name: "", version: ` + long(200) + `, modules: [{name: ""}], moduleTypes: {mandatory: ` + list(60, "t%d") + `},
			metadata: [{key: ` + long(200) + `, value: ` + long(5000) + `, visibleToDevice: true}], compatibleTargetTypes: ` + list(60, "t%d") + `}`,
		edits:   []string{`{description: "do not use"}`, `{invalidation: {cancellation: Force, deleteRollouts: true, reason: "bricks the modem"}}`},
		status:  `{locked: true}`,
		refused: `{compatibleTargetTypes: ` + list(61, "t%d") + `}`,
	},
	"AutoAssignment": {
		given:   `{update: {distributionSet: "", type: TimeForced, weight: 5000}, targetExpression: ""}`,
		edits:   []string{`{state: Paused}`, `{state: Running}`},
		status:  `{state: Running}`,
		refused: `{update: {weight: 5001}}`,
	},
	"DeviceAccess": {
		given: `{gatewayToken: {secretName: ""}, trustedProxy: {addresses: [nowhere], authorities: [""]}, clientCertificate: {caSecretRef: {name: "", key: ""}, revokedSerials: [xyz]},
			registration: {controllerIDPattern: "(", labels: {"a b": c}, maxTargets: 0}, targetSelector: {matchLabels: {site: lab}}}`,
		edits: []string{`{clientCertificate: {revokedSerials: ["0a"]}}`, `{registration: null}`, `{targetSelector: {matchLabels: {site: none}}}`, `{trustedProxy: null}`,
			`{clientCertificate: {caSecretRef: {name: other, key: ca.crt}}}`},
		status:  `{registered: 1}`,
		refused: `{gatewayToken: {secretName: ` + long(254) + `}}`,
	},
	"Target": {
		given:   `{controllerID: "a b/c", name: ` + long(500) + `, assignment: {distributionSet: "", type: TimeForced}, tokenSecretRef: {name: "", key: ""}}`,
		edits:   []string{`{hold: true}`, `{cancel: {upTo: 17, cancellation: Force}}`, `{assignment: null}`},
		status:  `{updateStatus: Pending}`,
		refused: `{name: ` + long(501) + `}`,
	},
	"SoftwareModule": {
		given: `{name: "", artifacts: [{fileName: "a b", size: -1, checksums: {sha256: abc}, downloads: [{protocol: HTTPS, url: nowhere}, {protocol: HTTPS, url: "https://expired.example.com/a"}]}]}`,
		edits: []string{`{vendor: acme}`,
			`{artifacts: [{fileName: "a b", size: -1, checksums: {sha256: abc}, downloads: [{protocol: HTTPS, url: "https://renewed.example.com/a"}]}]}`},
		status:  `{locked: true}`,
		refused: `{name: ` + long(200) + `}`,
	},
}

func TestAnObjectOfAnOlderSchemaAcceptsTheEditsOfAnEmergency(t *testing.T) {
	t.Parallel()
	c := strict(t)
	for kind, story := range older {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			namespace := cluster.Namespace(t)
			today := copyTo(t, olderGroup, definitions(t)[kind])
			install(t, c, loosened(t, today))
			object := newObject(t, olderGroup, kind, namespace, story.given)
			wrong := object.DeepCopy()
			eventually(t, "the loosened schema accepts the object", func() error { return c.Create(t.Context(), object) })

			install(t, c, today)
			eventually(t, "today's schema refuses such an object", func() error {
				wrong.SetName("another")
				if err := c.Create(t.Context(), wrong.DeepCopy(), client.DryRunAll); len(causesOf(err)) == 0 {
					return fmt.Errorf("creating another object: %v", err)
				}
				return nil
			})

			patchStatus(t, c, object, story.status)
			for _, edit := range story.edits {
				if err := patchSpec(t, c, object, edit); err != nil {
					t.Errorf("%s: %v", edit, err)
				}
			}
			if err := patchSpec(t, c, object, story.refused); err == nil {
				t.Errorf("%s is accepted: the rules of the object are not evaluated any more", story.refused)
			}
		})
	}
}

// copyTo returns the definition of a kind in another group.
func copyTo(t *testing.T, group string, crd definition) *unstructured.Unstructured {
	t.Helper()
	copied := &unstructured.Unstructured{Object: deepCopy(t, crd)}
	copied.SetName(dig[string](crd, "spec", "names", "plural") + "." + group)
	names := dig[map[string]any](copied.Object, "spec", "names")
	delete(names, "shortNames")
	delete(names, "categories")
	dig[map[string]any](copied.Object, "spec")["group"] = group
	return copied
}

// loosened returns a definition with all fields and without rules.
func loosened(t *testing.T, crd *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	loose := &unstructured.Unstructured{Object: deepCopy(t, crd.Object)}
	walk("", definition(loose.Object).schema(), func(_ string, schema map[string]any) {
		for _, rule := range []string{"x-kubernetes-validations", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "maxProperties"} {
			delete(schema, rule)
		}
		if schema["x-kubernetes-list-type"] == "set" {
			schema["x-kubernetes-list-type"] = "atomic"
		}
	})
	return loose
}

func deepCopy(t *testing.T, tree map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

// install creates a definition or replaces the one with that name.
func install(t *testing.T, c client.Client, crd *unstructured.Unstructured) {
	t.Helper()
	wanted := crd.DeepCopy()
	err := c.Create(t.Context(), wanted)
	if err != nil {
		installed := &unstructured.Unstructured{}
		installed.SetGroupVersionKind(crd.GroupVersionKind())
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(crd), installed); err != nil {
			t.Fatal(err)
		}
		wanted = crd.DeepCopy()
		wanted.SetResourceVersion(installed.GetResourceVersion())
		err = c.Update(t.Context(), wanted)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// eventually retries until there is no error, because the API server needs some time to serve a new
// definition.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
