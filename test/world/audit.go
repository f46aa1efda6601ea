// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// gitKinds are the kinds that Git may own.
var gitKinds = []string{"softwaremodules", "distributionsets", "targets", "rollouts", "autoassignments", "deviceaccesses"}

// generatedKinds are those that only Goshawk writes.
var generatedKinds = []string{"deploymentgroups", "targetinventories"}

// ownObjects are the objects of Goshawk's own namespace that it writes, with the beginning of their
// names.
var ownObjects = map[string]string{"leases": "goshawk-", "configmaps": "goshawk-", "secrets": "goshawk-"}

// generatedMarks are all labels and annotations that generated objects have.
var generatedMarks = []string{v1alpha1.ManagedByLabel, v1alpha1.RolloutLabel, v1alpha1.ArgoIgnoreAnnotation}

// ForeignDomain is the domain of finalizers, labels and annotations that other programs set in
// tests. A list of finalizers that Goshawk writes contains those that the object had before.
const ForeignDomain = "example.com/"

// Audit returns an error that names every forbidden write of all namespaces. A test package calls
// it after its last test:
//
//	cluster.BeforeStop(ledger.Audit)
func (l *Ledger) Audit() error {
	var found []error
	for _, write := range l.All() {
		if fault := Forbidden(write); fault != "" {
			found = append(found, fmt.Errorf("audit of writes: %s: %s", fault, write))
		}
	}
	return errors.Join(found...)
}

// Forbidden returns what is wrong with a write of Goshawk, or "". Of an object that Git may own,
// only status and the own finalizer may be written. All other writes are listed here, too: a new
// kind of write needs a new case.
func Forbidden(w Write) string {
	switch {
	case w.Group == v1alpha1.GroupVersion.Group && slices.Contains(gitKinds, w.Resource):
		return forbiddenForGit(w)
	case w.Group == v1alpha1.GroupVersion.Group && slices.Contains(generatedKinds, w.Resource):
		return forbiddenForGenerated(w)
	case w.Resource == "events" && (w.Verb == "create" || w.Verb == "patch"):
		return ""
	case w.Namespace == SystemNamespace && ownObjects[w.Resource] != "" && (w.Verb == "create" || w.Verb == "update") && w.Subresource == "":
		if w.Verb == "update" && !strings.HasPrefix(w.Name, ownObjects[w.Resource]) { // a new object has its name in the body
			return "it is not an object of Goshawk"
		}
		return ""
	}
	return "Goshawk does not write this kind"
}

// manifest is what a create or a merge patch sends.
type manifest struct {
	Metadata map[string]json.RawMessage
	Spec     map[string]json.RawMessage
	// fields are the top-level fields.
	fields []string
}

// decode reads the body of a write. A JSON patch is a list and cannot be read.
func decode(w Write) (manifest, string) {
	var m manifest
	var all map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(w.Body, &all), json.Unmarshal(w.Body, &m)); err != nil {
		return m, "the body cannot be read: " + err.Error()
	}
	m.fields = slices.Sorted(maps.Keys(all))
	return m, ""
}

func forbiddenForGit(w Write) string {
	switch {
	case w.Verb == "delete" && w.Resource == "rollouts" && w.Subresource == "":
		return "" // spec.invalidation.deleteRollouts
	case w.Verb == "create" && w.Resource == "targets" && w.Subresource == "":
		return forbiddenRegistration(w)
	case w.Verb != "patch":
		return "only status and the own finalizer may be written"
	}
	m, fault := decode(w)
	if fault != "" {
		return fault
	}
	allowed, metadata := []string{"metadata"}, []string{"finalizers", "resourceVersion"}
	switch w.Subresource {
	case "status":
		allowed, metadata = []string{"metadata", "status"}, []string{"resourceVersion", "uid"}
	case "":
		if _, ok := m.Metadata["resourceVersion"]; !ok {
			return "the patch of finalizers has no resourceVersion, so it may remove a finalizer that was added since"
		}
	default:
		return "only the subresource status may be written"
	}
	if field := notIn(m.fields, allowed); field != "" {
		return "the patch writes " + field
	}
	if field := notIn(slices.Sorted(maps.Keys(m.Metadata)), metadata); field != "" {
		return "the patch writes metadata." + field
	}
	return foreignFinalizer(m, v1alpha1.RolloutFinalizer, v1alpha1.DistributionSetFinalizer)
}

