// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// An edit is one change of a manifest, with the users who may commit it and the refusal for the
// others. In a refusal WHO and NS stand for the user and the namespace.
type edit struct {
	given   string // merged into the smallest spec of the kind, before the change
	status  string // as written by a controller
	when    string // merged into given; null removes a field
	may     string // the users who may, separated by blanks
	refused string // the refusal for the others
}

// writers have RBAC's right to write objects of a kind, so that the policy decides.
var (
	writers = map[string][]string{
		"DistributionSet": {"editor", "stopper"},
		"Target":          {"editor", "stopper"},
		"Rollout":         {"editor", "approver", "stopper"},
	}
	creators = []string{"editor", "editor-approver", "editor-stopper"}
)

// The refusals.
const (
	toStopper  = " in namespace NS, which WHO lacks: bind the ClusterRole goshawk-stopper to WHO in that namespace, or "
	toApprover = " in namespace NS, which WHO lacks: bind the ClusterRole goshawk-approver to WHO in that namespace, or "
	toEditor   = " in namespace NS, which WHO lacks: bind the ClusterRole goshawk-editor to WHO in that namespace, or "

	softTargets    = "spec.invalidation.cancellation Soft cancels on devices and needs the right to update targets" + toStopper + "choose None"
	softRollouts   = "spec.invalidation.cancellation Soft stops rollouts and needs the right to update rollouts" + toStopper + "choose None"
	forceTargets   = "spec.invalidation.cancellation Force cancels on devices and needs the right to update targets" + toStopper + "choose None"
	forceRollout   = "spec.invalidation.cancellation Force stops rollouts and needs the right to update rollouts" + toStopper + "choose None"
	deletes        = "spec.invalidation.deleteRollouts needs the right to delete rollouts" + toEditor + "remove deleteRollouts"
	createdInvalid = "spec.invalidation of a new set needs the right to update or patch distributionsets" + toStopper + "create the set without invalidation"

	cancels      = "spec.cancel with cancellation Soft needs the verb cancel on targets" + toStopper + "remove spec.cancel"
	forceCancels = "spec.cancel with cancellation Force needs the verb forcecancel on targets" + toStopper + "remove spec.cancel"

	approves    = "spec.approval needs the verb approve on rollouts" + toApprover + "leave approval as it was"
	unrequires  = "to withdraw spec.approvalRequired needs the verb approve on rollouts" + toApprover + "leave it true"
	resumes     = "spec.resumedAt needs the verb resume on rollouts" + toApprover + "leave resumedAt as it was"
	stopsSoft   = "to stop with stopCancellation Soft needs the verb cancel on targets" + toStopper + "stop with None"
	stopsForce  = "to stop with stopCancellation Force needs the verb forcecancel on targets" + toStopper + "stop with None"
	raisesSoft  = "spec.stopCancellation Soft needs the verb cancel on targets" + toStopper + "leave stopCancellation as it was"
	raisesForce = "spec.stopCancellation Force needs the verb forcecancel on targets" + toStopper + "leave stopCancellation as it was"
	deletedSoft = "spec.deletionCancellation Soft needs the verb cancel on targets" + toStopper + "leave deletionCancellation as it was"
	deletedHard = "spec.deletionCancellation Force needs the verb forcecancel on targets" + toStopper + "leave deletionCancellation as it was"
)

func loosens(what string) string {
	return "to loosen an approved rollout (" + what + ") needs the verb approve on rollouts" + toApprover + "leave its conditions as strict as they were"
}

