// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fleet is an index over the informer caches. It returns the intents that reach a target
// without a call to the API server, so the cost of a poll does not depend on the size of the fleet.
package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// Index holds rollouts, groups, sets and auto-assignments by what a target needs of them. Its
// objects are those of the caches: do not change them.
type Index struct {
	mu           sync.RWMutex
	targets      toolscache.Store
	inventories  atomic.Pointer[toolscache.Store] // without the lock, because selections read it while they hold it
	rollouts     map[types.NamespacedName]*v1alpha1.Rollout
	starting     map[types.NamespacedName]candidate
	groups       map[types.NamespacedName]*v1alpha1.DeploymentGroup
	members      map[types.NamespacedName][]membership
	byUID        map[types.UID]map[types.NamespacedName]struct{} // rollout uid to its groups
	sets         map[types.NamespacedName]*v1alpha1.DistributionSet
	modules      map[types.NamespacedName]*v1alpha1.SoftwareModule
	facts        map[types.NamespacedName]*eligibility.Set
	autos        map[types.NamespacedName]*auto
	autoVersions map[string]int64                  // namespace to how often its auto-assignments changed what they offer
	devices      map[types.NamespacedName][]string // controllerID to names of targets, oldest first
	namespaces   map[string]int                    // to the number of their objects, without inventories
	synced       []toolscache.InformerSynced
	hasSynced    atomic.Bool // what synced has reported, because every poll asks

	watching  sync.RWMutex
	watchers  []Watcher
	concerned []func(Concern)
	// isWatched is set if concerns are wanted.
	isWatched atomic.Bool
}

// Watcher is notified of a change after the index has applied it, so a query of the index sees the
// change. old is nil for a new object, now is nil for a deleted one. When a module changes, the
// watcher is also called for the sets that contain it, with the same object as old and now.
type Watcher func(old, now client.Object)

// Watch adds a watcher, which is notified of every change from now on.
func (x *Index) Watch(w Watcher) {
	x.watching.Lock()
	defer x.watching.Unlock()
	x.watchers = append(x.watchers, w)
}

func (x *Index) notify(old, now client.Object) {
	x.watching.RLock()
	defer x.watching.RUnlock()
	for _, w := range x.watchers {
		w(old, now)
	}
}

// membership is a target's position in a group. shared is the same for all members.
type membership struct {
	group    types.NamespacedName
	position int32
	shared   *sharedIntent
}

// New returns an empty index. Follow fills it.
func New() *Index {
	return &Index{
		targets:      toolscache.NewStore(toolscache.MetaNamespaceKeyFunc),
		rollouts:     map[types.NamespacedName]*v1alpha1.Rollout{},
		starting:     map[types.NamespacedName]candidate{},
		groups:       map[types.NamespacedName]*v1alpha1.DeploymentGroup{},
		members:      map[types.NamespacedName][]membership{},
		byUID:        map[types.UID]map[types.NamespacedName]struct{}{},
		sets:         map[types.NamespacedName]*v1alpha1.DistributionSet{},
		modules:      map[types.NamespacedName]*v1alpha1.SoftwareModule{},
		facts:        map[types.NamespacedName]*eligibility.Set{},
		autos:        map[types.NamespacedName]*auto{},
		autoVersions: map[string]int64{},
		devices:      map[types.NamespacedName][]string{},
		namespaces:   map[string]int{},
	}
}

// Follow makes the index follow the caches.
func (x *Index) Follow(ctx context.Context, caches cache.Cache) error {
	for _, f := range []struct {
		object client.Object
		set    func(old, now client.Object)
	}{
		{&v1alpha1.Target{}, x.setTarget},
		{&v1alpha1.TargetInventory{}, x.setInventory},
		{&v1alpha1.Rollout{}, x.setRollout},
		{&v1alpha1.DeploymentGroup{}, x.setGroup},
		{&v1alpha1.DistributionSet{}, x.setSet},
		{&v1alpha1.SoftwareModule{}, x.setModule},
		{&v1alpha1.AutoAssignment{}, x.setAutoAssignment},
	} {
		if err := x.follow(ctx, caches, f.object, f.set); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) follow(ctx context.Context, caches cache.Cache, object client.Object, set func(old, now client.Object)) error {
	informer, err := caches.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("follow %T: %w", object, err)
	}
	if err := x.useStore(object, informer); err != nil {
		return err
	}
	take := func(old, now client.Object) {
		set(old, now)
		x.count(old, now)
		x.notify(old, now)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { take(nil, o.(client.Object)) },
		UpdateFunc: func(o, n any) { take(o.(client.Object), n.(client.Object)) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			take(o.(client.Object), nil)
		},
	})
	if err != nil {
		return fmt.Errorf("follow %T: %w", object, err)
	}
	x.synced = append(x.synced, registration.HasSynced)
	return nil
}

