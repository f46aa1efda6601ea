// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// Invalidation is what the invalidation of a set would do, with each of its three types. It is
// computed by the rules of the controllers: package cancellation has the table, package rollout the
// effect on a rollout, and package action the effect on an action.
type Invalidation struct {
	Namespace string `json:"namespace"`
	// Set is the name of the DistributionSet, and Release its name, version and type.
	Set     string `json:"set"`
	Release string `json:"release"`
	// Invalidated says that the set is invalid already. Empty: it is valid.
	Invalidated string `json:"invalidated,omitempty"`
	// Rows are what is affected, with the effect of each type.
	Rows []InvalidationRow `json:"rows"`
	// Rollouts, AutoAssignments and Assignments are what uses the set. Assignments are the names of
	// targets whose own assignment has not started.
	Rollouts        []AffectedRollout        `json:"rollouts"`
	AutoAssignments []AffectedAutoAssignment `json:"autoAssignments"`
	Assignments     []string                 `json:"assignments"`
	// Devices are the devices with an open action of the set that has started.
	Devices AffectedDevices `json:"devices"`
	// Installed is the number of targets that run the set. Nothing changes for them.
	Installed int32 `json:"installed"`
	// Types are the rights that each type needs.
	Types []InvalidationType `json:"types"`
}

// InvalidationRow is one row of the table: some objects, and what each type does to them.
type InvalidationRow struct {
	What  string `json:"what"`
	Count int32  `json:"count"`
	None  string `json:"none"`
	Soft  string `json:"soft"`
	Force string `json:"force"`
	// Examples are the names of up to 3 of them.
	Examples []string `json:"examples,omitempty"`

	order int
}

// AffectedRollout is a rollout of the set.
type AffectedRollout struct {
	Name  string                `json:"name"`
	State v1alpha1.RolloutState `json:"state"`
	// Groups is the number of groups, and OpenGroups how many of them have opened.
	Groups     int32           `json:"groups"`
	OpenGroups int32           `json:"openGroups"`
	Targets    v1alpha1.Counts `json:"targets"`
	None       string          `json:"none"`
	Soft       string          `json:"soft"`
	Force      string          `json:"force"`
}

// AffectedAutoAssignment is an auto-assignment of the set.
type AffectedAutoAssignment struct {
	Name    string                         `json:"name"`
	State   v1alpha1.AutoAssignmentState   `json:"state"`
	Targets v1alpha1.AutoAssignmentTargets `json:"targets"`
	Effect  string                         `json:"effect"`
}

// AffectedDevices says how devices get a cancel.
type AffectedDevices struct {
	// Connected devices have a connection by MQTT: they get a cancel at once. Polling devices get
	// it with their next request.
	Connected int32 `json:"connected"`
	Polling   int32 `json:"polling"`
}

// InvalidationType is one type of an invalidation.
type InvalidationType struct {
	Cancellation   v1alpha1.Cancellation `json:"cancellation"`
	DeleteRollouts bool                  `json:"deleteRollouts,omitempty"`
	Rights         []operation.Right     `json:"rights"`
}

// Effects in the table, in addition to those of package cancellation.
const (
	noChange      = "no change"
	goOn          = "go on"
	deletedEffect = "deleted"
	canceled      = "canceled"
	notOffered    = "no longer offered"
	neverOpen     = "never open"
	neverStart    = "never start"
	refused       = "refused"
	heldBack      = "held until corrected"
)

// maxNames is the number of examples in a row.
const maxNames = 3

// InvalidationPreview computes an Invalidation. The rollouts have to be added before the targets.
type InvalidationPreview struct {
	set     *v1alpha1.DistributionSet
	deletes bool
	now     time.Time

	result Invalidation
	rows   map[string]*InvalidationRow
	// sources are the effects on the rollouts of the set, by their identity.
	sources map[types.UID][3]cancellation.Effect
	// pending are the rows of targets in open groups, by the effects on their rollouts.
	pending map[[3]cancellation.Effect]int32
}

