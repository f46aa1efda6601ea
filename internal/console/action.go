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
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// fieldManager is the manager of the fields that the console writes.
const fieldManager = "goshawk-console"

// maxRefusal is the maximum length of a sentence of the API server about a change, in characters.
const maxRefusal = 8000

// actionTimeout is the maximum time of a request to the API server.
const actionTimeout = 10 * time.Second

// actionKinds are the kinds with actions, each with the kinds that its pages show.
var actionKinds = []struct {
	kind  Kind
	shows []Kind
	// noun is the kind in a sentence.
	noun  string
	empty func() client.Object
}{
	{Rollouts, []Kind{Rollouts, AutoAssignments}, "rollout", func() client.Object { return &v1alpha1.Rollout{} }},
	{DistributionSets, []Kind{DistributionSets, Rollouts, AutoAssignments, Targets}, "set", func() client.Object { return &v1alpha1.DistributionSet{} }},
	{Targets, []Kind{Targets, Rollouts, DeploymentGroups, AutoAssignments, DistributionSets, SoftwareModules}, "target", func() client.Object { return &v1alpha1.Target{} }},
	{AutoAssignments, []Kind{AutoAssignments, Rollouts}, "auto-assignment", func() client.Object { return &v1alpha1.AutoAssignment{} }},
}

// actionPages returns the pages of all actions. For each kind: the proposal, the form that applies
// it, what has changed since the proposal was made, what was written, and the manifest of both for
// a commit.
func actionPages() []*page {
	var all []*page
	for _, k := range actionKinds {
		base := "/actions" + listPath(k.kind) + "/{namespace}/{name}/{verb}"
		add := func(pattern, template string, load func(*actionRequest) (content, error)) {
			all = append(all, &page{pattern: pattern, template: template, section: listPath(k.kind), kinds: k.shows, personal: true, load: func(r *request) (content, error) {
				a, err := newAction(r, k.kind, k.noun, k.empty, template == "action_check")
				if err != nil {
					return content{}, err
				}
				return load(a)
			}})
		}
		add("GET "+base, "action", (*actionRequest).propose)
		add("GET "+base+"/check", "action_check", (*actionRequest).check)
		add("POST "+base, "action", (*actionRequest).apply)
		add("GET "+base+"/manifest.yaml", "action", (*actionRequest).proposedManifest)
		add("GET "+base+"/done", "action_done", (*actionRequest).done)
		add("GET "+base+"/done/manifest.yaml", "action_done", (*actionRequest).presentManifest)
	}
	return all
}

// actionRequest is an operation on one object that a viewer looks at or applies.
type actionRequest struct {
	*request
	kind  Kind
	noun  string
	verb  operation.Verb
	empty func() client.Object
	// isCached is true if the object of the caches is used, so that no request is sent.
	isCached bool
	// object is the object as it was read last, and raw the same in the form of JSON.
	object client.Object
	raw    *unstructured.Unstructured
	// params are the parameters of the operation, from the query or the form.
	params url.Values
	// at is the time of the proposal, which requests such as a retry write.
	at time.Time
	// wanted is the operation with its parameters. isChosen is false as long as a person has to
	// choose one of them first.
	wanted   operation.Request
	isChosen bool
}

func newAction(r *request, kind Kind, noun string, empty func() client.Object, isCached bool) (*actionRequest, error) {
	a := &actionRequest{request: r, kind: kind, noun: noun, verb: operation.Verb(r.path("verb")), empty: empty, isCached: isCached, params: r.url.Query()}
	if r.form != nil {
		a.params = r.form
	}
	if err := r.require(kind, r.path("namespace")); err != nil {
		return nil, err
	}
	if !slices.Contains(operation.VerbsOf(empty()), a.verb) {
		return nil, &problem{status: http.StatusNotFound, title: "Not found", message: fmt.Sprintf("A %s has no action %q.", noun, text.Clean(string(a.verb), 100)),
			fix: "Choose an action on the page of the " + noun + ".", link: a.objectPath(), linkText: "The page of the " + noun}
	}
	if err := a.read(r.context()); err != nil {
		return nil, err
	}
	a.at = r.now
	if at, err := time.Parse(time.RFC3339Nano, a.params.Get("at")); err == nil && r.now.Sub(at) < maxPreviewAge && r.now.Sub(at) > -time.Minute { // the clocks of replicas differ
		a.at = at
	}
	return a, a.parse()
}