// count counts an object that was created or deleted in its namespace.
func (x *Index) count(old, now client.Object) {
	if (old == nil) == (now == nil) {
		return
	}
	changed, by := now, 1
	if now == nil {
		changed, by = old, -1
	}
	if _, ok := changed.(*v1alpha1.TargetInventory); ok {
		return // its target is counted
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.namespaces[changed.GetNamespace()] += by; x.namespaces[changed.GetNamespace()] == 0 {
		delete(x.namespaces, changed.GetNamespace())
	}
}

// Namespaces returns the namespaces with at least one object, sorted.
func (x *Index) Namespaces() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Sorted(maps.Keys(x.namespaces))
}

// useStore makes the index read targets and their inventories from the stores of the caches.
func (x *Index) useStore(object client.Object, informer cache.Informer) error {
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return fmt.Errorf("follow %T: informer %T has no store", object, informer)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch object.(type) {
	case *v1alpha1.Target:
		x.targets = shared.GetStore()
	case *v1alpha1.TargetInventory:
		x.inventories.Store(new(shared.GetStore()))
	}
	return nil
}

// HasSynced reports whether the index contains everything that existed at its start. Nothing may be
// decided before.
func (x *Index) HasSynced() bool {
	if !x.hasSynced.Load() && len(x.synced) > 0 && !slices.ContainsFunc(x.synced, func(s toolscache.InformerSynced) bool { return !s() }) {
		x.hasSynced.Store(true)
	}
	return x.hasSynced.Load()
}

// WaitForSync blocks until HasSynced is true or ctx is done, and reports whether the index is
// synced.
func (x *Index) WaitForSync(ctx context.Context) bool {
	return toolscache.WaitForCacheSync(ctx.Done(), x.HasSynced)
}

// Target returns a target from the cache, or nil if there is none.
func (x *Index) Target(key types.NamespacedName) *v1alpha1.Target {
	x.mu.RLock()
	store := x.targets
	x.mu.RUnlock()
	if object, ok, err := store.GetByKey(storeKey(key)); err == nil && ok {
		return object.(*v1alpha1.Target)
	}
	return nil
}

// storeKey returns the key of client-go's stores, without the formatting cost of
// NamespacedName.String.
func storeKey(key types.NamespacedName) string {
	if key.Namespace == "" {
		return key.Name
	}
	return key.Namespace + "/" + key.Name
}

// Targets returns the targets of a namespace, sorted by name.
func (x *Index) Targets(namespace string) []*v1alpha1.Target {
	x.mu.RLock()
	store := x.targets
	x.mu.RUnlock()
	var targets []*v1alpha1.Target
	for _, object := range store.List() {
		if t := object.(*v1alpha1.Target); t.Namespace == namespace {
			targets = append(targets, t)
		}
	}
	slices.SortFunc(targets, func(a, b *v1alpha1.Target) int { return compareNames(a.Name, b.Name) })
	return targets
}

// AllTargets returns the targets of all namespaces, in no defined order.
func (x *Index) AllTargets() []*v1alpha1.Target {
	x.mu.RLock()
	store := x.targets
	x.mu.RUnlock()
	list := store.List()
	targets := make([]*v1alpha1.Target, len(list))
	for i, object := range list {
		targets[i] = object.(*v1alpha1.Target)
	}
	return targets
}

// Device returns the target that serves a controllerID: the oldest one that has it.
func (x *Index) Device(namespace, controllerID string) *v1alpha1.Target {
	return x.DeviceFrom(x.Target, namespace, controllerID)
}

// DeviceFrom is Device with a function that returns a target, or nil if there is none.
func (x *Index) DeviceFrom(target func(types.NamespacedName) *v1alpha1.Target, namespace, controllerID string) *v1alpha1.Target {
	x.mu.RLock()
	names := x.devices[types.NamespacedName{Namespace: namespace, Name: controllerID}] // replaced when it changes
	x.mu.RUnlock()
	for _, name := range names {
		// A target that was just deleted, or created again with another controllerID, may still be
		// listed.
		if t := target(types.NamespacedName{Namespace: namespace, Name: name}); t != nil && t.ControllerID() == controllerID {
			return t
		}
	}
	return nil
}

