// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/proposal"
)

// actionView is the page that proposes an action.
type actionView struct {
	// Title is the action in words, such as "Stop rollout firmware-2-1".
	Title string
	// Noun is the kind in words.
	Noun, Namespace, Name, ObjectPath string
	Verb                              operation.Verb
	// State is the present state of the object, in a few words.
	State string
	// Said is what prevented the change that the viewer has sent. nil: none was sent.
	Said *refusal
	// Changed says what has changed since the viewer looked.
	Changed []string
	// NotPossible says why the action makes no sense now, and Actions are the others.
	NotPossible, NotPossibleFix string
	Actions                     actionsView

	// Types, Groups and Failures are what the viewer chooses from. IsChosen is true if a proposal
	// follows.
	Types          []typeChoice
	Groups         []groupChoice
	Failures       []failureChoice
	Reason         string
	DeleteRollouts bool
	IsChosen       bool

	// Invalidation is what uses the set.
	Invalidation *explain.Invalidation
	Affected     affectedView
	// Counts are those of a rollout, and Plan the groups of the plan to approve.
	Counts *v1alpha1.Counts
	Plan   []v1alpha1.GroupStatus
	// Change has the fields, the effect and the rights.
	Change *operation.Change
	Fields []fieldView
	// Patch, Kubectl and Plugin are the same change for a terminal. Manifest is the object as it
	// should be in Git, and Download its address.
	Patch, Kubectl, Plugin, Manifest, Download string
	// ManifestURL is where the manifest can be edited in Git, if the object names it.
	ManifestURL string
	// Owners say which GitOps tools own a changed field. IsLocked is true if the console does not
	// write the field because of that.
	Owners   []string
	Origins  []operation.Origin
	IsLocked bool
	// Rights are the rights that are needed.
	Rights []rightView
	Apply  applyView
}

// typeChoice is a type of a stop or of an invalidation.
type typeChoice struct {
	Type     v1alpha1.Cancellation
	Words    operation.TypeWords
	IsChosen bool
	// Effect says what it does now, with numbers. Refused says why it is not possible.
	Effect  []string
	Refused string
	// May is "yes", "no" or "" if that is not known.
	May string
}

// groupChoice is a group that an advance can open.
type groupChoice struct {
	Name     string
	Targets  int32
	IsChosen bool
}

// failureChoice is a kind of failure that a retry can select.
type failureChoice struct {
	// Field is the name of the parameter, and Value its value.
	Field, Value string
	Count        int32
	IsChosen     bool
}

// fieldView is one field that changes.
type fieldView struct{ Path, Old, New string }

// rightView is one right that is needed.
type rightView struct {
	Right string
	// May is "yes", "no" or "" if that is not known.
	May  string
	Role string
}

// affectedView is what an action reaches.
type affectedView struct {
	Devices []affectedRow
	Others  []relatedRow
	// OthersTitle says what the others are.
	OthersTitle string
}

type affectedRow struct {
	What  string
	Count int32
	Path  string
}

type relatedRow struct{ Kind, Name, Path, Message string }

// applyView is the form that applies the change, or why there is none.
type applyView struct {
	// WhyNot says why the change cannot be applied here. Empty: it can.
	WhyNot, Login string
	// DryRun is what the API server says against the change. nil: it accepts it, or was not asked.
	DryRun *refusal
	// Path is where the form is sent, and Hidden has its fields.
	Path   string
	Hidden []hidden
	// NeedsName is true if the name has to be typed, and NeedsOwned if the viewer has to confirm
	// that a GitOps tool owns the field. Typed is what was typed.
	NeedsName, NeedsOwned bool
	Typed                 string
	Button                string
	IsEmergency           bool
}

// CanApply reports whether the page has the form.
func (v applyView) CanApply() bool { return v.WhyNot == "" && v.DryRun == nil }

type hidden struct{ Name, Value string }

// titles are the actions in words, before the name of the object.
var titles = map[operation.Verb]string{
	operation.VerbApprove: "Approve the plan of", operation.VerbWithdrawApproval: "Withdraw the approval of", operation.VerbStart: "Start", operation.VerbPause: "Pause", operation.VerbResume: "Resume",
	operation.VerbAdvance: "Open the next group of", operation.VerbRetry: "Retry failed targets of", operation.VerbStop: "Stop", operation.VerbInvalidate: "Invalidate",
	operation.VerbHold: "Hold", operation.VerbRelease: "Release",
}

