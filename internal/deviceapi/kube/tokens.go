// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

const (
	// tokenGrace is how long a token must be unusable, or usable again, before that is written:
	// Targets and Secrets are applied in any order, and a rotation may delete a Secret and create
	// it again.
	tokenGrace = 3 * time.Second
	// tokenLookupTimeout limits one request for a Secret to the API server.
	tokenLookupTimeout = 5 * time.Second
	// tokenRecheck is the interval at which a missing Secret is requested from the API server,
	// because the cache has only Secrets of one type.
	tokenRecheck = time.Minute
)

var (
	// tokenWrites limits the writes of TokenUsable of this process: many targets may refer to one
	// Secret.
	tokenWrites = rate.NewLimiter(20, 20)
	// tokenLookups limits how often this process requests missing Secrets from the API server.
	tokenLookups = rate.NewLimiter(5, 20)
)

// TargetByTokenSecret finds the targets whose token is in a Secret, by the name of the Secret.
const TargetByTokenSecret = "tokenSecretRef.name"

// AddIndexes adds the field index of the device API. It must be called before the caches start.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.Target{}, TargetByTokenSecret, func(o client.Object) []string {
		if ref := o.(*v1alpha1.Target).Spec.TokenSecretRef; ref != nil {
			return []string{ref.Name}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("index Targets by %s: %w", TargetByTokenSecret, err)
	}
	return nil
}

// tokenProblem is the reason why a token is not usable.
type tokenProblem struct{ reason, message string }

// checkToken returns what is wrong with the token of a reference, or nil. fault is that of its
// digest, and isOther reports whether the namespace has a Secret with that name of another type
// than TokenSecretType.
func checkToken(namespace string, ref *v1alpha1.SecretKeyReference, fault string, isOther bool) *tokenProblem {
	named := fmt.Sprintf("Secret %s in namespace %s (spec.tokenSecretRef.name)", ref.Name, namespace)
	switch fault {
	case "":
		return nil
	case v1alpha1.ReasonTokenSecretNotFound:
		if isOther {
			return &tokenProblem{v1alpha1.ReasonTokenSecretWrongType, fmt.Sprintf(
				"%s is not of type %s, and the device API reads no others: delete it and create it with that type (the type is immutable)", named, TokenSecretType)}
		}
		return &tokenProblem{fault, fmt.Sprintf("%s does not exist: create it in this namespace, with type %s and key %q", named, TokenSecretType, ref.Key)}
	case v1alpha1.ReasonTokenKeyMissing:
		return &tokenProblem{fault, fmt.Sprintf("%s has no key %q: add the key, or correct spec.tokenSecretRef.key", named, ref.Key)}
	case v1alpha1.ReasonTokenEmpty:
		return &tokenProblem{fault, fmt.Sprintf("the token under key %q of %s is empty: write the token of the device there", ref.Key, named)}
	default:
		return &tokenProblem{fault, fmt.Sprintf(
			"the token under key %q of %s contains a line break or another control character, which no HTTP header can hold: write one line there", ref.Key, named)}
	}
}