// NamesWithControllerID returns the names of the targets with a controllerID, the oldest first.
func (x *Index) NamesWithControllerID(namespace, controllerID string) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Clone(x.devices[types.NamespacedName{Namespace: namespace, Name: controllerID}])
}

// Rollout returns a rollout, or nil if there is none.
func (x *Index) Rollout(key types.NamespacedName) *v1alpha1.Rollout {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.rollouts[key]
}

// Rollouts returns the rollouts of a namespace, sorted by name.
func (x *Index) Rollouts(namespace string) []*v1alpha1.Rollout {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var rollouts []*v1alpha1.Rollout
	for key, r := range x.rollouts {
		if key.Namespace == namespace {
			rollouts = append(rollouts, r)
		}
	}
	slices.SortFunc(rollouts, func(a, b *v1alpha1.Rollout) int { return compareNames(a.Name, b.Name) })
	return rollouts
}

// Groups returns the groups of a rollout's UID, by index, then by name.
func (x *Index) Groups(uid types.UID) []*v1alpha1.DeploymentGroup {
	x.mu.RLock()
	defer x.mu.RUnlock()
	groups := make([]*v1alpha1.DeploymentGroup, 0, len(x.byUID[uid]))
	for key := range x.byUID[uid] {
		groups = append(groups, x.groups[key])
	}
	slices.SortFunc(groups, byPlace)
	return groups
}

// Group returns a group, or nil if there is none.
func (x *Index) Group(key types.NamespacedName) *v1alpha1.DeploymentGroup {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.groups[key]
}

// GroupsOf returns the groups that name a rollout by its identity, by index, then by name. If the
// status of a rollout with a plan has no UID, the groups of its plan are included whatever UID they
// name.
func (x *Index) GroupsOf(r *v1alpha1.Rollout) []*v1alpha1.DeploymentGroup {
	isOther := func(g *v1alpha1.DeploymentGroup) bool {
		return g.Namespace != r.Namespace || g.Spec.Rollout != r.Name && !g.Unreadable.Lacks("spec.rollout")
	}
	groups := slices.DeleteFunc(x.Groups(r.Identity()), isOther)
	if r.Status.UID != "" || r.Status.Plan == nil {
		return groups
	}
	for _, g := range x.GroupsNaming(client.ObjectKeyFromObject(r)) {
		if g.Spec.RolloutUID != r.UID && grouping.BelongsTo(g, r) {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, byPlace)
	return groups
}

// GroupsNaming returns the groups that name a rollout, with any UID and plan.
func (x *Index) GroupsNaming(rollout types.NamespacedName) []*v1alpha1.DeploymentGroup {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var groups []*v1alpha1.DeploymentGroup
	for key, g := range x.groups {
		if key.Namespace == rollout.Namespace && g.Spec.Rollout == rollout.Name {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, byPlace)
	return groups
}

// byPlace orders groups by index, then by name.
func byPlace(a, b *v1alpha1.DeploymentGroup) int {
	return cmp.Or(cmp.Compare(a.Spec.Index, b.Spec.Index), compareNames(a.Name, b.Name))
}

// LastArrival returns when the newest group, rollout or set of a namespace was created. It shows
// whether a restore is still creating objects.
func (x *Index) LastArrival(namespace string) time.Time {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var last time.Time
	note := func(o client.Object) {
		if o.GetNamespace() == namespace {
			if at := o.GetCreationTimestamp().Time; at.After(last) {
				last = at
			}
		}
	}
	for _, g := range x.groups {
		note(g)
	}
	for _, r := range x.rollouts {
		note(r)
	}
	for _, s := range x.sets {
		note(s)
	}
	return last
}

// Membership is a target's position in a group of a rollout.
type Membership struct {
	Group    *v1alpha1.DeploymentGroup
	Position int32
}

// Memberships returns the memberships of a target, each group once, sorted by the group's name.
func (x *Index) Memberships(target types.NamespacedName) []Membership {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := x.members[target]
	memberships := make([]Membership, 0, len(list))
	for _, m := range list {
		memberships = append(memberships, Membership{Group: x.groups[m.group], Position: m.position})
	}
	return memberships
}

// Set returns the facts about a distribution set, or nil if there is none.
func (x *Index) Set(key types.NamespacedName) *eligibility.Set {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.facts[key]
}

// SetOfVersion returns the oldest valid set with a name and version, whatever its type. It returns
// an invalidated set only if there is no other, and nil if there is none.
func (x *Index) SetOfVersion(namespace, name, version string) *eligibility.Set {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var found *v1alpha1.DistributionSet
	for key, set := range x.sets {
		if key.Namespace == namespace && set.Spec.Name == name && set.Spec.Version == version && (found == nil || x.isPreferred(set, found)) {
			found = set
		}
	}
	if found == nil {
		return nil
	}
	return x.facts[client.ObjectKeyFromObject(found)]
}

// IsSameRelease reports whether two sets have the same name and version, so that they differ only
// by type.
func (x *Index) IsSameRelease(namespace, one, other string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	a, b := x.sets[types.NamespacedName{Namespace: namespace, Name: one}], x.sets[types.NamespacedName{Namespace: namespace, Name: other}]
	return a != nil && b != nil && a.Spec.Name == b.Spec.Name && a.Spec.Version == b.Spec.Version
}

func (x *Index) isPreferred(a, b *v1alpha1.DistributionSet) bool {
	validA, validB := !x.facts[client.ObjectKeyFromObject(a)].IsInvalid(), !x.facts[client.ObjectKeyFromObject(b)].IsInvalid()
	if validA != validB {
		return validA
	}
	if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
		return c < 0
	}
	return a.Name < b.Name
}

func (x *Index) setTarget(old, now client.Object) {
	x.noteTarget(old, now)
	if x.isWatched.Load() {
		x.tell(concernOfTarget(old, now))
	}
}

// noteTarget applies a change of a target.
func (x *Index) noteTarget(old, now client.Object) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old, ok := old.(*v1alpha1.Target); ok && !sameDevice(old, now) {
		key := types.NamespacedName{Namespace: old.Namespace, Name: old.ControllerID()}
		left := slices.DeleteFunc(slices.Clone(x.devices[key]), func(name string) bool { return name == old.Name })
		if len(left) == 0 {
			delete(x.devices, key)
		} else {
			x.devices[key] = left
		}
	}
	if t, ok := now.(*v1alpha1.Target); ok {
		key := types.NamespacedName{Namespace: t.Namespace, Name: t.ControllerID()}
		if !slices.Contains(x.devices[key], t.Name) {
			x.devices[key] = x.byAge(t.Namespace, append(slices.Clone(x.devices[key]), t.Name))
		}
	}
}

