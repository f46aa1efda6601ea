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
	judge(t, "DeploymentGroup", map[string]law{
		"a group of two":                                    {},
		"an empty group":                                    {given: `{targets: null}`},
		"a group of 20 000":                                 {given: `{targets: ` + list(20000, "target-%d") + `}`},
		"a group of 20 001":                                 {given: `{targets: ` + list(20001, "target-%d") + `}`, refused: "spec.targets: Too many: 20001: must have at most 20000 items"},
		"the 500th group":                                   {given: `{index: 499}`},
		"the 501st group":                                   {given: `{index: 500}`, refused: "spec.index: spec.index in body should be less than or equal to 499"},
		"its rollout does not change":                       {when: `{rollout: s}`, refused: frozen},
		"its rollout's uid does not change":                 {when: `{rolloutUID: "0000"}`, refused: frozen},
		"its name does not change":                          {when: `{group: group-2}`, refused: frozen},
		"its place does not change":                         {when: `{index: 1}`, refused: frozen},
		"its plan does not change":                          {when: `{planHash: "sha256:01"}`, refused: frozen},
		"its success threshold does not change":             {when: `{conditions: {successThreshold: 51}}`, refused: planned},
		"its success action does not change":                {when: `{conditions: {successAction: Pause}}`, refused: planned},
		"its error threshold does not change":               {when: `{conditions: {errorThreshold: 51}}`, refused: planned},
		"its confirmation does not change":                  {when: `{conditions: {confirmationRequired: true}}`, refused: planned},
		"it does not become dynamic":                        {when: `{dynamic: true}`, refused: frozen},
		"a dynamic group stays so":                          {given: `{dynamic: true}`, when: `{dynamic: null}`, refused: frozen},
		"no is no change":                                   {when: `{dynamic: false, conditions: {confirmationRequired: false}}`},
		"nobody leaves":                                     {when: `{targets: [a]}`, refused: members},
		"nobody is swapped":                                 {when: `{targets: [a, c]}`, refused: members},
		"nobody changes place":                              {when: `{targets: [b, a]}`, refused: members},
		"nobody joins":                                      {when: `{targets: [a, b, c]}`, refused: grown},
		"nobody joins an empty group":                       {given: `{targets: null}`, when: `{targets: [a]}`, refused: grown},
		"not all leave at once":                             {when: `{targets: null}`, refused: members},
		"a dynamic group takes in what appears later":       {given: `{dynamic: true}`, when: `{targets: [a, b, c]}`},
		"an empty dynamic group takes in the first":         {given: `{dynamic: true, targets: null}`, when: `{targets: [a]}`},
		"nobody leaves a dynamic group":                     {given: `{dynamic: true}`, when: `{targets: [a, c]}`, refused: members},
		"nobody changes place in a dynamic group":           {given: `{dynamic: true}`, when: `{targets: [b, a, c]}`, refused: members},
		"a full dynamic group of 20 000 is within the cost": {given: `{dynamic: true, targets: ` + list(19999, "target-%d") + `}`, when: `{targets: ` + list(20000, "target-%d") + `}`},
	})
}
