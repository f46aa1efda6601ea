// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestTarget(t *testing.T) {
	const immutable = "spec.controllerID: controllerID is immutable: delete the Target and create another"
	const plain = "spec.controllerID: controllerID must have no blanks and no slashes"
	const unprintable = "spec.controllerID: controllerID must have no control characters or other invisible ones, and must not be . or .."
	assignment := func(update string) string {
		return fmt.Sprintf("{assignment: %s}", update)
	}
	identity := map[string]schemaCase{
		"an empty spec":                               {},
		"an id of a device":                           {given: `{controllerID: "ABC:123"}`},
		"an id of 256 characters":                     {given: `{controllerID: ` + long(256) + `}`},
		"an id of 257 characters":                     {given: `{controllerID: ` + long(257) + `}`, refused: "spec.controllerID: Too long: may not be more than 256 bytes"},
		"an id with a blank":                          {given: `{controllerID: "ABC 123"}`, refused: plain},
		"an id with a slash":                          {given: `{controllerID: "ABC/123"}`, refused: plain},
		"an id with a control character":              {given: `{controllerID: "ABC\u0007"}`, refused: unprintable},
		"an id with a direction character":            {given: `{controllerID: "ABC\u202e123"}`, refused: unprintable},
		"an id with a filler that is not seen":        {given: `{controllerID: "ABC\u3164"}`, refused: unprintable},
		"an id with a selector of variants":           {given: `{controllerID: "ABC\ufe0f"}`, refused: unprintable},
		"an id with a no-break space":                 {given: `{controllerID: "ABC\u00a0123"}`, refused: plain},
		"an id of two dots":                           {given: `{controllerID: ".."}`, refused: unprintable},
		"an id in another script":                     {given: `{controllerID: "型番-1"}`},
		"an empty id":                                 {given: `{controllerID: ""}`, refused: "spec.controllerID: spec.controllerID in body should be at least 1 chars long"},
		"another id":                                  {given: `{controllerID: a}`, when: `{controllerID: b}`, refused: immutable},
		"an id is added":                              {when: `{controllerID: b}`, refused: immutable},
		"an id is removed":                            {given: `{controllerID: a}`, when: `{controllerID: null}`, refused: immutable},
		"an id is removed with the spec":              {given: `{controllerID: a}`, when: `null`, refused: immutable},
		"another name, description, address and type": {given: `{controllerID: a}`, when: `{name: "Gate 3", description: "north side", address: "10.0.0.3", type: gateway-v2}`},
		"a name with 129 characters":                  {given: `{name: ` + long(129) + `}`, refused: "spec.name: Too long: may not be more than 128 bytes"},
		"a description with 513 characters":           {given: `{description: ` + long(513) + `}`, refused: "spec.description: Too long: may not be more than 512 bytes"},
		"an address with 513 characters":              {given: `{address: ` + long(513) + `}`, refused: "spec.address: Too long: may not be more than 512 bytes"},
		"a type with 65 characters":                   {given: `{type: ` + long(65) + `}`, refused: "spec.type: Too long: may not be more than 64 bytes"},
		"a token in a secret":                         {given: `{tokenSecretRef: {name: fleet-a-tokens, key: dev-17}}`},
		"a token without key":                         {given: `{tokenSecretRef: {name: fleet-a-tokens}}`, refused: "spec.tokenSecretRef.key: Required value"},
		"autoConfirm Always":                          {when: `{autoConfirm: Always}`},
		"an unknown autoConfirm":                      {when: `{autoConfirm: Never}`, refused: `spec.autoConfirm: Unsupported value: "Never": supported values: "Device", "Always"`},
		"hold is removed":                             {given: `{hold: true}`, when: `{hold: null}`},
		"an assignment at a time":                     {given: `{assignment: {distributionSet: firmware-2-1, assignedAt: "2026-12-01T02:00:00Z"}}`},
		"an assignment changes":                       {given: `{assignment: {distributionSet: firmware-2-1}}`, when: `{assignment: {distributionSet: firmware-2-0}}`},
		"an assignment is removed":                    {given: `{assignment: {distributionSet: firmware-2-1}}`, when: `{assignment: null}`},
		"a cancel":                                    {when: `{cancel: {upTo: 173000017}}`},
		"a cancel by force":                           {given: `{cancel: {upTo: 1}}`, when: `{cancel: {cancellation: Force}}`},
		"a cancel with None":                          {when: `{cancel: {upTo: 1, cancellation: None}}`, refused: "spec.cancel.cancellation: cancellation of a cancel must be Soft or Force: remove spec.cancel to cancel nothing"},
		"a cancel without upTo":                       {when: `{cancel: {cancellation: Soft}}`, refused: "spec.cancel.upTo: Required value"},
		"a cancel of no action":                       {when: `{cancel: {upTo: 0}}`, refused: "spec.cancel.upTo: spec.cancel.upTo in body should be greater than or equal to 1"},
		"a cancel up to the largest C int":            {when: `{cancel: {upTo: 2147483647}}`},
		"a cancel above the largest C int":            {when: `{cancel: {upTo: 2147483648}}`, refused: "spec.cancel.upTo: spec.cancel.upTo in body should be less than or equal to 2147483647"},
	}
	updates := all(updateCases("assignment", "startDeadlineSeconds is for the groups of a rollout: an assignment waits for its device; remove it", assignment), timeForcedCases("assignment", assignment))
	for name, tc := range updates {
		// A target has no assignment by default, so given adds the smallest one.
		spec := parse(t, `{assignment: {distributionSet: firmware-2-1}}`)
		merge(spec, parse(t, tc.given))
		tc.given = asYAML(t, spec)
		updates[name] = tc
	}
	testSchema(t, "Target", all(identity, updates))
}

// A Target may have no spec, so a rule that compares two specs does not see the first one.
func TestAnIDCannotBeAddedToATargetWithoutSpec(t *testing.T) {
	t.Parallel()
	c := strict(t)
	for edit, refused := range map[string]string{
		`{controllerID: b}`: "spec.controllerID: controllerID is immutable: delete the Target and create another",
		`{hold: true}`:      "",
	} {
		object := newObject(t, group, "Target", cluster.Namespace(t), "")
		delete(object.Object, "spec")
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, patchSpec(t, c, object, edit), refused)
	}
}