func (a *actionRequest) name() string { return a.path("name") }
func (a *actionRequest) objectPath() string {
	return objectPath(a.kind, a.path("namespace"), a.path("name"))
}

// actionPath returns the path of the proposal.
func (a *actionRequest) actionPath() string {
	return actionPath(a.kind, a.path("namespace"), a.path("name"), a.verb)
}

// read reads the object as the viewer, because the caches do not have managedFields. An anonymous
// viewer sees the object of the caches, so that a person without a login causes no request.
func (a *actionRequest) read(ctx context.Context) error {
	if a.isCached || a.viewer.Anonymous || a.viewer.Client == nil {
		return a.readCached()
	}
	ctx, cancel := context.WithTimeout(ctx, actionTimeout)
	defer cancel()
	raw := &unstructured.Unstructured{}
	raw.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(singular(a.kind)))
	err := a.viewer.Client.Get(ctx, client.ObjectKey{Namespace: a.path("namespace"), Name: a.name()}, raw)
	switch {
	case apierrors.IsNotFound(err):
		return notFound(a.kind, a.path("namespace"), a.name())
	case err != nil:
		said, says := refusalOf(err).beforeWrite(), "The API server says: "
		if said.IsUnclear {
			says = ""
		}
		return &problem{status: said.Status, title: "Not readable", message: fmt.Sprintf("%s %s/%s cannot be read. %s%s", singular(a.kind), a.path("namespace"), a.name(), says, said.Message), fix: said.Fix}
	}
	return a.take(raw)
}

func (a *actionRequest) readCached() error {
	key := types.NamespacedName{Namespace: a.path("namespace"), Name: a.name()}
	object := a.empty()
	isKnown := false
	switch o := object.(type) {
	case *v1alpha1.Rollout:
		isKnown = copyOf(a.index.Rollout(key), o)
	case *v1alpha1.DistributionSet:
		isKnown = copyOf(a.index.DistributionSet(key), o)
	case *v1alpha1.Target:
		isKnown = copyOf(a.index.Target(key), o)
	case *v1alpha1.AutoAssignment:
		isKnown = copyOf(a.index.AutoAssignment(key), o)
	}
	if !isKnown {
		return notFound(a.kind, key.Namespace, key.Name)
	}
	if mark := v1alpha1.UnreadableOf(object); mark != nil {
		return a.unreadable(mark.Message)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	raw := &unstructured.Unstructured{Object: fields}
	raw.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(singular(a.kind)))
	a.object, a.raw = object, raw
	return nil
}

// copyOf copies an object of the index, and reports whether there is one.
func copyOf[T any, P interface {
	*T
	DeepCopyInto(*T)
}](from, to P) bool {
	if from == nil {
		return false
	}
	from.DeepCopyInto(to)
	return true
}

// take makes an object that was read the object of the action.
func (a *actionRequest) take(raw *unstructured.Unstructured) error {
	data, err := raw.MarshalJSON()
	if err != nil {
		return err
	}
	object := a.empty()
	if err := json.Unmarshal(data, object); err != nil {
		return a.unreadable(err.Error())
	}
	a.object, a.raw = object, raw
	return nil
}

func (a *actionRequest) unreadable(why string) error {
	return &problem{status: http.StatusConflict, title: "Not readable", message: fmt.Sprintf("%s %s/%s cannot be decoded: %s", singular(a.kind), a.path("namespace"), a.name(), text.Clean(why, maxReason)),
		fix: fmt.Sprintf("Correct it, such as by: kubectl edit %s.%s %s -n %s", a.kind, v1alpha1.GroupVersion.Group, a.name(), a.path("namespace"))}
}

// maxChoices is how many codes, messages or groups a form offers, and how many it may send.
const maxChoices = 50