// condition returns the condition TokenUsable for a problem, or nil without a problem.
func (p *tokenProblem) condition(t *v1alpha1.Target, now time.Time) *metav1.Condition {
	if p == nil {
		return nil
	}
	return &metav1.Condition{Type: v1alpha1.ConditionTokenUsable, Status: metav1.ConditionFalse, Reason: p.reason, Message: p.message,
		ObservedGeneration: t.Generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
}

// Tokens maintains the condition TokenUsable of the targets, and Ready with it. The device API does
// this, because only it may read Secrets. All replicas compute the same conditions, and the first
// one writes them.
type Tokens struct {
	backend *Backend
	targets client.Reader
	queue   workqueue.TypedDelayingInterface[types.NamespacedName]
	others  *otherSecrets
}

// otherSecrets finds Secrets of other types than TokenSecretType, which the cache does not have.
type otherSecrets struct {
	reader client.Reader
	now    func() time.Time

	mu    sync.Mutex
	known map[types.NamespacedName]otherSecret
}

func newOtherSecrets(b *Backend) *otherSecrets {
	return &otherSecrets{reader: b.live.reader, now: b.now, known: map[types.NamespacedName]otherSecret{}}
}

// otherSecret is the result of a request for a Secret to the API server.
type otherSecret struct {
	exists bool
	at     time.Time
}

// NewTokens returns Tokens for the targets that a backend serves. targets lists them from a cache
// with AddIndexes.
func NewTokens(b *Backend, targets client.Reader) *Tokens {
	return &Tokens{backend: b, targets: targets, queue: workqueue.NewTypedDelayingQueue[types.NamespacedName](), others: newOtherSecrets(b)}
}

// Follow makes Tokens follow the tokens and the targets of the backend. It must be called before
// FollowSecrets.
func (k *Tokens) Follow() {
	k.backend.index.Watch(func(old, now client.Object) {
		t, ok := now.(*v1alpha1.Target)
		before, _ := old.(*v1alpha1.Target)
		if ok && (before == nil || before.UID != t.UID || !equality.Semantic.DeepEqual(before.Spec.TokenSecretRef, t.Spec.TokenSecretRef)) {
			k.queue.AddAfter(client.ObjectKeyFromObject(t), tokenGrace)
		}
	})
	k.backend.tokens.changed = k.secretChanged
}

// secretChanged checks the targets whose token has another fault than before. A token that is
// replaced by another usable token affects no target.
func (k *Tokens) secretChanged(secret types.NamespacedName, isChanged func(key string) bool) {
	k.others.forget(secret)
	var list v1alpha1.TargetList
	if err := k.targets.List(context.Background(), &list, client.InNamespace(secret.Namespace), client.MatchingFields{TargetByTokenSecret: secret.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return // a cache fails to list only while it starts or ends, and every target is checked after its start
	}
	for i := range list.Items {
		if t := &list.Items[i]; t.Spec.TokenSecretRef != nil && isChanged(t.Spec.TokenSecretRef.Key) {
			k.queue.AddAfter(client.ObjectKeyFromObject(t), tokenGrace)
		}
	}
}

// Run checks all targets once the Secrets have synced, and then those that change, until ctx ends.
func (k *Tokens) Run(ctx context.Context) error {
	defer k.queue.ShutDown()
	if !toolscache.WaitForCacheSync(ctx.Done(), k.backend.tokens.hasSynced) {
		return nil
	}
	var list v1alpha1.TargetList
	if err := k.targets.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list targets: %w", err)
	}
	for i := range list.Items {
		k.queue.AddAfter(client.ObjectKeyFromObject(&list.Items[i]), tokenGrace)
	}
	checkQueued(ctx, k.queue, k.check)
	return nil
}

// checkQueued calls check for each key of the queue until ctx ends. check returns the delay until
// the key is checked again, or 0 if only a change requires it.
func checkQueued[T comparable](ctx context.Context, queue workqueue.TypedDelayingInterface[T], check func(context.Context, T) time.Duration) {
	context.AfterFunc(ctx, queue.ShutDown)
	for {
		key, shutdown := queue.Get()
		if shutdown {
			return
		}
		if again := check(ctx, key); again > 0 {
			queue.AddAfter(key, again)
		}
		queue.Done(key)
	}
}

// check writes the problem of the token of one target, or that there is no problem any more. It
// returns the delay until the next check, or 0 if only a change requires one.
func (k *Tokens) check(ctx context.Context, key types.NamespacedName) time.Duration {
	t := k.backend.targets.Get(key)
	if t == nil {
		return 0
	}
	problem := k.problemOf(ctx, t)
	if !isRecorded(t, problem) {
		if tokenWrites.Wait(ctx) != nil {
			return 0
		}
		if _, err := k.backend.targets.Update(ctx, key, func(w offer.World, status *v1alpha1.TargetStatus) error {
			problem = k.problemOf(ctx, w.Target)
			if c := problem.condition(w.Target, w.Now); c != nil {
				meta.SetStatusCondition(&status.Conditions, *c)
			} else {
				meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTokenUsable)
			}
			targetstatus.NoteReady(w.Target, status, k.backend.index.NamesWithControllerID(w.Target.Namespace, w.Target.ControllerID()), w.Now)
			return nil
		}); client.IgnoreNotFound(err) != nil {
			return tokenGrace
		}
	}
	if problem != nil && (problem.reason == v1alpha1.ReasonTokenSecretNotFound || problem.reason == v1alpha1.ReasonTokenSecretWrongType) {
		return tokenRecheck
	}
	return 0
}

// isRecorded reports whether the target's status already has the problem.
func isRecorded(t *v1alpha1.Target, problem *tokenProblem) bool {
	recorded := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionTokenUsable)
	if recorded == nil || problem == nil {
		return recorded == nil && problem == nil
	}
	return recorded.Reason == problem.reason && recorded.Message == problem.message
}

// problemOf returns the problem of the token of a target.
func (k *Tokens) problemOf(ctx context.Context, t *v1alpha1.Target) *tokenProblem {
	ref := t.Spec.TokenSecretRef
	if ref == nil {
		return nil
	}
	fault := k.backend.tokens.find(types.NamespacedName{Namespace: t.Namespace, Name: ref.Name}, ref.Key).fault
	return checkToken(t.Namespace, ref, fault, fault == v1alpha1.ReasonTokenSecretNotFound && k.isOther(ctx, t))
}

// isOther reports whether the Secret of a target exists with another type.
func (k *Tokens) isOther(ctx context.Context, t *v1alpha1.Target) bool {
	recorded := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionTokenUsable)
	return k.others.exists(ctx, types.NamespacedName{Namespace: t.Namespace, Name: t.Spec.TokenSecretRef.Name},
		recorded != nil && recorded.Reason == v1alpha1.ReasonTokenSecretWrongType)
}

// forget drops what is known of a Secret that has changed.
func (o *otherSecrets) forget(secret types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, secret)
}

// exists reports whether a Secret that the cache does not have exists with another type. It
// requests only metadata: the content of other Secrets is never read. The result is cached. If the
// request fails, or beyond the rate of tokenLookups, the result is last, the one that a condition
// has.
func (o *otherSecrets) exists(ctx context.Context, key types.NamespacedName, last bool) bool {
	now := o.now()
	o.mu.Lock()
	known, ok := o.known[key]
	o.mu.Unlock()
	if ok && now.Sub(known.at) < tokenRecheck/2 {
		return known.exists
	}
	if !tokenLookups.Allow() {
		return last
	}
	ctx, cancel := context.WithTimeout(ctx, tokenLookupTimeout)
	defer cancel()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := o.reader.List(ctx, list, client.InNamespace(key.Namespace), client.MatchingFields{metav1.ObjectNameField: key.Name}); err != nil {
		return last
	}
	found := otherSecret{len(list.Items) > 0, now}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= 1<<12 { // it is only a cache: clear it instead of letting it grow
		clear(o.known)
	}
	o.known[key] = found
	return found.exists
}