// Specs and statuses before an edit.
const (
	plan     = `"sha256:0000000000000000000000000000000000000000000000000000000000000000"`
	another  = `"sha256:1111111111111111111111111111111111111111111111111111111111111111"`
	started  = `{startedAt: "2026-12-01T02:00:00.000000Z", state: Running}`
	strict   = `successThreshold: 90, errorThreshold: 5, minimumReports: 10, successAction: Pause, errorBudget: {percent: 2, count: 50}`
	approved = `{approvalRequired: true, approval: {planHash: ` + plan + `}, ` + strict + `}`
	grouped  = `{approval: {planHash: ` + plan + `}, errorThreshold: 20, groups: [{name: canary, percentage: 5, errorThreshold: 1, successAction: Pause}, {name: rest}]}`
	growing  = `{approval: {planHash: ` + plan + `}, dynamic: {groupSize: 10, maxTargets: 100, until: "2026-12-01T02:00:00Z"}}`
	consent  = `{update: {confirmationRequired: true}, approval: {planHash: ` + plan + `}, groups: [{name: canary, percentage: 5}, {name: rest}]}`
)

// updates are changes of existing objects.
var updates = map[string]map[string]edit{
	"DistributionSet": {
		"a description is added":                   {when: `{description: the June release}`, may: "editor stopper"},
		"a set is invalidated: None":               {when: `{invalidation: {cancellation: None, reason: bricks the modem}}`, may: "editor stopper"},
		"a set is invalidated: Soft":               {when: `{invalidation: {cancellation: Soft}}`, may: "stopper", refused: softTargets},
		"a set is invalidated: Force":              {when: `{invalidation: {cancellation: Force}}`, may: "stopper", refused: forceTargets},
		"a description is added to an invalid set": {given: `{invalidation: {cancellation: Force}}`, when: `{description: do not use}`, may: "editor stopper"},
		"default values are written":               {given: `{invalidation: {cancellation: Force}}`, when: `{invalidation: {deleteRollouts: false, reason: ""}}`, may: "editor stopper"},
		"a locked set is invalidated":              {status: `{locked: true}`, when: `{invalidation: {cancellation: Soft}}`, may: "stopper", refused: softTargets},
	},
	"Target": {
		"hold, assignment and description":                  {when: `{hold: true, description: d, assignment: {distributionSet: firmware-2-1}}`, may: "editor stopper"},
		"software is removed":                               {when: `{assignment: {remove: [{group: g, name: app, version: "1"}]}}`, may: "editor stopper"},
		"an action is canceled":                             {when: `{cancel: {upTo: 17}}`, may: "editor stopper"},
		"an action is force-canceled":                       {when: `{cancel: {upTo: 17, cancellation: Force}}`, may: "stopper", refused: forceCancels},
		"a cancel is raised to Force":                       {given: `{cancel: {upTo: 17}}`, when: `{cancel: {cancellation: Force}}`, may: "stopper", refused: forceCancels},
		"a force-cancel with a higher upTo":                 {given: `{cancel: {upTo: 17, cancellation: Force}}`, when: `{cancel: {upTo: 18}}`, may: "stopper", refused: forceCancels},
		"a force-cancel is changed to a cancel":             {given: `{cancel: {upTo: 17, cancellation: Force}}`, when: `{cancel: {cancellation: Soft}}`, may: "editor stopper"},
		"a request that was carried out is removed":         {given: `{cancel: {upTo: 17, cancellation: Force}}`, when: `{cancel: null}`, may: "editor stopper"},
		"a description is added to a force-canceled target": {given: `{cancel: {upTo: 17, cancellation: Force}}`, when: `{description: d}`, may: "editor stopper"},
	},
	"Rollout": merged(plainEdits, approvalEdits, looseningEdits, cancellationEdits),
}