// parse reads the parameters.
func (a *actionRequest) parse() error {
	get := func(name string) string { return strings.TrimSpace(a.params.Get(name)) }
	q := operation.Defaults(a.object, a.verb)
	a.isChosen = true
	switch a.verb {
	case operation.VerbApprove:
		if hash := get("hash"); hash != "" {
			q.PlanHash = hash
		}
	case operation.VerbAdvance:
		q.To = get("to")
	case operation.VerbRetry:
		q.Codes, q.Messages = a.params["code"], a.params["message"]
		if len(q.Codes)+len(q.Messages) > maxChoices {
			return badRequest("The address names %d failures; %d are possible.", len(q.Codes)+len(q.Messages), maxChoices)
		}
	case operation.VerbStop, operation.VerbInvalidate:
		kind := get("type")
		if kind != "" {
			q.Cancellation = v1alpha1.Cancellation(kind)
		}
		if a.verb == operation.VerbInvalidate {
			a.isChosen = kind != ""
			q.DeleteRollouts, q.Reason = get("deleteRollouts") == "true", get("reason")
		}
	default:
	}
	a.wanted = q
	return nil
}

// values are the parameters of the operation, for an address or a form.
func (a *actionRequest) values() url.Values {
	v, q := url.Values{}, a.wanted
	switch a.verb {
	case operation.VerbApprove:
		v.Set("hash", q.PlanHash)
	case operation.VerbAdvance:
		v.Set("to", q.To)
	case operation.VerbRetry:
		v["code"], v["message"] = q.Codes, q.Messages
	case operation.VerbStop:
		v.Set("type", string(q.Cancellation))
	case operation.VerbInvalidate:
		v.Set("type", string(q.Cancellation))
		if q.DeleteRollouts {
			v.Set("deleteRollouts", "true")
		}
		v.Set("reason", q.Reason)
	default:
	}
	v.Set("at", a.at.UTC().Format(time.RFC3339Nano))
	return v
}

// compute returns the change of the object as it was read last.
func (a *actionRequest) compute() (*operation.Change, error) { return a.wanted.On(a.object, a.at) }

// refusal is what the API server, or a rule of Goshawk, says against a change.
type refusal struct {
	// Status is the status of the response.
	Status int
	// Title says what has happened. Message is the sentence of the API server, word for word.
	Title, Message string
	// Fix says what to do.
	Fix string
	// IsUnclear is true if the API server has not decided about the request, or its decision is not
	// known.
	IsUnclear bool
}

// beforeWrite changes what to do for a request that cannot have written anything.
func (r *refusal) beforeWrite() *refusal {
	if r.IsUnclear {
		r.Fix = "Nothing was written. Load this page again when the API server can be reached."
	}
	return r
}

// refusalOf returns what an error of a request to the API server is shown as.
func refusalOf(err error) *refusal {
	said := &refusal{Status: http.StatusBadGateway, Title: "The API server refused the change", Message: err.Error()}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		said.Message = status.Status().Message
		if code := int(status.Status().Code); code >= 400 && code < 500 {
			said.Status = code
		}
	}
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(said.Message, "ValidatingAdmissionPolicy"):
		said.Fix = "A policy of the cluster decides this. Ask a person with the role that the sentence names to apply the change, or ask an administrator to bind that role to you."
	case apierrors.IsForbidden(err):
		said.Fix = "Ask a person with the right to apply the change, or ask an administrator for a role that has it: docs/rights.md lists the rights of each role."
	case apierrors.IsUnauthorized(err):
		said.Status, said.Fix = http.StatusUnauthorized, "The API server does not accept your login any more. Log in again."
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		said.Fix = "Correct the value that the sentence names."
	case apierrors.IsNotFound(err):
		said.Fix = "It was deleted meanwhile."
	case apierrors.IsConflict(err):
		said.Fix = "The object changes too often. Try again."
	case apierrors.IsTooManyRequests(err):
		said.Fix = "The API server has too much to do. Try again in some seconds."
	default:
		said.Title, said.IsUnclear = "The API server did not answer as expected", true
		said.Fix = "It is not known whether the change was written. Load this page again: it shows the present state. The same change can be sent twice, and is written once."
	}
	said.Message = text.Clean(said.Message, maxRefusal)
	return said
}
