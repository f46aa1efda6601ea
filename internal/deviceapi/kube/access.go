// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/access"
)

// accesses holds the DeviceAccesses of all namespaces, ready to decide. It follows the caches of
// DeviceAccesses, Secrets and Targets: a change holds for the next request.
type accesses struct {
	// changed is called for a DeviceAccess whose status may have changed. It must be set before the
	// caches are followed.
	changed func(types.NamespacedName)
	// rulesChanged is called for a namespace in which other credentials may be accepted than
	// before. It must be set before the caches are followed.
	rulesChanged func(namespace string)
	now          func() time.Time

	mu       sync.RWMutex
	objects  map[types.NamespacedName]*v1alpha1.DeviceAccess
	compiled map[string]map[string]*access.Access // by namespace and name
	// rules of a namespace. They are missing after a change, until the next request.
	rules map[string]*access.Rules
	// secrets are those of the cache, and users the DeviceAccesses that name them.
	secrets map[types.NamespacedName]*corev1.Secret
	users   map[types.NamespacedName]map[types.NamespacedName]bool
	// registered are the names of the targets with the annotation of a DeviceAccess.
	registered map[types.NamespacedName]map[string]struct{}
	synced     []toolscache.InformerSynced
}

func newAccesses(now func() time.Time) *accesses {
	return &accesses{
		changed: func(types.NamespacedName) {}, rulesChanged: func(string) {}, now: now,
		objects: map[types.NamespacedName]*v1alpha1.DeviceAccess{}, compiled: map[string]map[string]*access.Access{}, rules: map[string]*access.Rules{},
		secrets: map[types.NamespacedName]*corev1.Secret{}, users: map[types.NamespacedName]map[types.NamespacedName]bool{},
		registered: map[types.NamespacedName]map[string]struct{}{},
	}
}

// noAccess are the rules of a namespace without a DeviceAccess.
var noAccess = access.NewRules("", nil)

// rulesOf returns the rules of a namespace.
func (x *accesses) rulesOf(namespace string) *access.Rules {
	x.mu.RLock()
	rules, isEmpty := x.rules[namespace], len(x.compiled[namespace]) == 0
	x.mu.RUnlock()
	switch {
	case rules != nil:
		return rules
	case isEmpty: // the path of a request may name any namespace
		return noAccess
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if rules := x.rules[namespace]; rules != nil {
		return rules
	}
	all := make([]*access.Access, 0, len(x.compiled[namespace]))
	for _, a := range x.compiled[namespace] {
		all = append(all, a)
	}
	rules = access.NewRules(namespace, all)
	x.rules[namespace] = rules
	return rules
}

// follow makes x follow a cache of DeviceAccesses, and one of the Secrets of TokenSecretType.
func (x *accesses) follow(objects, secrets cache.Informer) (toolscache.InformerSynced, error) {
	for _, f := range []struct {
		informer cache.Informer
		set      func(client.Object)
		remove   func(client.Object)
	}{
		{objects, func(o client.Object) { x.setAccess(o.(*v1alpha1.DeviceAccess)) }, func(o client.Object) { x.removeAccess(client.ObjectKeyFromObject(o)) }},
		{secrets, func(o client.Object) { x.setSecret(client.ObjectKeyFromObject(o), o.(*corev1.Secret)) }, func(o client.Object) { x.setSecret(client.ObjectKeyFromObject(o), nil) }},
	} {
		following, err := f.informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { f.set(o.(client.Object)) },
			UpdateFunc: func(_, o any) { f.set(o.(client.Object)) },
			DeleteFunc: func(o any) {
				if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				f.remove(o.(client.Object))
			},
		})
		if err != nil {
			return nil, fmt.Errorf("follow DeviceAccesses: %w", err)
		}
		x.synced = append(x.synced, following.HasSynced)
	}
	return x.hasSynced, nil
}

// setAccess takes a new or changed DeviceAccess. One that is being deleted accepts nothing.
func (x *accesses) setAccess(a *v1alpha1.DeviceAccess) {
	key := client.ObjectKeyFromObject(a)
	if !a.DeletionTimestamp.IsZero() {
		x.removeAccess(key)
		return
	}
	x.mu.Lock()
	before := x.objects[key]
	x.use(key, before, false)
	x.objects[key] = a
	x.use(key, a, true)
	isNew := before == nil || before.UID != a.UID || before.Generation != a.Generation || before.Unreadable != a.Unreadable
	if isNew {
		x.compile(key)
	}
	x.mu.Unlock()
	x.changed(key)
	if isNew {
		x.rulesChanged(key.Namespace)
	}
}

func (x *accesses) removeAccess(key types.NamespacedName) {
	defer x.rulesChanged(key.Namespace)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.use(key, x.objects[key], false)
	delete(x.objects, key)
	if delete(x.compiled[key.Namespace], key.Name); len(x.compiled[key.Namespace]) == 0 {
		delete(x.compiled, key.Namespace)
	}
	delete(x.rules, key.Namespace)
}

