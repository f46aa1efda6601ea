// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestRollout(t *testing.T) {
	update := func(update string) string { return fmt.Sprintf("{update: %s}", update) }
	testSchema(t, "Rollout", all(
		updateCases("update", "", update), timeForcedCases("update", update), selectionCases(),
		groupCases(), intentCases(), finalCases(), frozenCases(), editableCases(),
	))
}

// groupCases are the rules for groups, thresholds and budgets.
func groupCases() map[string]schemaCase {
	const xor = "spec.groupCount: give groupCount or groups, not both"
	const unique = "spec.groups: group names must be unique"
	return map[string]schemaCase{
		"neither groupCount nor groups, which means one group": {},
		"an update is required":                                {given: `{update: null}`, refused: "spec.update: Required value"},
		"500 equal groups":                                     {given: `{groupCount: 500}`},
		"501 equal groups":                                     {given: `{groupCount: 501}`, refused: "spec.groupCount: spec.groupCount in body should be less than or equal to 500"},
		"groupCount 0":                                         {given: `{groupCount: 0}`, refused: "spec.groupCount: spec.groupCount in body should be greater than or equal to 1"},
		"an empty list of groups":                              {given: `{groups: []}`, refused: "spec.groups: spec.groups in body should have at least 1 items"},
		"500 explicit groups":                                  {given: `{groups: ` + list(500, "{name: g%d, percentage: 1}") + `}`},
		"501 explicit groups":                                  {given: `{groups: ` + list(501, "{name: g%d, percentage: 1}") + `}`, refused: "spec.groups: Too many: 501: must have at most 500 items"},
		"groupCount and groups":                                {given: `{groupCount: 2, groups: [{name: a}]}`, refused: xor},
		"groups are added to groupCount":                       {given: `{groupCount: 2}`, when: `{groups: [{name: a}]}`, refused: xor},
		"groups replace groupCount":                            {given: `{groupCount: 2}`, when: `{groupCount: null, groups: [{name: a}]}`},
		"two groups with the same name":                        {given: `{groups: [{name: a, percentage: 5}, {name: b}, {name: a}]}`, refused: unique},
		"a group gets the name of another one":                 {given: `{groups: [{name: a, percentage: 5}, {name: b}]}`, when: `{groups: [{name: b, percentage: 5}, {name: b}]}`, refused: unique},
		"a group's name that is not a DNS label":               {given: `{groups: [{name: "First wave"}]}`, refused: `spec.groups[0].name: spec.groups[0].name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'`},
		"a group's name of 40 characters":                      {given: `{groups: [{name: ` + long(40) + `}]}`},
		"a group's name of 41 characters":                      {given: `{groups: [{name: ` + long(41) + `}]}`, refused: "spec.groups[0].name: Too long: may not be more than 40 bytes"},
		"a group of 100 percent":                               {given: `{groups: [{name: a, percentage: 100}]}`},
		"a group of 101 percent":                               {given: `{groups: [{name: a, percentage: 101}]}`, refused: "spec.groups[0].percentage: spec.groups[0].percentage in body should be less than or equal to 100"},
		"a group of 0 percent":                                 {given: `{groups: [{name: a, percentage: 0}]}`, refused: "spec.groups[0].percentage: spec.groups[0].percentage in body should be greater than or equal to 1"},
		"a group with all fields": {given: `{groups: [{name: a, percentage: 5, targetSelector: {matchLabels: {site: canary}}, targetExpression: "true",
			successThreshold: 100, successAction: Pause, errorThreshold: 0, errorAction: Pause, confirmationRequired: true}]}`},
		"a group's unknown success action":         {given: `{groups: [{name: a, successAction: Stop}]}`, refused: `spec.groups[0].successAction: Unsupported value: "Stop": supported values: "NextGroup", "Pause"`},
		"groups in alphabetical order":             {given: `{groupOrder: Name}`},
		"an unknown groupOrder":                    {given: `{groupOrder: Random}`, refused: `spec.groupOrder: Unsupported value: "Random": supported values: "Hash", "Name"`},
		"a success threshold of 101":               {given: `{successThreshold: 101}`, refused: "spec.successThreshold: spec.successThreshold in body should be less than or equal to 100"},
		"a negative error threshold":               {given: `{errorThreshold: -1}`, refused: "spec.errorThreshold: spec.errorThreshold in body should be greater than or equal to 0"},
		"an error threshold of 0":                  {given: `{errorThreshold: 0}`},
		"an unknown error action":                  {given: `{errorAction: Stop}`, refused: `spec.errorAction: Unsupported value: "Stop": supported values: "Pause"`},
		"minimumReports above the size of a group": {given: `{minimumReports: 20001}`, refused: "spec.minimumReports: spec.minimumReports in body should be less than or equal to 20000"},
		"an error budget in percent":               {given: `{errorBudget: {percent: 2}}`},
		"an error budget by count":                 {given: `{errorBudget: {count: 50}}`},
		"an error budget of both":                  {given: `{errorBudget: {percent: 0, count: 0}}`},
		"an error budget of neither":               {given: `{errorBudget: {}}`, refused: "spec.errorBudget: errorBudget needs percent, count or both; remove errorBudget for none"},
		"an error budget above 100 percent":        {given: `{errorBudget: {percent: 101}}`, refused: "spec.errorBudget.percent: spec.errorBudget.percent in body should be less than or equal to 100"},
		"dynamic without limits":                   {given: `{dynamic: {}}`},
		"groupSize above the size of a group":      {given: `{dynamic: {groupSize: 20001}}`, refused: "spec.dynamic.groupSize: spec.dynamic.groupSize in body should be less than or equal to 20000"},
		"stabilizationSeconds of an hour":          {given: `{stabilizationSeconds: 3600}`},
		"stabilizationSeconds above an hour":       {given: `{stabilizationSeconds: 3601}`, refused: "spec.stabilizationSeconds: spec.stabilizationSeconds in body should be less than or equal to 3600"},
	}
}

