// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import "testing"

func TestDeploymentGroup(t *testing.T) {
	const (
		frozen  = "spec: a DeploymentGroup is immutable: it is the frozen record of one plan; change the Rollout instead"
		planned = "spec.conditions: conditions is immutable: a DeploymentGroup is the frozen record of one plan; change the Rollout instead"
		members = "spec.targets: targets is immutable, except that a dynamic group appends: membership was frozen with the plan; create another Rollout"
		grown   = "spec.targets: targets is immutable: membership was frozen with the plan; only a dynamic group appends"
	)
	testSchema(t, "DeploymentGroup", map[string]schemaCase{
		"a group of two":                                {},
		"an empty group":                                {given: `{targets: null}`},
		"a group of 20 000":                             {given: `{targets: ` + list(20000, "target-%d") + `}`},
		"a group of 20 001":                             {given: `{targets: ` + list(20001, "target-%d") + `}`, refused: "spec.targets: Too many: 20001: must have at most 20000 items"},
		"the 500th group":                               {given: `{index: 499}`},
		"the 501st group":                               {given: `{index: 500}`, refused: "spec.index: spec.index in body should be less than or equal to 499"},
		"another rollout":                               {when: `{rollout: s}`, refused: frozen},
		"another uid of the rollout":                    {when: `{rolloutUID: "0000"}`, refused: frozen},
		"another name":                                  {when: `{group: group-2}`, refused: frozen},
		"another index":                                 {when: `{index: 1}`, refused: frozen},
		"another plan hash":                             {when: `{planHash: "sha256:01"}`, refused: frozen},
		"another success threshold":                     {when: `{conditions: {successThreshold: 51}}`, refused: planned},
		"another success action":                        {when: `{conditions: {successAction: Pause}}`, refused: planned},
		"another error threshold":                       {when: `{conditions: {errorThreshold: 51}}`, refused: planned},
		"another confirmationRequired":                  {when: `{conditions: {confirmationRequired: true}}`, refused: planned},
		"a change to dynamic":                           {when: `{dynamic: true}`, refused: frozen},
		"a dynamic group is no longer dynamic":          {given: `{dynamic: true}`, when: `{dynamic: null}`, refused: frozen},
		"default values are written":                    {when: `{dynamic: false, conditions: {confirmationRequired: false}}`},
		"a member is removed":                           {when: `{targets: [a]}`, refused: members},
		"a member is replaced":                          {when: `{targets: [a, c]}`, refused: members},
		"members change their order":                    {when: `{targets: [b, a]}`, refused: members},
		"a member is added":                             {when: `{targets: [a, b, c]}`, refused: grown},
		"a member is added to an empty group":           {given: `{targets: null}`, when: `{targets: [a]}`, refused: grown},
		"all members are removed":                       {when: `{targets: null}`, refused: members},
		"a member is added to a dynamic group":          {given: `{dynamic: true}`, when: `{targets: [a, b, c]}`},
		"a member is added to an empty dynamic group":   {given: `{dynamic: true, targets: null}`, when: `{targets: [a]}`},
		"a member is removed from a dynamic group":      {given: `{dynamic: true}`, when: `{targets: [a, c]}`, refused: members},
		"members of a dynamic group change their order": {given: `{dynamic: true}`, when: `{targets: [b, a, c]}`, refused: members},
		"a dynamic group with 20 000 members is within the cost limit": {given: `{dynamic: true, targets: ` + list(19999, "target-%d") + `}`, when: `{targets: ` + list(20000, "target-%d") + `}`},
	})
}