// plainEdits need only the right to write a rollout.
var plainEdits = map[string]edit{
	"a rollout is paused":                                    {status: started, when: `{state: Paused}`, may: "editor approver stopper"},
	"a pause by spec ends":                                   {given: `{state: Paused}`, status: started, when: `{state: Running}`, may: "editor approver stopper"},
	"a plan is started":                                      {given: `{state: Planned}`, when: `{state: Running, startAt: "2026-12-01T02:00:00Z"}`, may: "editor approver stopper"},
	"failed targets are retried":                             {given: approved, status: started, when: `{retry: {at: "2026-12-01T02:00:00Z"}}`, may: "editor approver stopper"},
	"a Soft update becomes Forced":                           {given: `{update: {type: Soft}}`, status: started, when: `{update: {type: Forced}}`, may: "editor approver stopper"},
	"a rollout without approval is loosened":                 {given: `{` + strict + `}`, status: started, when: `{errorThreshold: 100, errorBudget: null}`, may: "editor approver stopper"},
	"a rollout without approval is advanced":                 {given: `{groupCount: 3}`, status: started, when: `{advance: {to: group-2, at: "2026-12-01T02:00:00Z"}}`, may: "editor approver stopper"},
	"the conditions of an approved rollout are tightened":    {given: approved, status: started, when: `{successThreshold: 95, errorThreshold: 1, minimumReports: 0, errorBudget: {percent: 1}}`, may: "editor approver stopper"},
	"an approved rollout without budget gets one":            {given: `{approval: {planHash: ` + plan + `}}`, status: started, when: `{errorBudget: {count: 5}}`, may: "editor approver stopper"},
	"an approved rollout gets successAction Pause":           {given: `{approval: {planHash: ` + plan + `}}`, status: started, when: `{successAction: Pause}`, may: "editor approver stopper"},
	"approval becomes required":                              {when: `{approvalRequired: true}`, may: "editor approver stopper"},
	"an approved rollout gets other groups before the start": {given: grouped, when: `{groups: [{name: rest, errorThreshold: 20}]}`, may: "editor approver stopper"},
}

var approvalEdits = map[string]edit{
	"a plan is approved":       {given: `{approvalRequired: true}`, when: `{approval: {planHash: ` + plan + `}}`, may: "approver", refused: approves},
	"a new plan is approved":   {given: approved, when: `{approval: {planHash: ` + another + `}}`, may: "approver", refused: approves},
	"an approval is withdrawn": {given: approved, status: started, when: `{approval: null}`, may: "approver", refused: approves},
	"an approval is withdrawn and the rollout loosened by the same commit": {given: approved, status: started, when: `{approval: null, errorThreshold: 100}`, may: "approver", refused: approves},
	"approval is not required any more":                                    {given: `{approvalRequired: true}`, when: `{approvalRequired: false}`, may: "approver", refused: unrequires},
	"approvalRequired is removed":                                          {given: `{approvalRequired: true}`, when: `{approvalRequired: null}`, may: "approver", refused: unrequires},
	"an automatic pause is ended":                                          {status: started, when: `{resumedAt: "2026-12-01T02:00:00Z"}`, may: "approver", refused: resumes},
	"a later pause is ended":                                               {given: `{resumedAt: "2026-12-01T02:00:00Z"}`, status: started, when: `{resumedAt: "2026-12-02T02:00:00Z"}`, may: "approver", refused: resumes},
	"a resumedAt that was carried out is removed":                          {given: `{resumedAt: "2026-12-01T02:00:00Z"}`, status: started, when: `{resumedAt: null}`, may: "editor approver stopper"},
	"a plan is rejected":                                                   {given: `{approvalRequired: true}`, when: `{state: Stopped}`, may: "editor approver stopper"},
}

