// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/proposal"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// maxPreviewAge is how old a proposal may be when it is applied.
const maxPreviewAge = time.Hour

// apply writes the change that the viewer has decided about, if it still is the one that was shown.
// Else it shows the present one, and what has changed.
func (a *actionRequest) apply() (content, error) {
	if a.viewer.Client == nil {
		return content{}, &problem{status: http.StatusForbidden, title: "Not allowed", message: "Changes need a login.", link: a.viewer.Login, linkText: "Log in"}
	}
	seen, err := previewedOf(a.form)
	if err != nil {
		return content{}, err
	}
	if seen.isApplied(a) {
		return content{}, &redirect{a.actionPath() + "/done"}
	}
	change, err := a.decide(seen)
	if err != nil {
		return a.explain(err)
	}
	if said := a.confirmed(change); said != nil {
		return a.page(said, nil)
	}
	err = a.write(seen, change)
	a.logResult(change, err)
	if err != nil {
		return a.explain(err)
	}
	return content{}, &redirect{a.actionPath() + "/done"}
}

// logResult logs the change that a viewer has applied, or why it was not written.
func (a *actionRequest) logResult(change *operation.Change, err error) {
	log := a.log.WithValues("kind", a.kind, "object", client.ObjectKeyFromObject(a.object), "operation", a.verb, "user", a.viewer.Name, "change", strings.Join(proposal.FieldLines(change), "; "))
	if err != nil {
		log.V(1).Info("A change of a user was not written", "reason", text.LimitBytes(err.Error(), maxRefusal))
		return
	}
	log.Info("Wrote a change of a user")
}

// explain returns the page after a change was not written.
func (a *actionRequest) explain(err error) (content, error) {
	var changed *changedError
	var refused *operation.Refusal
	var busy *proposal.BusyError
	var shown *problem
	switch {
	case errors.Is(err, errApplied):
		return content{}, &redirect{a.actionPath() + "/done"}
	case errors.As(err, &shown):
		return content{}, shown
	case errors.As(err, &changed):
		a.at = a.now // of the new proposal
		return a.page(&refusal{Status: http.StatusConflict, Title: "Nothing was written: the " + a.noun + " has changed since you looked", Fix: "Read the proposal again, and decide again."}, changed.what)
	case errors.As(err, &refused):
		return a.page(&refusal{Status: http.StatusConflict, Title: "Nothing was written", Message: text.Clean(refused.Error(), maxRefusal) + ".", Fix: "The " + a.noun + " has changed since you looked."}, nil)
	case errors.As(err, &busy):
		return a.page(&refusal{Status: http.StatusConflict, Title: "Nothing was written", Message: busy.Error() + ".", Fix: "Send it again."}, nil)
	}
	return a.page(refusalOf(err), nil)
}

// changedError says what has changed since the viewer looked.
type changedError struct{ what []string }

func (e *changedError) Error() string { return strings.Join(e.what, "; ") }

// errApplied says that the object has the new values already.
var errApplied = errors.New("the change is applied already")

// decide computes the change of the present object, and compares it with what the viewer has seen.
func (a *actionRequest) decide(seen *previewed) (*operation.Change, error) {
	if seen.isApplied(a) {
		return nil, errApplied
	}
	if a.isExpired() {
		return nil, &changedError{[]string{expired}}
	}
	change, err := a.compute()
	if err != nil {
		return nil, err
	}
	if what := seen.changes(a, change); len(what) > 0 {
		return nil, &changedError{what}
	}
	return change, nil
}

// expired says that a proposal is too old.
const expired = "The proposal was made more than an hour ago."

// isExpired reports whether the proposal is older than maxPreviewAge.
func (a *actionRequest) isExpired() bool {
	return a.params.Get("at") != a.at.UTC().Format(time.RFC3339Nano)
}

// isApplied reports whether the object has the new value of each field.
func (p *previewed) isApplied(a *actionRequest) bool {
	return (&operation.Change{Fields: p.Fields}).IsApplied(a.raw.Object)
}

// changes says what the decision depends on and has changed since. A stop or an invalidation
// depends on its fields only: it is not held up by what happens to the object meanwhile.
func (p *previewed) changes(a *actionRequest, change *operation.Change) []string {
	what := p.changedFields(change)
	if a.verb.IsEmergency() {
		return what
	}
	return append(what, p.changedState(a, change)...)
}

// changedFields says what would be written now, if that has changed.
func (p *previewed) changedFields(change *operation.Change) []string {
	var what []string
	if !(&operation.Change{Fields: p.Fields}).SameFields(change) {
		for _, line := range proposal.FieldLines(change) {
			what = append(what, "The change is now "+line+".")
		}
	}
	return what
}

