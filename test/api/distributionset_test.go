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
	identity := map[string]schemaCase{
		"a set without modules, which is incomplete": {},
		"a version is required":                      {given: `{version: null}`, refused: "spec.version: Required value"},
		"another name":                               {when: `{name: bootloader}`, refused: "spec.name: name is immutable: create another DistributionSet"},
		"another version":                            {when: `{version: "2.2"}`, refused: "spec.version: version is immutable: create another DistributionSet"},
		"another type":                               {when: `{type: delta}`, refused: "spec.type: type is immutable: create another DistributionSet"},
		"another description":                        {status: locked, when: `{description: "the June release"}`},
		"100 modules":                                {given: "{modules: " + list(100, "{name: m%d}") + "}"},
		"101 modules":                                {given: "{modules: " + list(101, "{name: m%d}") + "}", refused: "spec.modules: Too many: 101: must have at most 100 items"},
		"a module twice":                             {given: `{modules: [{name: a}, {name: a}]}`, refused: `spec.modules[1]: Duplicate value: {"name":"a"}`},
		"a module type twice":                        {given: `{moduleTypes: {mandatory: [os, os]}}`, refused: `spec.moduleTypes.mandatory[1]: Duplicate value: "os"`},
		"a module type that is too long":             {given: `{moduleTypes: {optional: [` + long(65) + `]}}`, refused: "spec.moduleTypes.optional[0]: Too long: may not be more than 64 bytes"},
		"51 compatible types":                        {given: "{compatibleTargetTypes: " + list(51, "t%d") + "}", refused: "spec.compatibleTargetTypes: Too many: 51: must have at most 50 items"},
	}
	lock := map[string]schemaCase{
		"other modules before the lock":                     {given: one, when: `{modules: [{name: linux-6-6-2}]}`},
		"other modules of a locked set":                     {given: one, status: locked, when: `{modules: [{name: linux-6-6-2}]}`, refused: modules},
		"one more module of a locked set":                   {given: one, status: locked, when: `{modules: [{name: linux-6-6-1}, {name: app}]}`, refused: modules},
		"the first module of a locked set":                  {status: locked, when: one, refused: modules},
		"a module of a locked set is removed":               {given: one, status: locked, when: `{modules: null}`, refused: modules},
		"modules of a locked set in another order":          {given: `{modules: [{name: a}, {name: b}]}`, status: locked, when: `{modules: [{name: b}, {name: a}]}`},
		"requiredMigrationStep before the lock":             {when: `{requiredMigrationStep: true}`},
		"requiredMigrationStep of a locked set":             {status: locked, when: `{requiredMigrationStep: true}`, refused: step},
		"requiredMigrationStep false of a locked set":       {status: locked, when: `{requiredMigrationStep: false}`},
		"other compatible types of a locked set":            {status: locked, when: `{compatibleTargetTypes: [gateway-v2]}`},
		"other hidden metadata of a locked set":             {status: locked, when: `{metadata: [{key: k, value: v}]}`},
		"new visible metadata of a locked set":              {status: locked, when: `{metadata: [{key: k, visibleToDevice: true}]}`, refused: metadata},
		"other visible metadata of a locked set":            {given: `{metadata: [{key: k, value: v, visibleToDevice: true}]}`, status: locked, when: `{metadata: [{key: k, visibleToDevice: true}]}`, refused: metadata},
		"visible metadata of a locked set in another order": {given: `{metadata: [{key: k, visibleToDevice: true}, {key: l}]}`, status: locked, when: `{metadata: [{key: l}, {key: k, visibleToDevice: true}]}`},
	}
	invalidation := map[string]schemaCase{
		"a set is invalidated":                            {when: `{invalidation: {cancellation: Soft, reason: "bricks the modem"}}`},
		"a locked set is invalidated":                     {given: one, status: locked, when: `{invalidation: {cancellation: None}}`},
		"a set is created invalid":                        {given: `{invalidation: {cancellation: Force, deleteRollouts: true}}`},
		"cancellation is required":                        {given: `{invalidation: {reason: why}}`, refused: "spec.invalidation.cancellation: Required value"},
		"an unknown cancellation":                         {given: `{invalidation: {cancellation: Hard}}`, refused: `spec.invalidation.cancellation: Unsupported value: "Hard": supported values: "None", "Soft", "Force"`},
		"deleteRollouts with Soft":                        {given: `{invalidation: {cancellation: Soft, deleteRollouts: true}}`, refused: "spec.invalidation.deleteRollouts: deleteRollouts goes with cancellation Force only: choose Force, or remove deleteRollouts"},
		"deleteRollouts false with Soft":                  {given: `{invalidation: {cancellation: Soft, deleteRollouts: false}}`},
		"a reason with 257 characters":                    {given: `{invalidation: {cancellation: None, reason: ` + long(257) + `}}`, refused: "spec.invalidation.reason: Too long: may not be more than 256 bytes"},
		"Soft is changed to Force":                        {given: `{invalidation: {cancellation: Soft}}`, when: `{invalidation: {cancellation: Force}}`, refused: setOnce},
		"deleteRollouts is added":                         {given: `{invalidation: {cancellation: Force}}`, when: `{invalidation: {deleteRollouts: true}}`, refused: setOnce},
		"another reason":                                  {given: `{invalidation: {cancellation: None, reason: a}}`, when: `{invalidation: {reason: b}}`, refused: setOnce},
		"a reason is added":                               {given: `{invalidation: {cancellation: None}}`, when: `{invalidation: {reason: b}}`, refused: setOnce},
		"the reason is removed":                           {given: `{invalidation: {cancellation: None, reason: a}}`, when: `{invalidation: {reason: null}}`, refused: setOnce},
		"default values are written":                      {given: `{invalidation: {cancellation: None}}`, when: `{invalidation: {deleteRollouts: false, reason: ""}}`},
		"the invalidation is removed":                     {given: `{invalidation: {cancellation: None}}`, when: `{invalidation: null}`, refused: latched},
		"another description of an invalid set":           {given: `{invalidation: {cancellation: None}}`, when: `{description: "do not use"}`},
		"other modules of an invalid set before the lock": {given: `{invalidation: {cancellation: None}}`, when: one},
	}
	// When the invalidation is recorded, a later change of the field has no effect and is accepted,
	// so that a revert delays no other manifest.
	const given, noted = `{invalidation: {cancellation: Soft, reason: a}}`, `{invalidation: {cancellation: Soft, recorded: {cancellation: Soft, reason: a}}}`
	final := map[string]schemaCase{
		"it is removed, with only the record of an earlier set": {given: given, status: `{invalidation: {cancellation: Soft}}`, when: `{invalidation: null}`, refused: latched},
	}
	for _, edit := range []string{`{invalidation: null}`, `{invalidation: {cancellation: None}}`, `{invalidation: {cancellation: Force}}`, `{invalidation: {cancellation: Force, deleteRollouts: true}}`,
		`{invalidation: {reason: b}}`, `{invalidation: {reason: null}}`} {
		final["once recorded: "+edit] = schemaCase{given: given, status: noted, when: edit}
	}
	final["once recorded, what is written must still be an invalidation"] = schemaCase{given: given, status: noted, when: `{invalidation: {deleteRollouts: true}}`,
		refused: "spec.invalidation.deleteRollouts: deleteRollouts goes with cancellation Force only: choose Force, or remove deleteRollouts"}
	final["once recorded it is put back"] = schemaCase{status: noted, when: given}
	testSchema(t, "DistributionSet", all(identity, lock, invalidation, final))
}
