// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/test/world"
)

// plan: a rollout of eight targets is planned with three groups, and then, before its start, with
// two.
var plan = Scenario{
	oneIn: 3,
	prepare: func(r *run) {
		r.fleet(8)
		r.set("firmware-1", "1.0")
	},
	act: func(r *run) {
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupOrder: Name, groupCount: 3, state: Planned}
`)
		r.rollout("roll", "is planned", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutReady && len(s.Groups) == 3 })
		r.devices.findNothing("dev-0")
		r.CommitRollout("roll", "spec: {groupCount: 2}")
		r.rollout("roll", "is planned again", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutReady && len(s.Groups) == 2 })
		r.Eventually("only the groups of the new plan", func() string {
			if groups := r.Groups(); len(groups) != 2 {
				return fmt.Sprintf("%d groups", len(groups))
			}
			return ""
		})
	},
}

// start: a newer rollout starts with targets of an older one. In the open group of the older one
// dev-0 has finished, dev-1 has started and dev-2 has not; dev-3 and dev-4 are in its second group.
// The newer one supersedes it on dev-1 to dev-4, in two groups.
var start = Scenario{
	oneIn: 3,
	prepare: func(r *run) {
		r.fleet(6, 1, 2, 3, 4)
		r.set("firmware-1", "1.0")
		r.set("firmware-2", "2.0")
		r.create(`
kind: Rollout
metadata: {name: old}
spec:
  {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupOrder: Name, groupCount: 2, successThreshold: 100, errorThreshold: 100, startAt: "2026-01-01T00:00:00Z"}
`)
		r.devices.install("dev-0")
		r.devices.start("dev-1")
		r.create(`
kind: Rollout
metadata: {name: new}
spec:
  update: {distributionSet: firmware-2}
  stabilizationSeconds: 0
  groupOrder: Name
  groupCount: 2
  successThreshold: 100
  startAt: "2026-01-02T00:00:00Z"
  state: Planned
  targetSelector: {matchLabels: {shared: "true"}}
`)
		r.rollout("new", "is planned", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutReady && len(s.Groups) == 2 })
	},
	act: func(r *run) {
		r.CommitRollout("new", "spec: {state: Running}")
		r.rollout("new", "opens its first group", opened(0))
		r.devices.cancel("dev-1", wire.ExecutionClosed)
		r.devices.findNothing("dev-3")
		r.devices.install("dev-1", "dev-2")
		r.rollout("new", "opens its second group", opened(1))
		r.rollout("old", "opens its second group", opened(1))
		r.devices.install("dev-3", "dev-4", "dev-5")
		for _, name := range []string{"new", "old"} {
			r.rollout(name, "finishes", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutFinished })
		}
	},
}

// evaluate: the first of three groups finishes and the second opens. There one of two devices
// fails, and the rollout pauses. A user resumes it.
var evaluate = Scenario{
	oneIn: 3,
	prepare: func(r *run) {
		r.fleet(6)
		r.set("firmware-1", "1.0")
		r.create(`
kind: Rollout
metadata: {name: roll}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupOrder: Name, groupCount: 3, successThreshold: 100, errorThreshold: 30}
`)
		r.rollout("roll", "opens its first group", opened(0))
	},
	act: func(r *run) {
		r.devices.install("dev-0", "dev-1")
		r.devices.start("dev-2")
		r.devices.fail("dev-2", "E42")
		held := r.rollout("roll", "is held", func(s *v1alpha1.RolloutStatus) bool { return s.PauseReason == v1alpha1.PauseByErrorThreshold })
		r.devices.findNothing("dev-3", "dev-4")
		r.CommitRollout("roll", fmt.Sprintf("spec: {resumedAt: %q}", held.Status.PausedAt.UTC().Add(time.Second).Format(time.RFC3339)))
		r.devices.install("dev-3")
		r.rollout("roll", "opens its last group", opened(2))
		r.devices.install("dev-4", "dev-5")
		r.rollout("roll", "finishes", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutFinished })
	},
}

// inUse creates a running rollout. In its open group dev-0 has finished, dev-1 and dev-2 have
// started, and dev-3 has not; dev-4 and dev-5 are in the second group.
func inUse(r *run) {
	r.fleet(6)
	r.set("firmware-1", "1.0")
	r.create(`