// sameDevice reports whether an update does not change the controllerID: it is the same object with
// the same controllerID.
func sameDevice(t *v1alpha1.Target, other client.Object) bool {
	o, ok := other.(*v1alpha1.Target)
	return ok && o.UID == t.UID && o.ControllerID() == t.ControllerID()
}

// byAge sorts names of targets by age, the oldest first, then by name.
func (x *Index) byAge(namespace string, names []string) []string {
	if len(names) < 2 {
		return names
	}
	age := func(name string) *v1alpha1.Target {
		object, ok, _ := x.targets.GetByKey(namespace + "/" + name)
		if !ok {
			return &v1alpha1.Target{}
		}
		return object.(*v1alpha1.Target)
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := age(a).CreationTimestamp.Compare(age(b).CreationTimestamp.Time); c != 0 {
			return c
		}
		return compareNames(a, b)
	})
	return names
}

func (x *Index) setRollout(old, now client.Object) {
	x.tell(x.noteRollout(old, now))
}

// noteRollout applies a change of a rollout, and returns its concern.
func (x *Index) noteRollout(old, now client.Object) Concern {
	x.mu.Lock()
	defer x.mu.Unlock()
	replace(x.rollouts, old, now)
	x.noteCandidate(old, now)
	if !x.isWatched.Load() {
		return Concern{}
	}
	return x.concernOfRollout(old, now)
}

func (x *Index) setGroup(old, now client.Object) {
	x.noteGroup(old, now)
	if x.isWatched.Load() {
		x.tell(concernOfGroup(old, now))
	}
}

// noteGroup applies a change of a group.
func (x *Index) noteGroup(old, now client.Object) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g, ok := old.(*v1alpha1.DeploymentGroup); ok && !sameMembers(g, now) {
		x.dropMembers(g)
	}
	if g, ok := now.(*v1alpha1.DeploymentGroup); ok && !sameMembers(g, old) {
		x.addMembers(g)
	}
	replace(x.groups, old, now)
}

// sameMembers reports whether an update does not change the members. Only growth of a dynamic group
// changes them.
func sameMembers(g *v1alpha1.DeploymentGroup, other client.Object) bool {
	o, ok := other.(*v1alpha1.DeploymentGroup)
	return ok && o.UID == g.UID && o.Spec.RolloutUID == g.Spec.RolloutUID && len(o.Spec.Targets) == len(g.Spec.Targets)
}

