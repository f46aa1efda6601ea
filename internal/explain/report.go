// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

// Report is the record of one rollout for an auditor: which programs wrote the manifest, the plan
// and its approval, every decision that is still known, and the results. It has no time of its own,
// so the same objects give the same report.
type Report struct {
	// Version is the version of this format.
	Version   int    `json:"version"`
	Namespace string `json:"namespace"`
	Rollout   string `json:"rollout"`
	UID       string `json:"uid"`
	// ArchivedAt is when the report was archived. Absent: it is of the objects of the cluster.
	ArchivedAt *metav1.Time `json:"archivedAt,omitempty"`
	// Update says in a few words what the rollout brings.
	Update string     `json:"update"`
	Set    *ReportSet `json:"set,omitempty"`
	// State is the state of the rollout, and Message the message of its condition Ready.
	State   v1alpha1.RolloutState `json:"state"`
	Message string                `json:"message,omitempty"`
	// Spec is the present spec.
	Spec v1alpha1.RolloutSpec `json:"spec"`
	// Origins are the objects of GitOps tools that apply the manifests, and Writers the programs
	// that have written fields of their specs, as far as managedFields has them.
	Origins []operation.Origin `json:"origins"`
	Writers []Writer           `json:"writers"`

	Plan     *v1alpha1.PlanStatus `json:"plan,omitempty"`
	Approval *ReportApproval      `json:"approval,omitempty"`
	Groups   []ReportGroup        `json:"groups"`
	Targets  v1alpha1.Counts      `json:"targets"`
	// Decisions are in the order of their times.
	Decisions []Decision `json:"decisions"`
	// Results are the results of the targets that exist, by result and code.
	Results []ReportResult `json:"results"`
	// Failed are the failed targets, at most those that were asked for. FailedTotal is the number
	// of all of them.
	Failed      []ReportFailure `json:"failed"`
	FailedTotal int             `json:"failedTotal"`
	// Gaps says what the report does not have.
	Gaps []string `json:"gaps"`
}

// reportVersion is Report.Version.
const reportVersion = 1

// ReportSet is the distribution set of the rollout.
type ReportSet struct {
	Name        string `json:"name"`
	Release     string `json:"release"`
	ContentHash string `json:"contentHash,omitempty"`
	// Modules are the names and versions of its modules, with the checksums of their files.
	Modules []ReportModule `json:"modules"`
	// Invalidation is the record of an invalidation.
	Invalidation *v1alpha1.InvalidationStatus `json:"invalidation,omitempty"`
}

// ReportModule is one module of the set.
type ReportModule struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Files   []string `json:"files,omitempty"`
}

// Writer is a program that has written fields of a spec.
type Writer struct {
	Object  string `json:"object"`
	Manager string `json:"manager"`
	// Tool is the GitOps tool that the manager belongs to, if it belongs to one.
	Tool string `json:"tool,omitempty"`
	// Operation is Apply or Update, and Time that of the last write.
	Operation string       `json:"operation"`
	Time      *metav1.Time `json:"time,omitempty"`
	Fields    []string     `json:"fields"`
}

// ReportApproval is the approval of the plan.
type ReportApproval struct {
	PlanHash string `json:"planHash"`
	// OfThisPlan reports whether it is the hash of the plan above.
	OfThisPlan bool `json:"ofThisPlan"`
	// Writers are the field managers that own the field, with the time of their last write.
	Writers []string `json:"writers"`
}

// ReportGroup is one group.
type ReportGroup struct {
	Name     string              `json:"name"`
	State    v1alpha1.GroupState `json:"state"`
	OpenedAt *metav1.Time        `json:"openedAt,omitempty"`
	// Conditions are those at the time of the plan. Absent: the DeploymentGroup does not exist.
	Conditions *v1alpha1.GroupConditions `json:"conditions,omitempty"`
	Targets    v1alpha1.Counts           `json:"targets"`
}

