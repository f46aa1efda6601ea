// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// fleet is an index that is notified of objects as informers notify it: first the store of targets
// is changed, then the handler is called.
type fleet struct {
	*Index
	t     testing.TB
	store toolscache.Store
}

func newFleet(t testing.TB) *fleet {
	x := New()
	return &fleet{Index: x, t: t, store: x.targets}
}

// put adds an object, or replaces the object of the same kind and name.
func (f *fleet) put(objects ...client.Object) {
	f.t.Helper()
	for _, o := range objects {
		key := client.ObjectKeyFromObject(o)
		switch o := o.(type) {
		case *v1alpha1.Target:
			old := f.Target(key)
			must(f.t, f.store.Add(o))
			f.setTarget(orNil(old), o)
		case *v1alpha1.Rollout:
			f.setRollout(orNil(f.rollouts[key]), o)
		case *v1alpha1.DeploymentGroup:
			f.setGroup(orNil(f.groups[key]), o)
		case *v1alpha1.DistributionSet:
			f.setSet(orNil(f.sets[key]), o)
		case *v1alpha1.SoftwareModule:
			f.setModule(orNil(f.modules[key]), o)
		case *v1alpha1.AutoAssignment:
			f.setAutoAssignment(nil, o)
		}
	}
}

// remove deletes an object.
func (f *fleet) remove(o client.Object) {
	f.t.Helper()
	switch o := o.(type) {
	case *v1alpha1.Target:
		must(f.t, f.store.Delete(o))
		f.setTarget(o, nil)
	case *v1alpha1.Rollout:
		f.setRollout(o, nil)
	case *v1alpha1.DeploymentGroup:
		f.setGroup(o, nil)
	case *v1alpha1.DistributionSet:
		f.setSet(o, nil)
	case *v1alpha1.SoftwareModule:
		f.setModule(o, nil)
	}
}

// orNil returns a nil interface for a nil pointer, as informers pass it.
func orNil[T any, P interface {
	*T
	client.Object
}](o P) client.Object {
	if o == nil {
		return nil
	}
	return o
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// built builds the objects of this package, which were created at noon.
var built = build.At(noon)

func fleetKey(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "fleet", Name: name}
}

// set returns a set that is Ready and locked with the content of its modules.
func set(name string, modules ...*v1alpha1.SoftwareModule) *v1alpha1.DistributionSet {
	return built.DistributionSet(name, build.Locked(noon, offer.ContentHash, modules...))
}

// running returns a rollout of the set that started at noon and has these groups, all opened at
// noon.
func running(name string, s *v1alpha1.DistributionSet, groups ...*v1alpha1.DeploymentGroup) *v1alpha1.Rollout {
	return built.Rollout(name, s.Name, build.Running(noon, s.Status.ContentHash, groups...))
}

// group returns a group of the rollout with this name and the UID uid-name.
func group(of string, index int32, members ...string) *v1alpha1.DeploymentGroup {
	return built.DeploymentGroup(built.Rollout(of, ""), index, build.Members(members...))
}

// reach returns the intents that reach a target, as kind/name/group.
func (f *fleet) reach(name string) []string {
	f.t.Helper()
	var names []string
	for _, in := range f.For(built.Target(name), noon) {
		names = append(names, fmt.Sprintf("%s/%s", in.Source.Name, in.Source.Group))
	}
	return names
}

func marked(n int, members ...int) []byte {
	var bits []byte
	for _, m := range members {
		bits = bitmap.Set(bits, m, n)
	}
	return bits
}