func (a *actionRequest) title() string {
	return fmt.Sprintf("%s %s %s", titles[a.verb], a.noun, a.name())
}

// propose is the page of the proposal.
func (a *actionRequest) propose() (content, error) { return a.page(nil, nil) }

// page returns the page of the proposal. said is what prevented a change that was sent, and changed
// what has changed since it was proposed.
func (a *actionRequest) page(said *refusal, changed []string) (content, error) {
	v := &actionView{Title: a.title(), Noun: a.noun, Namespace: a.path("namespace"), Name: a.name(), ObjectPath: a.objectPath(), Verb: a.verb, Said: said, Changed: changed,
		IsChosen: a.isChosen, Reason: a.wanted.Reason, DeleteRollouts: a.wanted.DeleteRollouts}
	c := content{Title: v.Title, Data: v}
	if said != nil {
		c.Status = said.Status
	}
	a.choices(v)
	if set, ok := a.object.(*v1alpha1.DistributionSet); ok {
		v.Invalidation = a.previewInvalidation(set)
	}
	change, err := a.compute()
	var refused *operation.Refusal
	switch {
	case errors.As(err, &refused):
		v.State, v.NotPossible, v.NotPossibleFix = "", refused.Reason, refused.Fix
		v.Actions, v.IsChosen = actionsOf(a.object), false
		return c, nil
	case err != nil:
		return c, err
	}
	v.State = change.State
	if a.kind == DistributionSets {
		v.State = "valid"
	}
	if !a.isChosen {
		return c, nil
	}
	if err := a.fill(v, change); err != nil {
		return c, err
	}
	c.Check, err = a.checkPath(change)
	return c, err
}

// checkPath returns the address that says what has changed since this proposal. It is empty if it
// would be too long.
func (a *actionRequest) checkPath(change *operation.Change) (string, error) {
	query := a.values()
	seen, err := a.previewed(change).form()
	for name, value := range seen {
		query.Set(name, value)
	}
	path := a.actionPath() + "/check?" + query.Encode()
	if err != nil || len(path) > maxAddress {
		return "", err
	}
	return path, nil
}

// proposalPath returns the address of a new proposal with the same parameters.
func (a *actionRequest) proposalPath() string {
	query := a.values()
	query.Del("at")
	for name, values := range query {
		if len(values) == 0 || values[0] == "" {
			query.Del(name)
		}
	}
	if len(query) == 0 {
		return a.actionPath()
	}
	return a.actionPath() + "?" + query.Encode()
}

// fill adds the proposal for a change.
func (a *actionRequest) fill(v *actionView, change *operation.Change) error {
	switch o := a.object.(type) {
	case *v1alpha1.Rollout:
		counts := operation.CountsOf(o)
		v.Counts = &counts
		if a.verb == operation.VerbApprove {
			v.Plan = o.Status.Groups[:min(len(o.Status.Groups), maxChoices)]
		}
	case *v1alpha1.DistributionSet:
		change.Targets = v.Invalidation.Affected(a.wanted.Cancellation)
		change.Effect = append(v.Invalidation.Sentences(a.wanted.Cancellation), change.Effect...)
	}
	p, err := proposal.Of(change, a.object)
	if err != nil {
		return err
	}
	v.Change, v.Kubectl, v.Plugin, v.Origins = change, p.Kubectl, a.wanted.Command(change)+" --apply", p.Origins
	for _, f := range change.Fields {
		v.Fields = append(v.Fields, fieldView{Path: f.Path, Old: proposal.ValueText(f.Old), New: proposal.ValueText(f.New)})
	}
	if v.Patch, err = proposal.Part(change); err != nil {
		return err
	}
	if v.Manifest, err = proposal.Manifest(a.raw, change); err != nil {
		return err
	}
	v.Download, v.ManifestURL = a.actionPath()+"/manifest.yaml?"+a.values().Encode(), p.ManifestURL
	for _, sentence := range p.OwnerSentences() {
		v.Owners = append(v.Owners, sentence+".")
	}
	if len(v.Owners) > 0 {
		v.IsLocked = !a.verb.IsEmergency()
		v.Plugin += " --force"
	}
	v.Affected = a.affected()
	unknown := a.askRights(change.Rights)
	for _, right := range change.Rights {
		v.Rights = append(v.Rights, rightView{Right: right.String(), May: mayText(right.Allowed), Role: right.Role})
	}
	v.Apply, err = a.applyView(v, change, unknown)
	return err
}