// NewInvalidationPreview returns a preview without objects. deleteRollouts is for the type Force.
func NewInvalidationPreview(set *v1alpha1.DistributionSet, deleteRollouts bool, now time.Time) *InvalidationPreview {
	p := &InvalidationPreview{set: set, deletes: deleteRollouts, now: now, rows: map[string]*InvalidationRow{},
		sources: map[types.UID][3]cancellation.Effect{}, pending: map[[3]cancellation.Effect]int32{}}
	p.result = Invalidation{Namespace: set.Namespace, Set: set.Name, Release: releaseOf(set), Invalidated: operation.Invalidated(set),
		Rollouts: []AffectedRollout{}, AutoAssignments: []AffectedAutoAssignment{}, Assignments: []string{}}
	for _, c := range cancellation.Types {
		t := InvalidationType{Cancellation: c, DeleteRollouts: deleteRollouts && cancellation.Of(c).DeleteRollouts}
		t.Rights = operation.InvalidationRights(set.Name, c, t.DeleteRollouts)
		p.result.Types = append(p.result.Types, t)
	}
	return p
}

func releaseOf(set *v1alpha1.DistributionSet) string {
	return fmt.Sprintf("%s %s (%s)", set.Spec.Name, set.Spec.Version, set.Spec.Type)
}

// invalid returns the set as the rules see it after its invalidation.
func (p *InvalidationPreview) invalid(c v1alpha1.Cancellation) *eligibility.Set {
	return &eligibility.Set{Namespace: p.set.Namespace, Name: p.set.Name, ContentHash: p.set.Status.ContentHash, Invalidation: c,
		InvalidatedAt: p.now.Truncate(time.Second), DeleteRollouts: p.deletes && cancellation.Of(c).DeleteRollouts}
}

// add adds to a row of the table. Rows with the same effects are one row.
func (p *InvalidationPreview) add(order int, what string, cells [3]string, count int32, example string) {
	key := fmt.Sprintf("%03d %s %v", order, what, cells)
	row := p.rows[key]
	if row == nil {
		row = &InvalidationRow{What: what, None: cells[0], Soft: cells[1], Force: cells[2], order: order}
		p.rows[key] = row
	}
	row.Count += count
	if example != "" {
		row.Examples = append(row.Examples, example)
		slices.Sort(row.Examples)
		row.Examples = row.Examples[:min(len(row.Examples), maxNames)]
	}
}

// Orders of the rows.
const (
	orderAutoAssignments = 0
	orderRollouts        = 100
	orderGroups          = 200
	orderTargets         = 210
	orderPending         = 220
	orderAssignments     = 230
	orderActions         = 300
	orderInstalled       = 400
)

// addUnreadable adds an object that cannot be decoded. The controllers do not change it before it
// is corrected, and no device starts an update because of it. It may use any set.
func (p *InvalidationPreview) addUnreadable(order int, what, name string) {
	p.add(order, what+" that cannot be decoded, of any set", [3]string{heldBack, heldBack, heldBack}, 1, name)
}

// AddAutoAssignment adds an auto-assignment of the namespace.
func (p *InvalidationPreview) AddAutoAssignment(a *v1alpha1.AutoAssignment) {
	if a.Unreadable != nil {
		p.addUnreadable(orderAutoAssignments+1, "auto-assignments", a.Name)
		return
	}
	if a.Spec.Update.DistributionSet != p.set.Name || !a.DeletionTimestamp.IsZero() {
		return
	}
	state := cmp.Or(a.Status.State, v1alpha1.AutoAssignmentReady)
	var cells [3]string
	for i, c := range cancellation.Types {
		cells[i] = cancellation.Of(c).AutoAssignments.String()
		if state == v1alpha1.AutoAssignmentStopped {
			cells[i] = noChange
		}
	}
	p.add(orderAutoAssignments, "auto-assignments "+string(state), cells, 1, a.Name)
	p.result.AutoAssignments = append(p.result.AutoAssignments, AffectedAutoAssignment{Name: a.Name, State: state, Targets: operation.AutoTargets(a), Effect: cells[0]})
}