// looseningEdits loosen the conditions of an approved rollout.
var looseningEdits = map[string]edit{
	"errorThreshold is raised":                        {given: approved, status: started, when: `{errorThreshold: 6}`, may: "approver", refused: loosens("errorThreshold")},
	"errorThreshold is removed":                       {given: approved, status: started, when: `{errorThreshold: null}`, may: "approver", refused: loosens("errorThreshold")},
	"successThreshold is lowered":                     {given: approved, status: started, when: `{successThreshold: 89}`, may: "approver", refused: loosens("successThreshold")},
	"minimumReports is raised":                        {given: approved, status: started, when: `{minimumReports: 11}`, may: "approver", refused: loosens("minimumReports")},
	"successAction Pause is removed":                  {given: approved, status: started, when: `{successAction: NextGroup}`, may: "approver", refused: loosens("successAction")},
	"the budget's percent is raised":                  {given: approved, status: started, when: `{errorBudget: {percent: 3}}`, may: "approver", refused: loosens("errorBudget")},
	"the budget's count is removed":                   {given: approved, status: started, when: `{errorBudget: {count: null}}`, may: "approver", refused: loosens("errorBudget")},
	"the budget is removed":                           {given: approved, status: started, when: `{errorBudget: null}`, may: "approver", refused: loosens("errorBudget")},
	"loosened before the start":                       {given: approved, when: `{errorBudget: null}`, may: "approver", refused: loosens("errorBudget")},
	"one condition is tightened and two loosened":     {given: approved, status: started, when: `{errorThreshold: 1, successThreshold: 1, minimumReports: 99}`, may: "approver", refused: loosens("successThreshold, minimumReports")},
	"advance opens groups":                            {given: approved, status: started, when: `{advance: {to: group-1, at: "2026-12-01T02:00:00Z"}}`, may: "approver", refused: loosens("advance")},
	"a condition of a group is raised":                {given: grouped, status: started, when: groups(`{name: canary, percentage: 5, errorThreshold: 2, successAction: Pause}, {name: rest}`), may: "approver", refused: loosens("the conditions of group canary")},
	"a condition of a group is removed":               {given: grouped, status: started, when: groups(`{name: canary, percentage: 5, successAction: Pause}, {name: rest}`), may: "approver", refused: loosens("the conditions of group canary")},
	"successAction Pause of a group is removed":       {given: grouped, status: started, when: groups(`{name: canary, percentage: 5, errorThreshold: 1}, {name: rest}`), may: "approver", refused: loosens("the conditions of group canary")},
	"a group no longer requires confirmation":         {given: consent, status: started, when: groups(`{name: canary, percentage: 5, confirmationRequired: false}, {name: rest}`), may: "approver", refused: loosens("the conditions of group canary")},
	"a group requires confirmation":                   {given: grouped, status: started, when: groups(`{name: canary, percentage: 5, errorThreshold: 1, successAction: Pause, confirmationRequired: true}, {name: rest}`), may: "editor approver stopper"},
	"a group gets a looser condition":                 {given: grouped, status: started, when: groups(`{name: canary, percentage: 5, errorThreshold: 1, successAction: Pause}, {name: rest, successThreshold: 49}`), may: "approver", refused: loosens("the conditions of group rest")},
	"an inherited condition is raised":                {given: grouped, status: started, when: `{errorThreshold: 21}`, may: "approver", refused: loosens("errorThreshold, the conditions of group rest")},
	"a group keeps an inherited condition":            {given: grouped, status: started, when: `{errorThreshold: 10, groups: [{name: canary, percentage: 5, errorThreshold: 1, successAction: Pause}, {name: rest, errorThreshold: 20}]}`, may: "editor approver stopper"},
	"dynamic is added":                                {given: approved, status: started, when: `{dynamic: {maxTargets: 10}}`, may: "approver", refused: loosens("dynamic")},
	"maxTargets is raised":                            {given: growing, status: started, when: `{dynamic: {maxTargets: 101}}`, may: "approver", refused: loosens("dynamic")},
	"maxTargets is removed":                           {given: growing, status: started, when: `{dynamic: {maxTargets: null}}`, may: "approver", refused: loosens("dynamic")},
	"until is later":                                  {given: growing, status: started, when: `{dynamic: {until: "2026-12-01T03:00:01+01:00"}}`, may: "approver", refused: loosens("dynamic")},
	"until is removed":                                {given: growing, status: started, when: `{dynamic: {until: null}}`, may: "approver", refused: loosens("dynamic")},
	"groupSize is raised":                             {given: growing, status: started, when: `{dynamic: {groupSize: 11}}`, may: "approver", refused: loosens("dynamic")},
	"groupSize is removed":                            {given: growing, status: started, when: `{dynamic: {groupSize: null}}`, may: "approver", refused: loosens("dynamic")},
	"groupSize is added":                              {given: `{approval: {planHash: ` + plan + `}, dynamic: {}}`, status: started, when: `{dynamic: {groupSize: 1}}`, may: "approver", refused: loosens("dynamic")},
	"all limits of dynamic are lowered":               {given: growing, status: started, when: `{dynamic: {groupSize: 9, maxTargets: 99, until: "2026-12-01T03:00:00+02:00"}}`, may: "editor approver stopper"},
	"limits of dynamic are added":                     {given: `{approval: {planHash: ` + plan + `}, dynamic: {}}`, status: started, when: `{dynamic: {maxTargets: 10, until: "2026-12-01T02:00:00Z"}}`, may: "editor approver stopper"},
	"dynamic is removed":                              {given: growing, status: started, when: `{dynamic: null}`, may: "editor approver stopper"},
	"the same until in another notation":              {given: growing, status: started, when: `{dynamic: {until: "2026-12-01T03:00:00+01:00"}}`, may: "editor approver stopper"},
	"dynamic of a rollout without approval is raised": {given: `{dynamic: {groupSize: 5, maxTargets: 10}}`, status: started, when: `{dynamic: {groupSize: 6, maxTargets: null}}`, may: "editor approver stopper"},
	"the last of 500 groups is loosened":              {given: `{approval: {planHash: ` + plan + `}, ` + many("") + `}`, status: started, when: `{` + many("errorThreshold: 51") + `}`, may: "approver", refused: loosens("the conditions of group g499")},
}