// Decision is something that was decided or requested, and when.
type Decision struct {
	Time metav1.MicroTime `json:"time"`
	// Source is where it is recorded: metadata, status, condition, managedFields or event.
	Source string `json:"source"`
	// Object is the object that has the record, such as "Rollout firmware-2-1".
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// ReportResult counts targets with the same result.
type ReportResult struct {
	Result  string `json:"result"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Count   int    `json:"count"`
	// Examples are up to 3 names.
	Examples []string `json:"examples,omitempty"`
}

// ReportFailure is one failed target.
type ReportFailure struct {
	Target   string       `json:"target"`
	Group    string       `json:"group"`
	Code     string       `json:"code,omitempty"`
	Message  string       `json:"message,omitempty"`
	Attempts int32        `json:"attempts,omitempty"`
	At       *metav1.Time `json:"at,omitempty"`
	// Inconsistent is true if it is not certain what runs on the device.
	Inconsistent bool `json:"inconsistent,omitempty"`
}

// ReportWorld has the objects of a report, without the targets.
type ReportWorld struct {
	Rollout *v1alpha1.Rollout
	// Set is nil if it does not exist. Modules are in the order of its spec; a module that does not
	// exist is nil.
	Set     *v1alpha1.DistributionSet
	Modules []*v1alpha1.SoftwareModule
	Groups  []*v1alpha1.DeploymentGroup
	Events  []ReportEvent
	// Unread are sentences about objects that could not be read.
	Unread []string
	// MaxFailed is how many failed targets are listed. 0: all.
	MaxFailed int
}

// ReportEvent is a Kubernetes event about the rollout or its set.
type ReportEvent struct {
	Time    time.Time
	Object  string
	Reason  string
	Message string
	// Count is how often it happened; 0 and 1 stand for once.
	Count int32
}

// ReportBuilder makes a Report. The targets are added one by one, and are not kept.
type ReportBuilder struct {
	world   ReportWorld
	results *resultCounter
}

// NewReport returns a builder without targets.
func NewReport(world ReportWorld) *ReportBuilder {
	world.Groups = slices.Clone(world.Groups)
	slices.SortFunc(world.Groups, func(a, b *v1alpha1.DeploymentGroup) int { return int(a.Spec.Index - b.Spec.Index) })
	return &ReportBuilder{world: world, results: newResultCounter(&world)}
}

// AddTarget adds a target of the namespace.
func (b *ReportBuilder) AddTarget(t *v1alpha1.Target) { b.results.add(t) }

// Result returns the report.
func (b *ReportBuilder) Result() *Report {
	r, w := b.world.Rollout, &b.world
	report := &Report{
		Version: reportVersion, Namespace: r.Namespace, Rollout: r.Name, UID: string(r.Identity()), Update: cmp.Or(r.Status.Update, r.Spec.Update.Subject()), State: cmp.Or(r.Status.State, v1alpha1.RolloutCreating), Spec: *r.Spec.DeepCopy(),
		Plan: r.Status.Plan.DeepCopy(), Origins: []operation.Origin{}, Writers: []Writer{}, Groups: []ReportGroup{}, Targets: operation.CountsOf(r),
		Decisions: decisionsOf(w), Results: b.results.lines(), Gaps: []string{},
	}
	for _, c := range r.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			report.Message = c.Message
		}
	}
	report.addWriters(w)
	report.Set = reportSetOf(w)
	report.addGroups(w)
	report.Failed, report.FailedTotal = b.results.failed(w.MaxFailed)
	report.Gaps = append(report.Gaps, gapsOf(w, report, b.results)...)
	return report
}

func (report *Report) addWriters(w *ReportWorld) {
	report.Origins = append(report.Origins, operation.OriginsOf(w.Rollout)...)
	report.Writers = append(report.Writers, writersOf("Rollout "+w.Rollout.Name, w.Rollout)...)
	if approval := w.Rollout.Spec.Approval; approval != nil {
		report.Approval = &ReportApproval{PlanHash: approval.PlanHash, OfThisPlan: report.Plan != nil && report.Plan.Hash == approval.PlanHash, Writers: []string{}}
		for _, writer := range report.Writers {
			if slices.Contains(writer.Fields, "spec.approval") {
				report.Approval.Writers = append(report.Approval.Writers, writer.Manager+timeWords(writer.Time))
			}
		}
	}
	if w.Set != nil {
		for _, origin := range operation.OriginsOf(w.Set) {
			if !slices.Contains(report.Origins, origin) {
				report.Origins = append(report.Origins, origin)
			}
		}
		report.Writers = append(report.Writers, writersOf("DistributionSet "+w.Set.Name, w.Set)...)
	}
}

func timeWords(at *metav1.Time) string {
	if at == nil {
		return ""
	}
	return " at " + at.UTC().Format(time.RFC3339)
}

// writersOf returns the programs that have written fields of the spec of an object.
func writersOf(name string, o metav1.Object) []Writer {
	var writers []Writer
	for _, entry := range o.GetManagedFields() {
		fields := operation.SpecFields(&entry)
		if len(fields) == 0 {
			continue
		}
		writers = append(writers, Writer{Object: name, Manager: entry.Manager, Tool: operation.ToolOf(entry.Manager), Operation: string(entry.Operation), Time: entry.Time, Fields: fields})
	}
	slices.SortFunc(writers, func(a, b Writer) int {
		return strings.Compare(a.Manager+a.Operation+timeWords(a.Time), b.Manager+b.Operation+timeWords(b.Time))
	})
	return writers
}

func reportSetOf(w *ReportWorld) *ReportSet {
	if w.Set == nil {
		return nil
	}
	set := &ReportSet{Name: w.Set.Name, Release: releaseOf(w.Set), ContentHash: w.Set.Status.ContentHash, Modules: []ReportModule{}, Invalidation: w.Set.Status.Invalidation.DeepCopy()}
	for i, m := range w.Modules {
		if m == nil {
			set.Modules = append(set.Modules, ReportModule{Name: w.Set.Spec.Modules[i].Name, Version: "(does not exist)"})
			continue
		}
		module := ReportModule{Name: m.Spec.Name, Version: m.Spec.Version}
		for _, file := range m.Spec.Artifacts {
			module.Files = append(module.Files, fmt.Sprintf("%s sha256:%s", file.FileName, file.Checksums.SHA256))
		}
		set.Modules = append(set.Modules, module)
	}
	return set
}

func (report *Report) addGroups(w *ReportWorld) {
	for _, status := range w.Rollout.Status.Groups {
		group := ReportGroup{Name: status.Name, State: status.State, OpenedAt: status.OpenedAt, Targets: status.Counts}
		for _, object := range w.Groups {
			if object.Spec.Group == status.Name {
				group.Conditions = &object.Spec.Conditions
			}
		}
		report.Groups = append(report.Groups, group)
	}
}