kind: Rollout
metadata: {name: roll}
spec:
  {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupOrder: Name, groups: [{name: first, percentage: 66}, {name: rest}], successThreshold: 100, errorThreshold: 100}
`)
	r.devices.install("dev-0")
	r.devices.start("dev-1")
	r.devices.start("dev-2")
}

// invalidateSoft: started devices are asked to cancel; dev-1 cancels, dev-2 rejects it and
// finishes. The commit is reverted meanwhile, which has no effect.
var invalidateSoft = Scenario{
	oneIn:   3,
	prepare: inUse,
	act: func(r *run) {
		r.Commit(r.named(&v1alpha1.DistributionSet{}, "firmware-1"), "spec: {invalidation: {cancellation: Soft, reason: bricks the modem}}")
		r.isInvalid("firmware-1")
		r.Commit(r.named(&v1alpha1.DistributionSet{}, "firmware-1"), "spec: {invalidation: null}")
		r.Eventually("the set has a condition about the revert", func() string {
			s := r.DistributionSet("firmware-1")
			if !world.Says(s.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidationIsFinal) {
				return show(s.Status)
			}
			return ""
		})
		r.devices.findNothing("dev-3", "dev-4", "dev-5")
		r.devices.cancel("dev-1", wire.ExecutionClosed)
		r.devices.cancel("dev-2", wire.ExecutionRejected)
		r.devices.succeed("dev-2")
		r.rollout("roll", "stops", func(s *v1alpha1.RolloutStatus) bool { return s.State == v1alpha1.RolloutStopped })
		r.isRefused()
		r.isInvalidAgain()
	},
}

// invalidateForce: all actions are closed at once, and the rollout is deleted. Started devices get
// the cancel when they poll.
var invalidateForce = Scenario{
	oneIn:   3,
	prepare: inUse,
	act: func(r *run) {
		r.Commit(r.named(&v1alpha1.DistributionSet{}, "firmware-1"), "spec: {invalidation: {cancellation: Force, deleteRollouts: true, reason: bricks the modem}}")
		r.isInvalid("firmware-1")
		r.devices.findNothing("dev-3", "dev-4", "dev-5")
		r.isGone(&v1alpha1.Rollout{}, "roll")
		r.devices.cancel("dev-1", wire.ExecutionClosed)
		r.devices.cancel("dev-2", wire.ExecutionRejected)
		r.isRefused()
		r.isInvalidAgain()
	},
}

// isInvalid waits until the status of the set shows that its invalidation has been applied to all
// actions.
func (r *run) isInvalid(name string) {
	r.T.Helper()
	r.Eventually("set "+name+" is invalidated", func() string {
		if s := r.DistributionSet(name); s.Status.Invalidation == nil || s.Status.Invalidation.FinishedAt == nil {
			return show(s.Status)
		}
		return ""
	})
}

// isRefused creates another rollout of the invalid set, and checks that it is Stalled and offers
// nothing.
func (r *run) isRefused() {
	r.T.Helper()
	r.create(`