// applyView returns the form that applies a change, or why the viewer cannot apply it here.
func (a *actionRequest) applyView(v *actionView, change *operation.Change, unknown error) (applyView, error) {
	apply := applyView{Path: a.actionPath(), IsEmergency: a.verb.IsEmergency(), Button: v.Title + " now", NeedsOwned: len(v.Owners) > 0 && !v.IsLocked,
		NeedsName: needsName(a.verb, change), Typed: a.params.Get("confirm")}
	missing := operation.Missing(change.Rights)
	switch {
	case a.viewer.Anonymous || a.viewer.Client == nil:
		apply.WhyNot, apply.Login = "You are not logged in, and a viewer without a login cannot change anything.", a.viewer.Login
	case unknown != nil:
		apply.WhyNot = "The API server did not say whether you may do this: " + refusalOf(unknown).Message + " Load the page again."
	case len(missing) > 0:
		apply.WhyNot = fmt.Sprintf("%s may not do this: a right is missing.", a.viewer.displayName())
	case v.IsLocked:
		apply.WhyNot = "A field of this change is locked. Commit the manifest instead."
	default:
		apply.DryRun = a.dryRun(change)
	}
	for name, values := range a.values() {
		for _, value := range values {
			if value != "" {
				apply.Hidden = append(apply.Hidden, hidden{name, value})
			}
		}
	}
	seen, err := a.previewed(change).form()
	if err != nil {
		return apply, err
	}
	for name, value := range seen {
		apply.Hidden = append(apply.Hidden, hidden{name, value})
	}
	slices.SortFunc(apply.Hidden, func(x, y hidden) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Value, y.Value)) })
	return apply, nil
}

// needsName reports whether a person has to type the name of the object before a change is written.
func needsName(verb operation.Verb, change *operation.Change) bool {
	return verb == operation.VerbInvalidate || change.Forced
}

func mayText(allowed *bool) string {
	switch {
	case allowed == nil:
		return ""
	case *allowed:
		return "yes"
	default:
		return "no"
	}
}

// askRights asks for the rights of the viewer. Those of an anonymous viewer do not matter.
func (a *actionRequest) askRights(rights []operation.Right) error {
	if a.viewer.Anonymous {
		return nil
	}
	for i := range rights {
		d, err := a.viewer.Authorizer.May(a.context(), Access{Verb: rights[i].Verb, Resource: Kind(rights[i].Resource), Namespace: a.path("namespace"), Name: rights[i].Name})
		if err != nil {
			return err
		}
		rights[i].Allowed = &d.Allowed
	}
	return nil
}

// choices adds what the viewer can choose.
func (a *actionRequest) choices(v *actionView) {
	r, _ := a.object.(*v1alpha1.Rollout)
	switch a.verb {
	case operation.VerbStop, operation.VerbInvalidate:
		for _, kind := range cancellation.Types {
			v.Types = append(v.Types, a.typeChoice(kind))
		}
	case operation.VerbAdvance:
		for _, g := range r.Status.Groups {
			if g.OpenedAt == nil && len(v.Groups) < maxChoices {
				v.Groups = append(v.Groups, groupChoice{Name: g.Name, Targets: g.Targets, IsChosen: g.Name == a.wanted.To})
			}
		}
	case operation.VerbRetry:
		for _, f := range r.Status.Failures {
			c := failureChoice{Field: "code", Value: f.StatusCode, Count: f.Count}
			if f.StatusCode == "" {
				c.Field, c.Value = "message", f.Message
			}
			c.IsChosen = c.Field == "code" && slices.Contains(a.wanted.Codes, c.Value) || c.Field == "message" && slices.Contains(a.wanted.Messages, c.Value)
			v.Failures = append(v.Failures, c)
		}
	default:
	}
}

func (a *actionRequest) typeChoice(kind v1alpha1.Cancellation) typeChoice {
	c := typeChoice{Type: kind, Words: operation.WordsOf(a.verb, kind), IsChosen: a.isChosen && a.wanted.Cancellation == kind}
	q := a.wanted
	q.Cancellation, q.DeleteRollouts = kind, a.wanted.DeleteRollouts && cancellation.Of(kind).DeleteRollouts
	change, err := q.On(a.object, a.at)
	var refused *operation.Refusal
	if errors.As(err, &refused) {
		c.Refused = refused.Reason
	}
	if err != nil {
		return c
	}
	if a.verb == operation.VerbStop {
		c.Effect = change.Effect
	}
	if a.askRights(change.Rights) == nil && !a.viewer.Anonymous {
		may := len(operation.Missing(change.Rights)) == 0
		c.May = mayText(&may)
	}
	return c
}