// AddRollout adds a rollout of the namespace.
func (p *InvalidationPreview) AddRollout(r *v1alpha1.Rollout) {
	if r.Unreadable != nil {
		p.addUnreadable(orderGroups-1, "rollouts", r.Name)
		return
	}
	if r.Spec.Update.DistributionSet != p.set.Name || !r.DeletionTimestamp.IsZero() {
		return
	}
	state, counts, open := cmp.Or(r.Status.State, v1alpha1.RolloutCreating), operation.CountsOf(r), int32(0)
	for _, g := range r.Status.Groups {
		if g.OpenedAt != nil {
			open++
		}
	}
	var effects [3]cancellation.Effect
	var cells [3]string
	for i, c := range cancellation.Types {
		effect, deletes := rollout.InvalidationEffect(r, p.invalid(c))
		effects[i], cells[i] = effect, effect.String()
		switch {
		case deletes:
			cells[i] = deletedEffect
		case state.IsOver(), state == v1alpha1.RolloutStopping && effect != cancellation.StopAtOnce:
			cells[i] = noChange
		}
	}
	p.sources[r.Identity()] = effects
	p.add(orderRollouts+stateOrder(state), "rollouts "+string(state), cells, 1, r.Name)
	p.result.Rollouts = append(p.result.Rollouts, AffectedRollout{Name: r.Name, State: state, Groups: int32(len(r.Status.Groups)), OpenGroups: open, Targets: counts,
		None: cells[0], Soft: cells[1], Force: cells[2]})
	if state.IsOver() || state == v1alpha1.RolloutStopping {
		return
	}
	if closed := int32(len(r.Status.Groups)) - open; closed > 0 {
		p.add(orderGroups, "groups that have not opened", cellsOf(effects, goOn, neverOpen), closed, "")
	}
	if counts.Scheduled > 0 {
		p.add(orderTargets, "targets in these groups", scheduledCells(effects), counts.Scheduled, "")
	}
	p.pending[effects] += counts.Pending
}

// stateOrder sorts the states of rollouts in the order of a rollout.
func stateOrder(s v1alpha1.RolloutState) int {
	return slices.Index([]v1alpha1.RolloutState{v1alpha1.RolloutCreating, v1alpha1.RolloutWaitingForApproval, v1alpha1.RolloutReady, v1alpha1.RolloutStarting,
		v1alpha1.RolloutRunning, v1alpha1.RolloutPaused, v1alpha1.RolloutStopping, v1alpha1.RolloutStopped, v1alpha1.RolloutFinished}, s) + 1
}

// cellsOf returns one text where the rollout goes on, and another where it does not.
func cellsOf(effects [3]cancellation.Effect, on, off string) [3]string {
	var cells [3]string
	for i, e := range effects {
		cells[i] = off
		if e == cancellation.Continue {
			cells[i] = on
		}
	}
	return cells
}

// scheduledCells are the cells of targets whose group has not opened: with a rollout that is
// refused they never start, and count as before; with one that is stopped they count as canceled.
func scheduledCells(effects [3]cancellation.Effect) [3]string {
	cells := cellsOf(effects, goOn, canceled)
	for i, e := range effects {
		if e == cancellation.Refuse {
			cells[i] = neverStart
		}
	}
	return cells
}