func (x *Index) addMembers(g *v1alpha1.DeploymentGroup) {
	key := client.ObjectKeyFromObject(g)
	if x.byUID[g.Spec.RolloutUID] == nil {
		x.byUID[g.Spec.RolloutUID] = map[types.NamespacedName]struct{}{}
	}
	x.byUID[g.Spec.RolloutUID][key] = struct{}{}
	shared := &sharedIntent{}
	for i, name := range g.Spec.Targets {
		target := types.NamespacedName{Namespace: g.Namespace, Name: string(name)}
		list := append(x.members[target], membership{group: key, position: int32(i), shared: shared})
		slices.SortFunc(list, func(a, b membership) int { return compareNames(a.group.Name, b.group.Name) })
		x.members[target] = list
	}
}

func (x *Index) dropMembers(g *v1alpha1.DeploymentGroup) {
	key := client.ObjectKeyFromObject(g)
	delete(x.byUID[g.Spec.RolloutUID], key)
	if len(x.byUID[g.Spec.RolloutUID]) == 0 {
		delete(x.byUID, g.Spec.RolloutUID)
	}
	for _, name := range g.Spec.Targets {
		target := types.NamespacedName{Namespace: g.Namespace, Name: string(name)}
		left := slices.DeleteFunc(x.members[target], func(m membership) bool { return m.group == key })
		if len(left) == 0 {
			delete(x.members, target)
		} else {
			x.members[target] = left
		}
	}
}

func (x *Index) setSet(old, now client.Object) {
	x.tell(x.noteSet(old, now))
}

// noteSet applies a change of a set, and returns its concern.
func (x *Index) noteSet(old, now client.Object) Concern {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.noteSetOfAutos(old, now)()
	_, _, namespace := objects[v1alpha1.DistributionSet](old, now)
	key := types.NamespacedName{Namespace: namespace, Name: nameOf(old, now)}
	before := x.facts[key]
	replace(x.sets, old, now)
	if gone, ok := old.(*v1alpha1.DistributionSet); ok && x.sets[client.ObjectKeyFromObject(gone)] == nil {
		delete(x.facts, client.ObjectKeyFromObject(gone))
	}
	if set, ok := now.(*v1alpha1.DistributionSet); ok {
		x.updateFacts(set)
	}
	return concernOfSet(namespace, before, x.facts[key])
}

func (x *Index) setModule(old, now client.Object) {
	sets, concern := x.moduleChanged(old, now)
	for _, set := range sets {
		x.notify(set, set)
	}
	x.tell(concern)
}

// moduleChanged applies a change of a module. It returns the sets that contain it, and the concern
// of the change.
func (x *Index) moduleChanged(old, now client.Object) (containing []*v1alpha1.DistributionSet, concern Concern) {
	x.mu.Lock()
	defer x.mu.Unlock()
	replace(x.modules, old, now)
	changed := now
	if changed == nil {
		changed = old
	}
	concern.Namespace = changed.GetNamespace()
	for key, set := range x.sets {
		if key.Namespace == changed.GetNamespace() && slices.Contains(set.Spec.Modules, v1alpha1.ModuleReference{Name: changed.GetName()}) {
			noteAutos, before := x.noteSetOfAutos(set, set), x.facts[key]
			x.updateFacts(set)
			noteAutos()
			containing = append(containing, set)
			concern.All = concern.All || !isSameSet(before, x.facts[key])
		}
	}
	return containing, concern
}

// updateFacts computes the facts about a set.
func (x *Index) updateFacts(set *v1alpha1.DistributionSet) {
	modules := make([]*v1alpha1.SoftwareModule, 0, len(set.Spec.Modules))
	for _, ref := range set.Spec.Modules {
		modules = append(modules, x.modules[types.NamespacedName{Namespace: set.Namespace, Name: ref.Name}])
	}
	x.facts[client.ObjectKeyFromObject(set)] = offer.SetOf(set, modules)
}

// replace keeps the newest object of a name. A deletion counts only for the object with the same
// UID.
func replace[T client.Object](objects map[types.NamespacedName]T, old, now client.Object) {
	if now != nil {
		objects[client.ObjectKeyFromObject(now)] = now.(T)
		return
	}
	key := client.ObjectKeyFromObject(old)
	if present, ok := objects[key]; ok && present.GetUID() == old.GetUID() {
		delete(objects, key)
	}
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