// previewInvalidation returns what the invalidation of a set would do, as far as the viewer may see
// it.
func (a *actionRequest) previewInvalidation(set *v1alpha1.DistributionSet) *explain.Invalidation {
	key := fmt.Sprintf("%s/%s %t %s", set.Namespace, set.Name, a.wanted.DeleteRollouts, a.scope.key())
	return a.previews.get(key, set.ResourceVersion, a.now, func() *explain.Invalidation {
		preview := explain.NewInvalidationPreview(set, a.wanted.DeleteRollouts, a.now)
		if a.sees(AutoAssignments, set.Namespace) {
			for _, o := range a.index.AutoAssignments(set.Namespace) {
				preview.AddAutoAssignment(o)
			}
		}
		if a.sees(Rollouts, set.Namespace) {
			for _, o := range a.index.Rollouts(set.Namespace) {
				preview.AddRollout(o)
			}
		}
		if a.sees(Targets, set.Namespace) {
			for _, o := range a.index.AllTargets() {
				if o.Namespace == set.Namespace {
					preview.AddTarget(o)
				}
			}
		}
		return preview.Result()
	})
}

const (
	// maxPreviews is the maximum number of previews that are kept.
	maxPreviews = 32
	// previewLifetime is how long a preview is used.
	previewLifetime = 2 * time.Second
)

// previews keeps the newest previews of invalidations for a moment, and computes one at a time: a
// preview reads all targets of its namespace, and viewers without a login can ask for it.
type previews struct {
	mu      sync.Mutex
	entries map[string]preview
}

type preview struct {
	version string
	at      time.Time
	result  *explain.Invalidation
}

// get returns the preview with that key, of this version of the set. It must not be changed.
func (p *previews) get(key, version string, now time.Time, compute func() *explain.Invalidation) *explain.Invalidation {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept, ok := p.entries[key]; ok && kept.version == version && now.Sub(kept.at).Abs() < previewLifetime {
		return kept.result
	}
	if p.entries == nil || len(p.entries) >= maxPreviews {
		p.entries = map[string]preview{}
	}
	p.entries[key] = preview{version: version, at: now, result: compute()}
	return p.entries[key].result
}

// affected returns what the action reaches, as far as the viewer may see it.
func (a *actionRequest) affected() affectedView {
	var v affectedView
	found := explain.AffectedBy(a.index, a.indexed(), a.verb, a.now)
	for _, d := range found.Devices {
		row := affectedRow{What: d.What, Count: d.Count}
		if d.Bucket != "" && d.Count > 0 {
			row.Path = a.objectPath() + "/targets?bucket=" + d.Bucket
		}
		v.Devices = append(v.Devices, row)
	}
	for _, o := range found.Others {
		kind := map[string]Kind{"Rollout": Rollouts, "AutoAssignment": AutoAssignments, "Target": Targets}[o.Kind]
		if kind == "" || !a.sees(kind, a.path("namespace")) {
			continue
		}
		v.Others = append(v.Others, relatedRow{Kind: o.Kind, Name: o.Name, Path: objectPath(kind, a.path("namespace"), o.Name), Message: o.Message})
	}
	v.OthersTitle = "The same set also comes from these objects, which the action does not change. To stop the set everywhere, invalidate it."
	if a.kind == Targets {
		v.OthersTitle = "Updates that the target can still get"
	}
	return v
}

// indexed returns the object of the index, because it has what belongs to the others of the index.
func (a *actionRequest) indexed() client.Object {
	key := types.NamespacedName{Namespace: a.path("namespace"), Name: a.name()}
	if t := a.index.Target(key); a.kind == Targets && t != nil {
		return t
	}
	return a.object
}

// download is returned by a page that is a file.
type download struct {
	name string
	body []byte
}

func (d *download) Error() string { return "download of " + d.name }

func (d *download) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(d.body)))
	_, _ = w.Write(d.body)
}