// forbiddenRegistration checks the Target of a device that a DeviceAccess registers.
func forbiddenRegistration(w Write) string {
	m, fault := decode(w)
	if fault != "" {
		return fault
	}
	if field := notIn(slices.Sorted(maps.Keys(m.Spec)), []string{"controllerID", "type"}); field != "" {
		return "a registered Target has spec." + field
	}
	for _, field := range []string{"ownerReferences", "finalizers"} {
		if value := m.Metadata[field]; len(value) > 0 && string(value) != "null" {
			return "a registered Target has " + field
		}
	}
	if key := notIn(keys(m.Metadata["annotations"]), []string{v1alpha1.DeviceAccessAnnotation}); key != "" {
		return "a registered Target has the annotation " + key
	}
	return ""
}

func forbiddenForGenerated(w Write) string {
	switch w.Verb {
	case "delete":
		return ""
	case "create", "patch":
	default:
		return "a generated object is created, patched and deleted"
	}
	m, fault := decode(w)
	if fault != "" {
		return fault
	}
	for _, marks := range []string{"labels", "annotations"} {
		for _, key := range keys(m.Metadata[marks]) {
			if !slices.Contains(generatedMarks, key) {
				return "a generated object has the " + strings.TrimSuffix(marks, "s") + " " + key
			}
		}
	}
	if w.Verb == "create" {
		var owners []struct {
			Controller bool
		}
		if err := json.Unmarshal(m.Metadata["ownerReferences"], &owners); err != nil || len(owners) != 1 || !owners[0].Controller {
			return "a generated object has not exactly one owner, its controller"
		}
		if _, ok := m.Metadata["generateName"]; ok {
			return "a generated object has no fixed name"
		}
		if present := slices.Concat(keys(m.Metadata["labels"]), keys(m.Metadata["annotations"])); !slices.Contains(present, v1alpha1.ManagedByLabel) || !slices.Contains(present, v1alpha1.ArgoIgnoreAnnotation) {
			return "a generated object lacks " + v1alpha1.ManagedByLabel + " or " + v1alpha1.ArgoIgnoreAnnotation
		}
	}
	return foreignFinalizer(m, v1alpha1.DeploymentGroupFinalizer)
}

// foreignFinalizer returns what is wrong with the finalizers that a write sends. Those of the
// garbage collector and of ForeignDomain are in the list because the object had them.
func foreignFinalizer(m manifest, own ...string) string {
	var finalizers []string
	if value := m.Metadata["finalizers"]; len(value) > 0 {
		if err := json.Unmarshal(value, &finalizers); err != nil {
			return "the finalizers cannot be read: " + err.Error()
		}
	}
	for _, finalizer := range finalizers {
		isKept := strings.HasPrefix(finalizer, ForeignDomain) || finalizer == metav1.FinalizerDeleteDependents || finalizer == metav1.FinalizerOrphanDependents
		if !slices.Contains(own, finalizer) && !isKept {
			return "it writes finalizer " + finalizer
		}
	}
	return ""
}

// notIn returns the first name that is not allowed, or "".
func notIn(names, allowed []string) string {
	for _, name := range names {
		if !slices.Contains(allowed, name) {
			return name
		}
	}
	return ""
}

// keys returns the sorted keys of a JSON object.
func keys(object json.RawMessage) []string {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(object, &all) // the API server refuses another type
	return slices.Sorted(maps.Keys(all))
}