// intentCases are the rules for fields that may change while the rollout runs.
func intentCases() map[string]schemaCase {
	const final = "spec.state: state Stopped is final: it is immutable; put it back, and create another Rollout"
	const upwards = "spec.stopCancellation: stopCancellation is immutable after the stop, except that it may be raised, from None to Soft to Force: keep it or raise it"
	return map[string]schemaCase{
		"an unknown state":                                 {given: `{state: Suspended}`, refused: `spec.state: Unsupported value: "Suspended": supported values: "Planned", "Running", "Paused", "Stopped"`},
		"planned, then started":                            {given: `{state: Planned}`, when: `{state: Running}`},
		"paused and resumed":                               {given: `{state: Paused}`, when: `{state: Running}`},
		"stopped while running":                            {when: `{state: Stopped}`},
		"stopped, then Running":                            {given: `{state: Stopped}`, when: `{state: Running}`, refused: final},
		"stopped, then Paused":                             {given: `{state: Stopped}`, when: `{state: Paused}`, refused: final},
		"stopped, then removed":                            {given: `{state: Stopped}`, when: `{state: null}`, refused: final},
		"stopped again":                                    {given: `{state: Stopped}`, when: `{state: Stopped, stabilizationSeconds: 6}`},
		"a stop is raised from None to Soft":               {given: `{state: Stopped, stopCancellation: None}`, when: `{stopCancellation: Soft}`},
		"a stop is raised from Soft to Force":              {given: `{state: Stopped}`, when: `{stopCancellation: Force}`},
		"a stop is lowered from Soft":                      {given: `{state: Stopped}`, when: `{stopCancellation: None}`, refused: upwards},
		"a stop is lowered from Force":                     {given: `{state: Stopped, stopCancellation: Force}`, when: `{stopCancellation: Soft}`, refused: upwards},
		"stopCancellation Force is removed after the stop": {given: `{state: Stopped, stopCancellation: Force}`, when: `{stopCancellation: null}`, refused: upwards},
		"stopCancellation is lowered before the stop":      {given: `{stopCancellation: Force}`, when: `{stopCancellation: None}`},
		"stopCancellation is lowered with the stop":        {given: `{stopCancellation: Force}`, when: `{state: Stopped, stopCancellation: None}`},
		"an unknown stopCancellation":                      {given: `{stopCancellation: Hard}`, refused: `spec.stopCancellation: Unsupported value: "Hard": supported values: "None", "Soft", "Force"`},
		"deletionCancellation Soft":                        {given: `{state: Stopped}`, when: `{deletionCancellation: Soft}`},
		"an approval by hash":                              {given: `{approvalRequired: true}`, when: `{approval: {planHash: "sha256:` + hash64 + `"}}`},
		"an approval without a hash":                       {when: `{approval: {planHash: "yes"}}`, refused: "spec.approval.planHash: planHash must be copied from status.plan.hash: sha256: and 64 hexadecimal digits"},
		"an approval without sha256:":                      {when: `{approval: {planHash: "` + hash64 + `"}}`, refused: "spec.approval.planHash: planHash must be copied from status.plan.hash: sha256: and 64 hexadecimal digits"},
		"an empty approval":                                {when: `{approval: {}}`, refused: "spec.approval.planHash: Required value"},
		"a resume at a time":                               {when: `{resumedAt: "2026-12-01T02:00:00Z"}`},
		"a resumedAt that is not a time":                   {when: `{resumedAt: now}`, refused: "spec.resumedAt: " + noTime("resumedAt")},
		"an advance":                                       {when: `{advance: {to: group-3, at: "2026-12-01T02:00:00Z"}}`},
		"an advance without time":                          {when: `{advance: {to: group-3}}`, refused: "spec.advance.at: Required value"},
		"an advance without group":                         {when: `{advance: {at: "2026-12-01T02:00:00Z"}}`, refused: "spec.advance.to: Required value"},
		"a retry":                                          {when: `{retry: {at: "2026-12-01T02:00:00Z", statusCodes: ["17"]}}`},
		"a retry of messages":                              {when: `{retry: {at: "2026-12-01T02:00:00Z", messages: ["disk <n> is full"]}}`},
		"a retry of a message with a number":               {when: `{retry: {at: "2026-12-01T02:00:00Z", messages: ["disk <n> is full", "slot 1 is busy"]}}`, refused: "spec.retry.messages: messages must be copied from status.failures[].message of the Rollout, where a number is written <n>"},
		"a retry of a message of 257":                      {when: `{retry: {at: "2026-12-01T02:00:00Z", messages: [` + long(257) + `]}}`, refused: "spec.retry.messages[0]: Too long: may not be more than 256 bytes"},
		"a retry without time":                             {when: `{retry: {statusCodes: ["17"]}}`, refused: "spec.retry.at: Required value"},
		"a retry of 51 codes":                              {when: `{retry: {at: "2026-12-01T02:00:00Z", statusCodes: ` + list(51, `"%d"`) + `}}`, refused: "spec.retry.statusCodes: Too many: 51: must have at most 50 items"},
	}
}