// proposedManifest is the manifest of the object after the change.
func (a *actionRequest) proposedManifest() (content, error) {
	change, err := a.compute()
	var refused *operation.Refusal
	switch {
	case errors.As(err, &refused):
		return content{}, &problem{status: http.StatusConflict, title: "Not possible now", message: refused.Error() + ".", fix: "Load the page of the action again.", link: a.actionPath(), linkText: a.title()}
	case err != nil:
		return content{}, err
	}
	return a.manifest(change)
}

// presentManifest is the manifest of the object as it is.
func (a *actionRequest) presentManifest() (content, error) { return a.manifest(nil) }

func (a *actionRequest) manifest(change *operation.Change) (content, error) {
	manifest, err := proposal.Manifest(a.raw, change)
	if err != nil {
		return content{}, err
	}
	return content{}, &download{name: fileName(a.name()), body: []byte(manifest)}
}

// fileName returns the name of a file for an object. Names of objects have only characters that are
// possible in a header, and everything else is removed.
func fileName(name string) string {
	kept := []rune{}
	for _, r := range name {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			kept = append(kept, r)
		}
	}
	return string(kept) + ".yaml"
}

// notSet is the value of a field that is not set.
var notSet = proposal.ValueText(nil)

// doneView is the page about what was written.
type doneView struct {
	Title, Noun, Namespace, Name, ObjectPath string
	Fields                                   []writtenField
	// IsWritten is true if the console wrote one of the fields last, or if it has removed them.
	// IsOther is true if all fields were written by others.
	IsWritten, IsOther bool
	// Reverted names the tools that have written a field since.
	Reverted                        []string
	Origins                         []operation.Origin
	Manifest, Download, ManifestURL string
}

// writtenField is a field with what wrote it last.
type writtenField struct {
	Path, Value string
	// Writer is nil if the field is not set, or if its writer is not known.
	Writer *operation.Writer
}

// done is the page after a change was written: the fields as they are now, and what wrote them.
func (a *actionRequest) done() (content, error) {
	v := doneView{Title: a.title() + ": result", Noun: a.noun, Namespace: a.path("namespace"), Name: a.name(), ObjectPath: a.objectPath(), Origins: operation.OriginsOf(a.object),
		Download: a.actionPath() + "/done/manifest.yaml", ManifestURL: operation.ManifestURLOf(a.object)}
	tools := map[string]bool{}
	for _, path := range operation.FieldsOf(a.verb) {
		f := writtenField{Path: path, Value: notSet}
		if value, found := operation.ValueAt(a.raw.Object, path); found {
			f.Value = proposal.ValueText(value)
		}
		if writer, found := operation.WriterOf(a.object, path); found {
			f.Writer = &writer
			v.IsWritten, v.IsOther = v.IsWritten || writer.Manager == fieldManager, true
			if writer.Tool != "" {
				tools[fmt.Sprintf("%s has written %s since.", writer.Tool, path)] = true
			}
		}
		v.Fields = append(v.Fields, f)
	}
	v.IsWritten = v.IsWritten || a.verb == operation.VerbWithdrawApproval && v.Fields[0].Value == notSet
	v.IsOther = v.IsOther && !v.IsWritten
	v.Reverted = slices.Sorted(maps.Keys(tools))
	var err error
	v.Manifest, err = proposal.Manifest(a.raw, nil)
	return content{Title: v.Title, Data: v}, err
}

// previewed is what a viewer has decided about: it is in the form that applies the change.
type previewed struct {
	// ResourceVersion is the version of the object.
	ResourceVersion string
	Generation      int64
	// State is the state of the object in words.
	State string
	// Failed is how many targets of a rollout had failed.
	Failed int32
	Fields []operation.Field
}

func (a *actionRequest) previewed(change *operation.Change) *previewed {
	p := &previewed{ResourceVersion: a.raw.GetResourceVersion(), Generation: a.raw.GetGeneration(), State: change.State, Fields: change.Fields}
	if r, ok := a.object.(*v1alpha1.Rollout); ok {
		p.Failed = operation.CountsOf(r).Failed
	}
	return p
}

// form returns the fields of the form.
func (p *previewed) form() (map[string]string, error) {
	fields, err := json.Marshal(p.Fields)
	return map[string]string{"resourceVersion": p.ResourceVersion, "generation": strconv.FormatInt(p.Generation, 10), "state": p.State, "failed": strconv.Itoa(int(p.Failed)), "fields": string(fields)}, err
}