// AddTarget adds a target of the namespace.
func (p *InvalidationPreview) AddTarget(t *v1alpha1.Target) {
	if t.Unreadable != nil {
		p.addUnreadable(orderInstalled-1, "targets", t.Name)
		return
	}
	if i := t.Status.Installed; i != nil && i.ContentHash != "" && i.ContentHash == p.set.Status.ContentHash {
		p.result.Installed++
	}
	a := action.Open(&t.Status)
	ofSet := a != nil && a.DistributionSet == p.set.Name && !a.Removes()
	if ofSet {
		p.addAction(t, a)
	}
	if wanted := t.Spec.Assignment; wanted != nil && wanted.DistributionSet == p.set.Name && !p.isCarriedOut(t) {
		p.result.Assignments = append(p.result.Assignments, t.Name)
		p.add(orderAssignments, "assignments of single targets that have not started", [3]string{refused, refused, refused}, 1, t.Name)
	}
}

// isCarriedOut reports whether the target's own assignment has started, or is installed.
func (p *InvalidationPreview) isCarriedOut(t *v1alpha1.Target) bool {
	if i := t.Status.Installed; i != nil && i.ContentHash == p.set.Status.ContentHash && !t.Spec.Assignment.Reinstall {
		return true
	}
	seen := t.Status.Assignment
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if a.Source.Kind == v1alpha1.SourceTarget && seen != nil && seen.Since != nil && a.Source.Since.Equal(seen.Since) && !action.IsUnconfirmed(a) {
			return true
		}
	}
	return false
}

func (p *InvalidationPreview) addAction(t *v1alpha1.Target, a *v1alpha1.Action) {
	effects, isOfRollout := p.sources[a.Source.UID]
	var cells [3]string
	for i, c := range cancellation.Types {
		cells[i] = p.effectOnAction(t, a, c, effects[i], isOfRollout)
	}
	stage, order := stageOf(a)
	p.add(orderActions+order, "actions "+stage, cells, 1, t.Name)
	if !a.State.HasStarted() {
		if isOfRollout { // counted as pending in its group
			p.pending[effects]--
		}
		return
	}
	if online := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline); online != nil && eligibility.IsConnected(online) {
		p.result.Devices.Connected++
	} else {
		p.result.Devices.Polling++
	}
}

// effectOnAction returns what an invalidation does to an open action: what package action does to a
// copy of it. An action that waits for confirmation follows its source, as package cancellation
// says.
func (p *InvalidationPreview) effectOnAction(t *v1alpha1.Target, a *v1alpha1.Action, c v1alpha1.Cancellation, ofRollout cancellation.Effect, isOfRollout bool) string {
	if !a.State.HasStarted() && cancellation.Of(c).StartedActions == cancellation.Continue {
		if isOfRollout && ofRollout == cancellation.Continue {
			return goOn
		}
		return canceled
	}
	status := v1alpha1.TargetStatus{Actions: []v1alpha1.Action{*a.DeepCopy()}, NextActionID: t.Status.NextActionID}
	if !action.Cancel(&status, a.ID, v1alpha1.CauseInvalidated, c, p.now) {
		if a.State == v1alpha1.ActionCanceling {
			return noChange
		}
		return goOn
	}
	switch after := status.Actions[0].State; {
	case after == v1alpha1.ActionCanceling:
		return cancellation.Ask.String()
	case a.State.HasStarted():
		return cancellation.Close.String()
	default:
		return canceled
	}
}

// stageOf returns how far an action is, in words, and the place of its row.
func stageOf(a *v1alpha1.Action) (stage string, order int) {
	switch a.State {
	case v1alpha1.ActionWaitingForConfirmation:
		return "that wait for confirmation", 1
	case v1alpha1.ActionRetrieved:
		return "fetched, without a report", 2
	case v1alpha1.ActionRunning:
		return "running, without a stage", 3
	case v1alpha1.ActionDownloading:
		return "downloading", 4
	case v1alpha1.ActionDownloaded:
		return "downloaded", 5
	case v1alpha1.ActionInstalling, v1alpha1.ActionRemoving:
		return "installing", 6
	case v1alpha1.ActionCanceling:
		return "canceling for another cause", 7
	default:
		return "in state " + string(a.State), 8
	}
}