// finalCases are the rules for reverts of final decisions: refused until the decision is recorded,
// and then accepted without effect.
func finalCases() map[string]schemaCase {
	const (
		final   = "spec.state: state Stopped is final: it is immutable; put it back, and create another Rollout"
		upwards = "spec.stopCancellation: stopCancellation is immutable after the stop, except that it may be raised, from None to Soft to Force: keep it or raise it"
		kind    = "spec.update.type: update.type is immutable once the rollout has started, except from Soft to Forced: stop this rollout and create another"
		forced  = `{update: {type: Forced}}`
		stopped = `{state: Stopped, stopCancellation: Force}`
	)
	recorded := func(c string) string {
		return `{state: Stopped, stop: {cancellation: ` + c + `, observedAt: "2026-01-01T00:00:00.000000Z"}}`
	}
	cases := map[string]schemaCase{
		"a stop that is not recorded is reverted":                          {given: stopped, status: `{state: Running}`, when: `{state: Running}`, refused: final},
		"a stop by an invalidation, which is not a record":                 {given: stopped, status: `{state: Stopped}`, when: `{state: Running}`, refused: final},
		"a raised stopCancellation that is not recorded is reverted":       {given: stopped, status: recorded("Soft"), when: `{stopCancellation: Soft}`, refused: upwards},
		"the stop and a raised stopCancellation are reverted":              {given: stopped, status: recorded("None"), when: `{state: Running}`, refused: final},
		"Stopped of a finished rollout is reverted":                        {given: stopped, status: `{state: Finished}`, when: `{state: Running, stopCancellation: null}`},
		"a recorded Forced is reverted":                                    {given: forced, status: `{startedAt: "2026-01-01T00:00:00.000000Z", updateType: Forced}`, when: `{update: {type: Soft}}`},
		"Forced that is not recorded is reverted":                          {given: forced, status: `{startedAt: "2026-01-01T00:00:00.000000Z", updateType: Soft}`, when: `{update: {type: Soft}}`, refused: kind},
		"a recorded Forced is changed to DownloadOnly":                     {given: forced, status: `{startedAt: "2026-01-01T00:00:00.000000Z", updateType: Forced}`, when: `{update: {type: DownloadOnly}}`, refused: kind},
		"a frozen field after a recorded stop":                             {given: stopped, status: `{startedAt: "2026-01-01T00:00:00.000000Z", stop: {cancellation: Force, observedAt: "2026-01-01T00:00:00.000000Z"}}`, when: `{state: Running, groupCount: 3}`, refused: "spec.groupCount: groupCount is immutable once the rollout has started: membership was frozen with the plan; stop this rollout and create another"},
		"a recorded stop with the default cancellation is reverted":        {given: `{state: Stopped}`, status: recorded("Soft"), when: `{state: null}`},
		"a stop that is recorded with a stronger cancellation is reverted": {given: `{state: Stopped}`, status: recorded("Force"), when: `{state: Running}`},
		"a reverted stop is set again":                                     {given: `{state: Running}`, status: recorded("Soft"), when: `{state: Stopped, stopCancellation: Force}`},
		"a recorded stop is lowered and reverted":                          {given: stopped, status: recorded("Force"), when: `{state: Planned, stopCancellation: None}`},
	}
	for _, edit := range []string{`{state: Running}`, `{state: Paused}`, `{state: null}`, `{state: null, stopCancellation: null}`, `{stopCancellation: Soft}`, `{stopCancellation: None}`, `{stopCancellation: null}`} {
		cases["once recorded: "+edit] = schemaCase{given: stopped, status: recorded("Force"), when: edit}
	}
	return cases
}

