// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// audited returns a world that checks every write of Goshawk and every state of every object.
func audited(t *testing.T) *world.World {
	t.Helper()
	w := world.New(t)
	config, _ := cluster.Start(t)
	c, err := client.NewWithWatch(config, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, kind := range []string{"SoftwareModule", "DistributionSet", "Target", "Rollout", "AutoAssignment", "DeploymentGroup", "DeviceAccess"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		changes, err := c.Watch(ctx, list, client.InNamespace(w.Namespace))
		if err != nil {
			t.Fatal(err)
		}
		watching.Go(func() {
			for e := range changes.ResultChan() {
				if object, ok := e.Object.(*unstructured.Unstructured); ok && e.Type != watch.Deleted {
					for _, fault := range faults(object) {
						t.Errorf("%s %s at resourceVersion %s: %s", kind, object.GetName(), object.GetResourceVersion(), fault)
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		watching.Wait()
		for _, write := range ledger.In(w.Namespace) {
			if fault := world.Forbidden(write); fault != "" {
				t.Errorf("%s: %s", fault, write)
			}
		}
	})
	return w
}

// faults returns what is wrong with an object in any state.
func faults(object *unstructured.Unstructured) []string {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if object.GetKind() == "DeploymentGroup" {
		generatedFaults(object, report)
	} else if owners := object.GetOwnerReferences(); len(owners) > 0 {
		report("Git may own it, but it has owners %v", owners)
	}
	status := struct {
		ObservedGeneration int64              `json:"observedGeneration"`
		Conditions         []metav1.Condition `json:"conditions"`
	}{}
	into(object, &status, "status")
	conditionFaults(object.GetGeneration(), status.ObservedGeneration, status.Conditions, report)
	if object.GetKind() == "Rollout" {
		countFaults(object, report)
	}
	return found
}

func conditionFaults(generation, observed int64, list []metav1.Condition, report func(string, ...any)) {
	if !slices.IsSortedFunc(list, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) }) {
		report("the conditions are not sorted: %v", list)
	}
	if observed > generation {
		report("observedGeneration %d is above generation %d", observed, generation)
	}
	present := map[string]metav1.Condition{}
	for _, c := range list {
		present[c.Type] = c
		if c.Reason == "" || c.Message == "" || c.LastTransitionTime.IsZero() {
			report("condition %+v has an empty field", c)
		}
		if c.ObservedGeneration > observed && observed >= 0 || c.ObservedGeneration == 0 {
			report("condition %s has observedGeneration %d, the status has %d", c.Type, c.ObservedGeneration, observed)
		}
	}
	for _, name := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if c, ok := present[name]; ok && c.Status != metav1.ConditionTrue {
			report("%s is %s and should be absent", name, c.Status)
		}
		if _, ok := present[name]; ok && present[v1alpha1.ConditionReady].ObservedGeneration != observed {
			report("Ready has observedGeneration %d, the status has %d", present[v1alpha1.ConditionReady].ObservedGeneration, observed)
		}
	}
	_, reconciling := present[v1alpha1.ConditionReconciling]
	_, stalled := present[v1alpha1.ConditionStalled]
	if reconciling && stalled {
		report("Reconciling and Stalled both exist: %v", list)
	}
	if ready, ok := present[v1alpha1.ConditionReady]; stalled && (!ok || ready.Status != metav1.ConditionFalse) {
		report("Stalled with Ready %+v", ready)
	}
}

// countFaults checks that the counts of each group add up to its targets, and those of the groups
// to the rollout's.
func countFaults(object *unstructured.Unstructured, report func(string, ...any)) {
	var status v1alpha1.RolloutStatus
	into(object, &status, "status")
	if status.Targets == nil {
		return
	}
	var sum int32
	for _, g := range status.Groups {
		if added(g.Counts) != g.Targets {
			report("the counts of group %s do not add up: %+v", g.Name, g.Counts)
		}
		sum += g.Targets
	}
	if added(*status.Targets) != status.Targets.Targets || sum != status.Targets.Targets {
		report("the counts do not add up: %+v, groups have %d", *status.Targets, sum)
	}
}

func added(c v1alpha1.Counts) int32 {
	return c.Scheduled + c.Pending + c.InProgress + c.Succeeded + c.Failed + c.Canceled + c.Skipped + c.Removed
}

// generatedFaults checks that a generated object has owner and labels of Goshawk, and no label or
// annotation of GitOps tools.
func generatedFaults(object *unstructured.Unstructured, report func(string, ...any)) {
	if owner := metav1.GetControllerOf(object); owner == nil || owner.Kind != "Rollout" {
		report("its controller is %+v, want a Rollout", owner)
	}
	if object.GetLabels()[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue || object.GetAnnotations()[v1alpha1.ArgoIgnoreAnnotation] != "true" {
		report("labels %v and annotations %v do not mark it as generated", object.GetLabels(), object.GetAnnotations())
	}
	for _, words := range []map[string]string{object.GetLabels(), object.GetAnnotations()} {
		for key := range words {
			if !slices.Contains([]string{v1alpha1.ManagedByLabel, v1alpha1.RolloutLabel, v1alpha1.ArgoIgnoreAnnotation, foreignNote}, key) && !strings.HasPrefix(key, "goshawk.dev/") {
				report("it has %s", key)
			}
		}
	}
}

// into decodes one field of an object.
func into(object *unstructured.Unstructured, value any, field string) {
	encoded, err := json.Marshal(object.Object[field])
	if err == nil {
		err = json.Unmarshal(encoded, value)
	}
	if err != nil {
		panic(err) // the API server sent it as JSON
	}
}