kind: Rollout
metadata: {name: again}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, startAt: "2026-01-03T00:00:00Z"}
`)
	r.rollout("again", "is refused", func(s *v1alpha1.RolloutStatus) bool {
		return world.Says(s.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid)
	})
	r.devices.findNothing("dev-3")
}

// isInvalidAgain deletes the set, creates it again without the invalidation, and waits until it is
// invalid.
func (r *run) isInvalidAgain() {
	r.T.Helper()
	r.delete(&v1alpha1.DistributionSet{}, "firmware-1")
	r.create(setOf("firmware-1", "1.0"))
	r.Eventually("the set is invalid from its first reconcile", func() string {
		s := r.DistributionSet("firmware-1")
		if !world.Says(s.Status.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonPreviouslyInvalidated) {
			return show(s.Status)
		}
		return ""
	})
	r.devices.findNothing("dev-3")
}

func opened(group int) func(*v1alpha1.RolloutStatus) bool {
	return func(s *v1alpha1.RolloutStatus) bool { return len(s.Groups) > group && s.Groups[group].OpenedAt != nil }
}

func (r *run) rollout(name, what string, is func(*v1alpha1.RolloutStatus) bool) *v1alpha1.Rollout {
	r.T.Helper()
	return r.EventuallyRollout(name, what, func(o *v1alpha1.Rollout) bool { return is(&o.Status) })
}

func (r *run) isGone(o client.Object, name string) {
	r.T.Helper()
	r.Eventually(name+" is gone", func() string {
		err := r.Client.Get(r.T.Context(), types.NamespacedName{Namespace: r.Namespace, Name: name}, o)
		switch {
		case apierrors.IsNotFound(err):
			return ""
		case err != nil:
			return err.Error()
		}
		return "it exists"
	})
}

func (r *run) named(o client.Object, name string) client.Object {
	o.SetName(name)
	return o
}

// fleet creates targets dev-0 and so on and waits until each is reconciled. The targets with the
// numbers in shared have the label shared: "true".
func (r *run) fleet(n int, shared ...int) {
	r.T.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tokens", Namespace: r.Namespace}, Type: kube.TokenSecretType, Data: map[string][]byte{"all": []byte(world.Token)}}
	if err := r.Client.Create(r.T.Context(), secret); err != nil {
		r.T.Fatal(err)
	}
	for i := range n {
		r.create(fmt.Sprintf(targetOf, i, slices.Contains(shared, i)))
	}
	for i := range n {
		r.meet(fmt.Sprintf("dev-%d", i))
	}
}

const targetOf = `
kind: Target
metadata: {name: dev-%d, labels: {shared: "%t"}}
spec: {tokenSecretRef: {name: tokens, key: all}}
`

// meet waits until a target is reconciled and lets its device poll.
func (r *run) meet(name string) {
	r.T.Helper()
	r.EventuallyTarget(name, "is reconciled", func(t *v1alpha1.Target) bool { return t.Status.NextActionID > 0 })
	r.devices.poll(name)
}

// later creates a target during the scenario.
func (r *run) later(i int) {
	r.T.Helper()
	r.create(fmt.Sprintf(targetOf, i, false))
	r.meet(fmt.Sprintf("dev-%d", i))
}

func (r *run) delete(o client.Object, name string) {
	r.T.Helper()
	o.SetName(name)
	o.SetNamespace(r.Namespace)
	if err := r.Client.Delete(r.T.Context(), o); err != nil {
		r.T.Fatal(err)
	}
	r.isGone(o, name)
}

func (r *run) set(name, version string) {
	r.T.Helper()
	r.create(fmt.Sprintf(`
kind: SoftwareModule
metadata: {name: %[1]s}
spec:
  type: os
  name: linux
  version: %[2]q
  artifacts: [{fileName: rootfs.img, size: 4, checksums: {sha256: %[3]s}, downloads: [{protocol: HTTP, url: "http://127.0.0.1/rootfs.img"}]}]
`, name, version, strings.Repeat("0a", 32)))
	r.create(setOf(name, version))
	r.Eventually("set "+name+" is ready", func() string {
		if s := r.DistributionSet(name); !world.Says(s.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady) {
			return show(s.Status)
		}
		return ""
	})
}

func setOf(name, version string) string {
	return fmt.Sprintf(`
kind: DistributionSet
metadata: {name: %[1]s}
spec: {name: firmware, version: %[2]q, type: full-image, modules: [{name: %[1]s}]}
`, name, version)
}

// create creates one of Goshawk's objects.
func (r *run) create(manifest string) {
	r.T.Helper()
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
		r.T.Fatal(err)
	}
	o.SetAPIVersion(v1alpha1.GroupVersion.String())
	o.SetNamespace(r.Namespace)
	if err := r.Client.Create(r.T.Context(), &o); err != nil {
		r.T.Fatalf("create %s: %v", o.GetName(), err)
	}
}