const hash64 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// beforeStart is the spec of a rollout with every field that is frozen later.
const beforeStart = `{
	update: {distributionSet: firmware-2-1, type: Soft, weight: 500, confirmationRequired: true,
		maintenanceWindow: {schedule: "0 2 * * *", durationSeconds: 3600}, superseding: Queue, reinstall: true,
		startDeadlineSeconds: 60, startDeadlineAction: Skip, progressDeadlineSeconds: 60, cancelDeadlineSeconds: 60,
		retries: {limit: 2, statusCodes: ["17", "18"]}},
	targetSelector: {matchLabels: {site: canary}}, targetExpression: "true", groupOrder: Name,
	groups: [
		{name: canary, percentage: 5, targetSelector: {matchLabels: {hw: a}}, targetExpression: "true"},
		{name: rest}]}`

// everything is a group of maximum size.
var everything = `{name: ` + long(36) + `-%d, percentage: 1, targetSelector: {matchLabels: {site: ` + long(60) + `}}, targetExpression: "` +
	long(1000) + `", successThreshold: 9}`

const started = `{startedAt: "2026-01-01T00:00:00.000000Z"}`

// frozenCases change and remove every field that decides which targets get the update: accepted
// before the start, refused after it.
func frozenCases() map[string]schemaCase {
	const (
		update = "spec.update: update is immutable once the rollout has started, except type from Soft to Forced: stop this rollout and create another"
		kind   = "spec.update.type: update.type is immutable once the rollout has started, except from Soft to Forced: stop this rollout and create another"
		who    = "spec.%[1]s: %[1]s is immutable once the rollout has started: membership was frozen with the plan; create another Rollout for other targets"
		split  = "spec.%[1]s: %[1]s is immutable once the rollout has started: membership was frozen with the plan; stop this rollout and create another"
		groups = "spec.groups: groups is immutable once the rollout has started, except their thresholds, actions and confirmationRequired: stop this rollout and create another"
	)
	cases := map[string]schemaCase{}
	frozen := func(given, sentence string, edits ...string) {
		for _, edit := range edits {
			cases["before the start: "+edit] = schemaCase{given: given, when: edit}
			cases["after the start: "+edit] = schemaCase{given: given, status: started, when: edit, refused: sentence}
		}
	}
	frozen(beforeStart, update,
		`{update: {distributionSet: firmware-2-2}}`,
		`{update: {weight: 501}}`, `{update: {weight: null}}`,
		`{update: {confirmationRequired: false}}`, `{update: {confirmationRequired: null}}`,
		`{update: {maintenanceWindow: {durationSeconds: 7200}}}`, `{update: {maintenanceWindow: {schedule: "0 3 * * *"}}}`,
		`{update: {maintenanceWindow: {timeZone: Europe/Berlin}}}`, `{update: {maintenanceWindow: null}}`,
		`{update: {superseding: null}}`, `{update: {finishedWarning: Failure}}`,
		`{update: {distributionSet: null, remove: [{group: g, name: app, version: "1"}]}}`,
		`{update: {reinstall: false}}`, `{update: {reinstall: null}}`,
		`{update: {startDeadlineSeconds: 61}}`, `{update: {startDeadlineSeconds: null}}`, `{update: {startDeadlineAction: null}}`,
		`{update: {progressDeadlineSeconds: 61}}`, `{update: {progressDeadlineSeconds: null}}`,
		`{update: {cancelDeadlineSeconds: 61}}`, `{update: {cancelDeadlineSeconds: null}}`,
		`{update: {retries: {limit: 3}}}`, `{update: {retries: {backoffSeconds: 1}}}`, `{update: {retries: {statusCodes: ["17"]}}}`, `{update: {retries: {messages: ["m"]}}}`, `{update: {retries: null}}`,
	)
	frozen(`{update: {distributionSet: null, remove: [{group: g, name: app, version: "1"}]}}`, update,
		`{update: {remove: [{group: g, name: app, version: "2"}]}}`, `{update: {remove: [{group: g, name: app, version: "1"}, {group: g, name: b, version: "1"}]}}`,
		`{update: {remove: null, distributionSet: firmware-2-1}}`)
	frozen(`{update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}}`, update, `{update: {forceAt: "2026-12-02T02:00:00Z"}}`)
	frozen(beforeStart, kind, `{update: {type: DownloadOnly}}`)
	frozen(`{update: {type: Forced}}`, kind, `{update: {type: Soft}}`)
	frozen(beforeStart, fmt.Sprintf(who, "targetSelector"),
		`{targetSelector: {matchLabels: {site: other}}}`, `{targetSelector: {matchExpressions: [{key: hw, operator: Exists}]}}`, `{targetSelector: null}`)
	frozen(beforeStart, fmt.Sprintf(who, "targetExpression"), `{targetExpression: "false"}`, `{targetExpression: null}`)
	frozen(`{groupCount: 3}`, fmt.Sprintf(split, "groupCount"), `{groupCount: 4}`, `{groupCount: null}`)
	frozen(`{}`, fmt.Sprintf(split, "groupCount"), `{groupCount: 2}`)
	frozen(beforeStart, fmt.Sprintf(split, "groupOrder"), `{groupOrder: Hash}`, `{groupOrder: null}`)
	frozen(`{}`, groups, `{groups: [{name: rest}]}`)
	frozen(beforeStart, groups,
		`{groups: null}`,
		`{groups: [{name: canary, percentage: 5, targetSelector: {matchLabels: {hw: a}}, targetExpression: "true"}]}`,
		`{groups: [{name: first, percentage: 5, targetSelector: {matchLabels: {hw: a}}, targetExpression: "true"}, {name: rest}]}`,
		`{groups: [{name: canary, percentage: 6, targetSelector: {matchLabels: {hw: a}}, targetExpression: "true"}, {name: rest}]}`,
		`{groups: [{name: canary, percentage: 5, targetSelector: {matchLabels: {hw: b}}, targetExpression: "true"}, {name: rest}]}`,
		`{groups: [{name: canary, percentage: 5, targetExpression: "true"}, {name: rest}]}`,
		`{groups: [{name: canary, percentage: 5, targetSelector: {matchLabels: {hw: a}}, targetExpression: "false"}, {name: rest}]}`,
		`{groups: [{name: canary, percentage: 5, targetSelector: {matchLabels: {hw: a}}}, {name: rest}]}`,
		`{groups: [{name: rest}, {name: canary, percentage: 5, targetSelector: {matchLabels: {hw: a}}, targetExpression: "true"}]}`,
	)
	return cases
}