// cancellationEdits change what happens to started devices.
var cancellationEdits = map[string]edit{
	"a stop with None":  {given: `{stopCancellation: None}`, status: started, when: `{state: Stopped}`, may: "editor approver stopper"},
	"a stop with Soft":  {status: started, when: `{state: Stopped}`, may: "editor stopper", refused: stopsSoft},
	"a stop with Force": {status: started, when: `{state: Stopped, stopCancellation: Force}`, may: "stopper", refused: stopsForce},
	"a stop with the earlier stopCancellation Force": {given: `{stopCancellation: Force}`, status: started, when: `{state: Stopped}`, may: "stopper", refused: stopsForce},
	"stopCancellation Force before a stop":           {status: started, when: `{stopCancellation: Force}`, may: "stopper", refused: raisesForce},
	"stopCancellation Soft before a stop":            {given: `{stopCancellation: None}`, status: started, when: `{stopCancellation: Soft}`, may: "editor stopper", refused: raisesSoft},
	"a lower stopCancellation before a stop":         {given: `{stopCancellation: Force}`, status: started, when: `{stopCancellation: None}`, may: "editor approver stopper"},
	"raised after the stop: Soft":                    {given: `{state: Stopped, stopCancellation: None}`, status: started, when: `{stopCancellation: Soft}`, may: "editor stopper", refused: raisesSoft},
	"raised after the stop: Force":                   {given: `{state: Stopped}`, status: started, when: `{stopCancellation: Force}`, may: "stopper", refused: raisesForce},
	"another field after a forced stop":              {given: `{state: Stopped, stopCancellation: Force}`, status: started, when: `{successAction: Pause}`, may: "editor approver stopper"},
	"deletionCancellation Soft":                      {when: `{deletionCancellation: Soft}`, may: "editor stopper", refused: deletedSoft},
	"deletionCancellation Force":                     {given: `{deletionCancellation: Soft}`, when: `{deletionCancellation: Force}`, may: "stopper", refused: deletedHard},
	"deletionCancellation None":                      {given: `{deletionCancellation: Force}`, when: `{deletionCancellation: None}`, may: "editor approver stopper"},
}

