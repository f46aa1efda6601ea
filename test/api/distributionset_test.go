// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import "testing"

func TestDistributionSet(t *testing.T) {
	const (
		locked = `{locked: true}`
		one    = `{modules: [{name: linux-6-6-1}]}`

		modules  = "spec.modules: modules is immutable once the set is locked: it is in use or invalidated; create another DistributionSet"
		step     = "spec.requiredMigrationStep: requiredMigrationStep is immutable once the set is locked: it is in use or invalidated; create another DistributionSet"
		metadata = "spec.metadata: metadata that is visibleToDevice is immutable once the set is locked: it is in use or invalidated; create another DistributionSet"

		setOnce = "spec.invalidation: invalidation is immutable: it can be set once; put it back as it was (to stop devices more firmly, raise stopCancellation of the rollouts)"
		latched = "spec.invalidation: invalidation is immutable: an invalidated set is never valid again; put the field back, and create another DistributionSet"
	)
	identity := map[string]law{
		"a set without modules is legal, only incomplete": {},
		"a version is needed":                             {given: `{version: null}`, refused: "spec.version: Required value"},
		"name never changes":                              {when: `{name: bootloader}`, refused: "spec.name: name is immutable: create another DistributionSet"},
		"version never changes":                           {when: `{version: "2.2"}`, refused: "spec.version: version is immutable: create another DistributionSet"},
		"type never changes":                              {when: `{type: delta}`, refused: "spec.type: type is immutable: create another DistributionSet"},
		"a description changes":                           {status: locked, when: `{description: "the June release"}`},
		"100 modules":                                     {given: "{modules: " + list(100, "{name: m%d}") + "}"},
		"101 modules":                                     {given: "{modules: " + list(101, "{name: m%d}") + "}", refused: "spec.modules: Too many: 101: must have at most 100 items"},
		"a module is there once":                          {given: `{modules: [{name: a}, {name: a}]}`, refused: `spec.modules[1]: Duplicate value: {"name":"a"}`},
		"a module type is there once":                     {given: `{moduleTypes: {mandatory: [os, os]}}`, refused: `spec.moduleTypes.mandatory[1]: Duplicate value: "os"`},
		"a module type is not too long":                   {given: `{moduleTypes: {optional: [` + long(65) + `]}}`, refused: "spec.moduleTypes.optional[0]: Too long: may not be more than 64 bytes"},
		"51 compatible types":                             {given: "{compatibleTargetTypes: " + list(51, "t%d") + "}", refused: "spec.compatibleTargetTypes: Too many: 51: must have at most 50 items"},
	}
	lock := map[string]law{
		"modules change until the set is locked":        {given: one, when: `{modules: [{name: linux-6-6-2}]}`},
		"modules of a locked set do not":                {given: one, status: locked, when: `{modules: [{name: linux-6-6-2}]}`, refused: modules},
		"a locked set gains no module":                  {given: one, status: locked, when: `{modules: [{name: linux-6-6-1}, {name: app}]}`, refused: modules},
		"a locked set gains no first module":            {status: locked, when: one, refused: modules},
		"a locked set loses no module":                  {given: one, status: locked, when: `{modules: null}`, refused: modules},
		"modules of a locked set change places":         {given: `{modules: [{name: a}, {name: b}]}`, status: locked, when: `{modules: [{name: b}, {name: a}]}`},
		"the migration step is free until the lock":     {when: `{requiredMigrationStep: true}`},
		"the migration step of a locked set is not":     {status: locked, when: `{requiredMigrationStep: true}`, refused: step},
		"to say that it is none is no change":           {status: locked, when: `{requiredMigrationStep: false}`},
		"compatible types of a locked set change":       {status: locked, when: `{compatibleTargetTypes: [gateway-v2]}`},
		"hidden metadata of a locked set change":        {status: locked, when: `{metadata: [{key: k, value: v}]}`},
		"a locked set gains no visible metadata":        {status: locked, when: `{metadata: [{key: k, visibleToDevice: true}]}`, refused: metadata},
		"visible metadata of a locked set change not":   {given: `{metadata: [{key: k, value: v, visibleToDevice: true}]}`, status: locked, when: `{metadata: [{key: k, visibleToDevice: true}]}`, refused: metadata},
		"visible metadata of a locked set change place": {given: `{metadata: [{key: k, visibleToDevice: true}, {key: l}]}`, status: locked, when: `{metadata: [{key: l}, {key: k, visibleToDevice: true}]}`},
	}
	invalidation := map[string]law{
		"a set is invalidated":                        {when: `{invalidation: {cancellation: Soft, reason: "bricks the modem"}}`},
		"a locked set is invalidated":                 {given: one, status: locked, when: `{invalidation: {cancellation: None}}`},
		"a set is created invalid":                    {given: `{invalidation: {cancellation: Force, deleteRollouts: true}}`},
		"cancellation is needed":                      {given: `{invalidation: {reason: why}}`, refused: "spec.invalidation.cancellation: Required value"},
		"cancellation is a known word":                {given: `{invalidation: {cancellation: Hard}}`, refused: `spec.invalidation.cancellation: Unsupported value: "Hard": supported values: "None", "Soft", "Force"`},
		"deleteRollouts goes with Force only":         {given: `{invalidation: {cancellation: Soft, deleteRollouts: true}}`, refused: "spec.invalidation.deleteRollouts: deleteRollouts goes with cancellation Force only: choose Force, or remove deleteRollouts"},
		"to delete no rollouts goes with every word":  {given: `{invalidation: {cancellation: Soft, deleteRollouts: false}}`},
		"a reason has 256 characters at most":         {given: `{invalidation: {cancellation: None, reason: ` + long(257) + `}}`, refused: "spec.invalidation.reason: Too long: may not be more than 256 bytes"},
		"an invalidation is not escalated":            {given: `{invalidation: {cancellation: Soft}}`, when: `{invalidation: {cancellation: Force}}`, refused: setOnce},
		"its rollouts are not deleted afterwards":     {given: `{invalidation: {cancellation: Force}}`, when: `{invalidation: {deleteRollouts: true}}`, refused: setOnce},
		"its reason does not change":                  {given: `{invalidation: {cancellation: None, reason: a}}`, when: `{invalidation: {reason: b}}`, refused: setOnce},
		"its reason is not added":                     {given: `{invalidation: {cancellation: None}}`, when: `{invalidation: {reason: b}}`, refused: setOnce},
		"its reason is not removed":                   {given: `{invalidation: {cancellation: None, reason: a}}`, when: `{invalidation: {reason: null}}`, refused: setOnce},
		"an absent word may be written out":           {given: `{invalidation: {cancellation: None}}`, when: `{invalidation: {deleteRollouts: false, reason: ""}}`},
		"an invalidation is not removed":              {given: `{invalidation: {cancellation: None}}`, when: `{invalidation: null}`, refused: latched},
		"an invalid set's description still changes":  {given: `{invalidation: {cancellation: None}}`, when: `{description: "do not use"}`},
		"an invalid set's modules change before lock": {given: `{invalidation: {cancellation: None}}`, when: one},
	}
	// Once recorded, a later change of the field has no effect and is accepted, so that a revert
	// holds up nothing.
	const given, noted = `{invalidation: {cancellation: Soft, reason: a}}`, `{invalidation: {cancellation: Soft, recorded: {cancellation: Soft, reason: a}}}`
	final := map[string]law{
		"of a record of an earlier set alone it is not removed": {given: given, status: `{invalidation: {cancellation: Soft}}`, when: `{invalidation: null}`, refused: latched},
	}
	for _, edit := range []string{`{invalidation: null}`, `{invalidation: {cancellation: None}}`, `{invalidation: {cancellation: Force}}`, `{invalidation: {cancellation: Force, deleteRollouts: true}}`,
		`{invalidation: {reason: b}}`, `{invalidation: {reason: null}}`} {
		final["once recorded: "+edit] = law{given: given, status: noted, when: edit}
	}
	final["once recorded, what is written must still be an invalidation"] = law{given: given, status: noted, when: `{invalidation: {deleteRollouts: true}}`,
		refused: "spec.invalidation.deleteRollouts: deleteRollouts goes with cancellation Force only: choose Force, or remove deleteRollouts"}
	final["once recorded it is put back"] = law{status: noted, when: given}
	judge(t, "DistributionSet", all(identity, lock, invalidation, final))
}
