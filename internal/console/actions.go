// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/url"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// actionsOf returns the actions of an object of the index, for a page about the object:
// {{template "actions" actions OBJECT}}. It asks for no rights: the page of an action says whether
// the viewer may apply it.
func actionsOf(object client.Object) actionsView {
	v := actionsView{}
	if v1alpha1.UnreadableOf(object) != nil {
		return v
	}
	for _, choice := range operation.Choices(object) {
		entry := actionEntry{Label: verbLabels[choice.Verb], Path: actionPath(actionKindOf(object), object.GetNamespace(), object.GetName(), choice.Verb), Emergency: choice.Verb.IsEmergency()}
		if r, ok := object.(*v1alpha1.Rollout); ok && choice.Verb == operation.VerbStop && rollout.IsStopped(r) {
			_, isBySpec := rollout.StopOf(r)
			entry.Label = map[bool]string{true: "Cancel more firmly", false: "Set spec.state to Stopped"}[isBySpec]
			entry.Emergency = operation.CountsOf(r).InProgress > 0
		}
		if choice.Refusal == nil {
			v.Possible = append(v.Possible, entry)
			continue
		}
		entry.Reason = choice.Refusal.Reason
		v.Others = append(v.Others, entry)
	}
	return v
}

// actionsView is the actions of one object.
type actionsView struct {
	// Possible make sense in the present state of the object, and Others do not.
	Possible, Others []actionEntry
}

// actionEntry is one action of an object.
type actionEntry struct {
	// Label is the name of the action, and Path the page that proposes it.
	Label, Path string
	// Emergency is true for an action that ends a bad update.
	Emergency bool
	// Reason says why the action is not possible now.
	Reason string
}

// verbLabels are the names of the actions on buttons.
var verbLabels = map[operation.Verb]string{
	operation.VerbApprove: "Approve", operation.VerbWithdrawApproval: "Withdraw approval", operation.VerbStart: "Start", operation.VerbPause: "Pause", operation.VerbResume: "Resume",
	operation.VerbAdvance: "Open next group", operation.VerbRetry: "Retry failed targets", operation.VerbStop: "Stop", operation.VerbInvalidate: "Invalidate",
	operation.VerbHold: "Hold", operation.VerbRelease: "Release",
}

// actionKindOf returns the kind of an object that has actions, or an empty one.
func actionKindOf(object client.Object) Kind {
	switch object.(type) {
	case *v1alpha1.Rollout:
		return Rollouts
	case *v1alpha1.AutoAssignment:
		return AutoAssignments
	case *v1alpha1.Target:
		return Targets
	case *v1alpha1.DistributionSet:
		return DistributionSets
	}
	return ""
}

// actionPath returns the path of the page that proposes an action.
func actionPath(kind Kind, namespace, name string, verb operation.Verb) string {
	return "/actions" + objectPath(kind, namespace, name) + "/" + url.PathEscape(string(verb))
}