// creations are manifests of new objects.
var creations = map[string]map[string]edit{
	"DistributionSet": {
		"a set":                        {may: "editor editor-approver editor-stopper"},
		"a set created invalid: None":  {when: `{invalidation: {cancellation: None}}`, may: "editor editor-approver editor-stopper"},
		"a set created invalid: Soft":  {when: `{invalidation: {cancellation: Soft}}`, may: "editor-stopper", refused: softTargets},
		"a set created invalid: Force": {when: `{invalidation: {cancellation: Force, deleteRollouts: true}}`, may: "editor-stopper", refused: forceTargets},
	},
	"Target": {
		"a target":                    {may: "editor editor-approver editor-stopper"},
		"a target and a cancel":       {when: `{cancel: {upTo: 17}}`, may: "editor editor-approver editor-stopper"},
		"a target and a force-cancel": {when: `{cancel: {upTo: 17, cancellation: Force}}`, may: "editor-stopper", refused: forceCancels},
	},
	"Rollout": {
		"a rollout":                                 {when: `{groupCount: 3, state: Running, approvalRequired: true, ` + strict + `}`, may: "editor editor-approver editor-stopper"},
		"a rollout that was stopped":                {when: `{state: Stopped, stopCancellation: Soft}`, may: "editor editor-approver editor-stopper"},
		"a rollout approved at creation":            {when: `{approval: {planHash: ` + plan + `}}`, may: "editor-approver", refused: approves},
		"a rollout with a resumedAt in the future":  {when: `{resumedAt: "2036-12-01T02:00:00Z"}`, may: "editor-approver", refused: resumes},
		"a rollout with stopCancellation Force":     {when: `{stopCancellation: Force}`, may: "editor-stopper", refused: raisesForce},
		"a rollout with deletionCancellation Soft":  {when: `{deletionCancellation: Soft}`, may: "editor editor-approver editor-stopper"},
		"a rollout with deletionCancellation Force": {when: `{deletionCancellation: Force}`, may: "editor-stopper", refused: deletedHard},
	},
}

func groups(items string) string { return `{groups: [` + items + `]}` }

// many returns 500 groups, of which the last has its own condition.
func many(last string) string {
	items := make([]string, 500)
	for i := range items {
		items[i] = fmt.Sprintf("{name: g%d}", i)
	}
	if last != "" {
		items[499] = "{name: g499, " + last + "}"
	}
	return `groups: [` + strings.Join(items, ", ") + `]`
}

func merged(tables ...map[string]edit) map[string]edit {
	all := map[string]edit{}
	for _, table := range tables {
		for name, edit := range table {
			if _, twice := all[name]; twice {
				panic("two edits are named " + name)
			}
			all[name] = edit
		}
	}
	return all
}

// refusal returns the message for a user, or "" if the user may make the edit.
func (d edit) refusal(person string) string {
	if slices.Contains(strings.Fields(d.may), person) {
		return ""
	}
	return d.refused
}

// A writeFunc writes a manifest. old is the manifest that was applied before, or nil.
type writeFunc func(t *testing.T, c client.Client, old, manifest *unstructured.Unstructured) error

var writeFuncs = map[string]writeFunc{
	"server-side apply": func(t *testing.T, c client.Client, _, manifest *unstructured.Unstructured) error {
		return serverSideApply(t.Context(), c, manifest)
	},
	"merge patch": func(t *testing.T, c client.Client, old, manifest *unstructured.Unstructured) error {
		if old == nil {
			return c.Create(t.Context(), manifest.DeepCopy())
		}
		return c.Patch(t.Context(), manifest.DeepCopy(), client.MergeFrom(old))
	},
}

func TestRightsForChanges(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for kind, edits := range updates {
		for name, edit := range edits {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				for by, writeFunc := range writeFuncs {
					for _, person := range writers[kind] {
						f.change(t, by, writeFunc, kind, person, edit)
					}
				}
			})
		}
	}
}

// change lets one user commit one edit of a new object, and checks that it is stored if and only if
// it is accepted.
func (f *fleet) change(t *testing.T, by string, writeFunc writeFunc, kind, person string, edit edit) {
	t.Helper()
	name := newName(kind)
	old := f.object(t, kind, name, orEmpty(edit.given))
	manifest := f.object(t, kind, name, orEmpty(edit.given), edit.when)
	f.give(t, old, edit.status)
	before := f.generation(t.Context(), t, old)
	f.wantSameOffline(t, old, manifest, person, edit.refusal(person))
	t.Run(by+" by "+person, func(t *testing.T) {
		f.wantRefused(t, writeFunc(t, f.as(t, person), old, manifest), person, edit.refusal(person))
		if changed := f.generation(t.Context(), t, old) != before; changed != (edit.refusal(person) == "") {
			t.Errorf("the object has changed: %t", changed)
		}
	})
}