// changedState says what has changed of the spec, the state and the failures.
func (p *previewed) changedState(a *actionRequest, change *operation.Change) []string {
	now := a.previewed(change)
	if p.ResourceVersion == now.ResourceVersion {
		return nil
	}
	var what []string
	if p.Generation != now.Generation {
		what = append(what, fmt.Sprintf("The spec was changed: from generation %d to %d.", p.Generation, now.Generation))
	}
	if a.kind != Targets && p.State != now.State {
		what = append(what, fmt.Sprintf("The state was %q, and is now %q.", p.State, now.State))
	}
	if (a.verb == operation.VerbResume || a.verb == operation.VerbAdvance) && now.Failed > p.Failed {
		what = append(what, fmt.Sprintf("%s had failed, and now %d have failed.", text.Count(p.Failed, "target"), now.Failed))
	}
	return what
}

// checkView is what has changed since a proposal was made.
type checkView struct {
	Changed []string
	// Present is the address of the present proposal.
	Present string
}

// check says what has changed since a proposal was made. It reads the caches only, because an open
// page asks after each change of the fleet.
func (a *actionRequest) check() (content, error) {
	seen, err := previewedOf(a.params)
	if err != nil {
		return content{}, err
	}
	v := checkView{Present: a.proposalPath()}
	change, err := a.compute()
	var refused *operation.Refusal
	switch {
	case a.isExpired():
		v.Changed = []string{expired}
	case a.raw.GetGeneration() < seen.Generation: // the caches do not have what the viewer has seen yet
	case seen.isApplied(a):
		v.Changed = []string{"The " + a.noun + " has these values now."}
	case errors.As(err, &refused):
		v.Changed = []string{"This is not possible any more: " + refused.Reason + "."}
	case err != nil:
		return content{}, err
	default:
		v.Changed = append(seen.changedFields(change), seen.changedState(a, change)...)
	}
	return content{Title: a.title(), Data: v}, nil
}

// previewedOf returns what the form of a proposal has about it.
func previewedOf(form url.Values) (*previewed, error) {
	p := &previewed{ResourceVersion: form.Get("resourceVersion"), State: form.Get("state")}
	var failed int64
	var errs [3]error
	p.Generation, errs[0] = strconv.ParseInt(form.Get("generation"), 10, 64)
	failed, errs[1] = strconv.ParseInt(form.Get("failed"), 10, 32)
	errs[2] = json.Unmarshal([]byte(form.Get("fields")), &p.Fields)
	p.Failed = int32(failed) //nolint:gosec // it was parsed with 32 bits
	if err := errors.Join(errs[:]...); err != nil || len(p.Fields) == 0 {
		return nil, badRequest("The form lacks what was proposed, so nothing was written.")
	}
	return p, nil
}

// confirmed returns what the viewer still has to confirm, or nil.
func (a *actionRequest) confirmed(change *operation.Change) *refusal {
	owners := operation.OwnersOf(a.object, change.Fields)
	switch typed := strings.TrimSpace(a.form.Get("confirm")); {
	case len(owners) > 0 && !a.verb.IsEmergency():
		return &refusal{Status: http.StatusConflict, Title: "Nothing was written: the field is locked", Message: fmt.Sprintf("%s owns %s.", owners[0].Tool, owners[0].Field), Fix: "Commit the manifest below."}
	case len(owners) > 0 && a.form.Get("owned") != "yes":
		return &refusal{Status: http.StatusUnprocessableEntity, Title: "Nothing was written: a confirmation is missing", Message: fmt.Sprintf("%s owns %s.", owners[0].Tool, owners[0].Field), Fix: "Confirm below that you commit the same change."}
	case needsName(a.verb, change) && typed != a.name():
		return &refusal{Status: http.StatusUnprocessableEntity, Title: "Nothing was written: a confirmation is missing", Message: fmt.Sprintf("%q was typed, not %q.", text.Clean(typed, 300), a.name()),
			Fix: "Type the name of the " + a.noun + "."}
	}
	return nil
}

// write writes the change as the viewer. After a conflict it decides again.
func (a *actionRequest) write(seen *previewed, change *operation.Change) error {
	ctx, cancel := context.WithTimeout(a.context(), actionTimeout)
	defer cancel()
	w := proposal.Write{Client: a.viewer.Client, Manager: fieldManager, Object: a.raw.DeepCopy(), Compute: func() (*operation.Change, error) { return a.decide(seen) }}
	w.Read = func(ctx context.Context) error {
		err := a.read(ctx)
		w.Object = a.raw.DeepCopy()
		return err
	}
	return w.Apply(ctx, change)
}

// dryRun returns what the API server says against a change, without writing it.
func (a *actionRequest) dryRun(change *operation.Change) *refusal {
	ctx, cancel := context.WithTimeout(a.context(), actionTimeout)
	defer cancel()
	data, err := json.Marshal(change.Patch())
	if err == nil {
		err = a.viewer.Client.Patch(ctx, a.raw.DeepCopy(), client.RawPatch(types.MergePatchType, data), client.FieldOwner(fieldManager), client.DryRunAll)
	}
	if err != nil {
		return refusalOf(err).beforeWrite()
	}
	return nil
}