// Result returns the preview, sorted.
func (p *InvalidationPreview) Result() *Invalidation {
	for effects, n := range p.pending {
		if n > 0 {
			p.add(orderPending, "targets in open groups that have not started", cellsOf(effects, goOn, notOffered), n, "")
		}
	}
	p.pending = map[[3]cancellation.Effect]int32{}
	if n := p.result.Installed; n > 0 {
		p.add(orderInstalled, "targets that run the set", [3]string{noChange, noChange, noChange}, n, "")
	}
	result := p.result
	result.Rows = []InvalidationRow{}
	for _, row := range p.rows {
		result.Rows = append(result.Rows, *row)
	}
	slices.SortFunc(result.Rows, func(a, b InvalidationRow) int {
		return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.What, b.What), strings.Compare(a.None+a.Soft+a.Force, b.None+b.Soft+b.Force))
	})
	slices.SortFunc(result.Rollouts, func(a, b AffectedRollout) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(result.AutoAssignments, func(a, b AffectedAutoAssignment) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(result.Assignments)
	return &result
}

// Total returns how many of the objects in rows whose name starts with the prefix get one of these
// effects from a type.
func (i *Invalidation) Total(c v1alpha1.Cancellation, prefix string, effects ...string) int32 {
	var n int32
	for _, row := range i.Rows {
		if strings.HasPrefix(row.What, prefix) && slices.Contains(effects, row.Effect(c)) {
			n += row.Count
		}
	}
	return n
}

// Effect returns the effect of a type on the objects of the row.
func (r *InvalidationRow) Effect(c v1alpha1.Cancellation) string {
	switch c {
	case v1alpha1.CancellationNone:
		return r.None
	case v1alpha1.CancellationSoft:
		return r.Soft
	default:
		return r.Force
	}
}

// Sentences say what a type does, with numbers.
func (i *Invalidation) Sentences(c v1alpha1.Cancellation) []string {
	var out []string
	says := func(n int32, what, more string) {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s: %d%s.", what, n, more))
		}
	}
	const notStarted = "targets in"
	ask, closed := cancellation.Ask.String(), cancellation.Close.String()
	says(i.Total(c, "auto-assignments", cancellation.Stop.String()), "Auto-assignments that stop", "")
	says(i.Total(c, "rollouts", cancellation.Stop.String(), cancellation.StopAtOnce.String()), "Rollouts that stop", "")
	says(i.Total(c, "rollouts", deletedEffect), "Rollouts that stop and are deleted", "")
	says(i.Total(c, "rollouts", refused), "Rollouts that never start", "")
	says(i.Total(c, "rollouts", goOn), "Rollouts that go on", "")
	says(i.Total(c, notStarted, canceled, notOffered, neverStart), "Targets that have not started, and never start", "")
	says(i.Total(c, notStarted, goOn), "Targets that have not started, and may still start", "")
	says(i.Total(c, "assignments", refused), "Assignments of single targets that never start", "")
	says(i.Total(c, "actions", ask), "Devices that have started and are asked to cancel, which they may refuse", i.Devices.words())
	says(i.Total(c, "actions", closed), "Devices that have started and whose action is closed at once, so that they are inconsistent until their next success", i.Devices.words())
	says(i.Total(c, "actions", canceled), "Devices that wait for a confirmation, and are no longer asked", "")
	says(i.Total(c, "actions", goOn), "Devices that have started, and go on", "")
	if len(out) == 0 {
		out = append(out, "Nothing uses the set now: only new uses of it are refused.")
	}
	return out
}

// Affected returns how many targets a type keeps from starting or cancels.
func (i *Invalidation) Affected(c v1alpha1.Cancellation) int32 {
	return i.Total(c, "targets in", canceled, notOffered, neverStart) + i.Total(c, "actions", cancellation.Ask.String(), cancellation.Close.String(), canceled)
}

func (d AffectedDevices) words() string {
	return fmt.Sprintf(" (%d connected by MQTT get the cancel at once, %d with their next request)", d.Connected, d.Polling)
}