func (f *fleet) generation(ctx context.Context, t *testing.T, object *unstructured.Unstructured) int64 {
	t.Helper()
	stored := object.DeepCopy()
	if err := f.admin.Get(ctx, client.ObjectKeyFromObject(object), stored); err != nil {
		t.Fatal(err)
	}
	return stored.GetGeneration()
}

func orEmpty(spec string) string {
	if spec == "" {
		return "{}"
	}
	return spec
}

func TestRightsForCreations(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for kind, edits := range creations {
		for name, edit := range edits {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				for by, writeFunc := range writeFuncs {
					for _, person := range creators {
						t.Run(by+" by "+person, func(t *testing.T) {
							manifest := f.object(t, kind, newName(kind), orEmpty(edit.when))
							f.wantSameOffline(t, nil, manifest, person, edit.refusal(person))
							f.wantRefused(t, writeFunc(t, f.as(t, person), nil, manifest), person, edit.refusal(person))
							err := f.admin.Get(t.Context(), client.ObjectKeyFromObject(manifest), manifest.DeepCopy())
							if created := !apierrors.IsNotFound(err); created != (edit.refusal(person) == "") {
								t.Errorf("the object exists: %t (%v)", created, err)
							}
						})
					}
				}
			})
		}
	}
}

// RBAC decides which of the four roles may write objects of which kind.
func TestRightsByRBACAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	may := map[string]map[string]string{
		"create": {"SoftwareModule": "editor", "DistributionSet": "editor", "Target": "editor", "Rollout": "editor", "AutoAssignment": "editor"},
		"patch":  {"SoftwareModule": "editor", "DistributionSet": "editor stopper", "Target": "editor stopper", "Rollout": "editor approver stopper", "AutoAssignment": "editor stopper"},
		"update": {"SoftwareModule": "editor", "DistributionSet": "editor stopper", "Target": "stopper", "Rollout": "editor approver stopper", "AutoAssignment": "editor stopper"},
		"delete": {"SoftwareModule": "editor", "DistributionSet": "editor", "Target": "editor", "Rollout": "editor", "AutoAssignment": "editor"},
		"status": {},
	}
	edits := map[string]func(c client.Client, kind string, there *unstructured.Unstructured) error{
		"create": func(c client.Client, kind string, _ *unstructured.Unstructured) error {
			return c.Create(t.Context(), f.object(t, kind, newName(kind)))
		},
		"patch": func(c client.Client, _ string, there *unstructured.Unstructured) error {
			return c.Patch(t.Context(), there, mergePatch(t, map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}}))
		},
		"update": func(c client.Client, _ string, there *unstructured.Unstructured) error {
			return c.Update(t.Context(), there)
		},
		"delete": func(c client.Client, _ string, there *unstructured.Unstructured) error {
			return c.Delete(t.Context(), there)
		},
		"status": func(c client.Client, _ string, there *unstructured.Unstructured) error {
			return c.Status().Patch(t.Context(), there, mergePatch(t, map[string]any{"status": map[string]any{"observedGeneration": 1}}))
		},
	}
	for verb, do := range edits {
		for kind := range smallest {
			t.Run(verb+" "+kind, func(t *testing.T) {
				t.Parallel()
				for _, person := range []string{"viewer", "editor", "approver", "stopper"} {
					there := f.object(t, kind, newName(kind))
					f.give(t, there, "")
					if err := f.as(t, person).Get(t.Context(), client.ObjectKeyFromObject(there), there); err != nil {
						t.Errorf("%s may not read: %v", person, err)
					}
					err := do(f.as(t, person), kind, there)
					if allowed := slices.Contains(strings.Fields(may[verb][kind]), person); allowed != (err == nil) || !allowed && !apierrors.IsForbidden(err) {
						t.Errorf("%s: allowed %t, error %v", person, allowed, err)
					}
				}
			})
		}
	}
}