// use notes, or forgets, the Secrets that a DeviceAccess names.
func (x *accesses) use(key types.NamespacedName, a *v1alpha1.DeviceAccess, uses bool) {
	if a == nil {
		return
	}
	for _, name := range secretsOf(a) {
		secret := types.NamespacedName{Namespace: key.Namespace, Name: name}
		switch {
		case !uses:
			if delete(x.users[secret], key); len(x.users[secret]) == 0 {
				delete(x.users, secret)
			}
		case x.users[secret] == nil:
			x.users[secret] = map[types.NamespacedName]bool{key: true}
		default:
			x.users[secret][key] = true
		}
	}
}

// secretsOf returns the names of the Secrets of a DeviceAccess.
func secretsOf(a *v1alpha1.DeviceAccess) []string {
	var names []string
	if a.Spec.GatewayToken != nil {
		names = append(names, a.Spec.GatewayToken.SecretName)
	}
	if a.Spec.ClientCertificate != nil {
		names = append(names, a.Spec.ClientCertificate.CASecretRef.Name)
	}
	return names
}

// setSecret takes a new, changed or deleted Secret.
func (x *accesses) setSecret(key types.NamespacedName, secret *corev1.Secret) {
	x.mu.Lock()
	if secret == nil || secret.Type != TokenSecretType {
		delete(x.secrets, key)
	} else {
		x.secrets[key] = secret
	}
	users := make([]types.NamespacedName, 0, len(x.users[key]))
	for user := range x.users[key] {
		x.compile(user)
		users = append(users, user)
	}
	x.mu.Unlock()
	for _, user := range users {
		x.changed(user)
	}
	if len(users) > 0 {
		x.rulesChanged(key.Namespace)
	}
}

// compile prepares a DeviceAccess with the present Secrets. The caller holds the lock.
func (x *accesses) compile(key types.NamespacedName) *access.Access {
	a := x.objects[key]
	if a == nil {
		return nil
	}
	made := access.New(a, func(name string) *access.Secret {
		if secret := x.secrets[types.NamespacedName{Namespace: key.Namespace, Name: name}]; secret != nil {
			return &access.Secret{Data: secret.Data}
		}
		return nil
	}, x.now())
	if x.compiled[key.Namespace] == nil {
		x.compiled[key.Namespace] = map[string]*access.Access{}
	}
	x.compiled[key.Namespace][key.Name] = made
	delete(x.rules, key.Namespace)
	return made
}

// get returns a DeviceAccess and its prepared form, or nil if it does not exist. It is prepared
// again if one of its certificates has expired.
func (x *accesses) get(key types.NamespacedName) (*v1alpha1.DeviceAccess, *access.Access) {
	x.mu.Lock()
	defer x.mu.Unlock()
	made := x.compiled[key.Namespace][key.Name]
	if made != nil && !made.Until.IsZero() && x.now().After(made.Until) {
		made = x.compile(key)
	}
	return x.objects[key], made
}

// dataOf returns the data of a Secret, and whether the cache has it.
func (x *accesses) dataOf(key types.NamespacedName) (map[string][]byte, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	secret := x.secrets[key]
	if secret == nil {
		return nil, false
	}
	return secret.Data, true
}

// hasSynced reports whether everything that the caches have read first is known.
func (x *accesses) hasSynced() bool {
	return !slices.ContainsFunc(x.synced, func(synced toolscache.InformerSynced) bool { return !synced() })
}

// registeredBy returns the number of targets that a DeviceAccess has registered.
func (x *accesses) registeredBy(key types.NamespacedName) int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.registered[key])
}

// isCounted reports whether a target is among the registered ones of a DeviceAccess.
func (x *accesses) isCounted(by types.NamespacedName, target string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, is := x.registered[by][target]
	return is
}

// count counts the registered targets. It is called for every change in the index.
func (x *accesses) count(old, now client.Object) {
	before, isRegistered := registrant(old)
	after, isNow := registrant(now)
	if before == after && isRegistered == isNow {
		return
	}
	x.mu.Lock()
	if isRegistered {
		if delete(x.registered[before], old.GetName()); len(x.registered[before]) == 0 {
			delete(x.registered, before)
		}
	}
	if isNow {
		if x.registered[after] == nil {
			x.registered[after] = map[string]struct{}{}
		}
		x.registered[after][now.GetName()] = struct{}{}
	}
	x.mu.Unlock()
	if isRegistered {
		x.changed(before)
	}
	if isNow {
		x.changed(after)
	}
}

// registrant returns the DeviceAccess that has registered a target.
func registrant(o client.Object) (types.NamespacedName, bool) {
	t, ok := o.(*v1alpha1.Target)
	if !ok || t == nil || t.Annotations[v1alpha1.DeviceAccessAnnotation] == "" {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: t.Namespace, Name: t.Annotations[v1alpha1.DeviceAccessAnnotation]}, true
}