// editableCases are the fields that may change after the start: conditions, budgets and intent.
func editableCases() map[string]schemaCase {
	edits := []string{
		`{update: {type: Forced}}`,
		`{update: {type: null}}`, // the default is Forced
		`{groups: [{name: canary, percentage: 5, targetSelector: {matchLabels: {hw: a}}, targetExpression: "true", successThreshold: 90, successAction: Pause,
			errorThreshold: 10, errorAction: Pause, confirmationRequired: true}, {name: rest, percentage: 100}]}`,
		`{successThreshold: 90, successAction: Pause, errorThreshold: 10, errorAction: Pause, minimumReports: 5}`,
		`{errorBudget: {count: 5}}`,
		`{dynamic: {maxTargets: 100}}`,
		`{state: Paused}`,
		`{state: Stopped, stopCancellation: Force}`,
		`{resumedAt: "2026-12-01T02:00:00Z", advance: {to: rest, at: "2026-12-01T02:00:00Z"}, retry: {at: "2026-12-01T02:00:00Z"}}`,
		`{approvalRequired: true, approval: {planHash: "sha256:` + hash64 + `"}}`,
		`{deletionCancellation: Force}`,
	}
	cases := map[string]schemaCase{
		"500 groups are within the cost limit of the rules": {given: `{groups: ` + list(500, everything) + `}`, status: started,
			when: `{errorThreshold: 10, groups: ` + list(500, strings.Replace(everything, "successThreshold: 9", "successThreshold: 10", 1)) + `}`},
		"default values are written": {status: started,
			when: `{update: {confirmationRequired: false, reinstall: false, type: Forced, weight: 1000, superseding: Replace}, groupOrder: Hash}`},
		"Forced is changed to Soft": {given: `{update: {type: Forced}}`, status: started, when: `{update: {type: Soft}}`,
			refused: "spec.update.type: update.type is immutable once the rollout has started, except from Soft to Forced: stop this rollout and create another"},
	}
	for _, edit := range edits {
		cases["stays free after the start: "+edit] = schemaCase{given: beforeStart, status: started, when: edit}
	}
	return cases
}
