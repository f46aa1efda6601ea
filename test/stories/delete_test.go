package stories

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A rollout goes when its manifest does, in whatever state it is, with a device at work that will never answer, and leaves neither groups nor itself behind.
func TestRolloutGoesInEveryState(t *testing.T) {
	t.Parallel()
	states := map[string]struct {
		spec string
		then string
		is   v1alpha1.RolloutState
	}{
		"creating": {spec: "settleSeconds: 3600", is: v1alpha1.RolloutCreating},
		"refused":  {spec: "targetExpression: target.colour", is: v1alpha1.RolloutCreating},
		"waiting":  {spec: "approvalRequired: true", is: v1alpha1.RolloutWaitingForApproval},
		"ready":    {spec: "state: Planned", is: v1alpha1.RolloutReady},
		"running":  {is: v1alpha1.RolloutRunning},
		"paused":   {then: "spec: {state: Paused}", is: v1alpha1.RolloutPaused},
		"stopped":  {then: "spec: {state: Stopped}", is: v1alpha1.RolloutStopped},
		"finished": {is: v1alpha1.RolloutFinished},
	}
	for _, cancelation := range []v1alpha1.Cancelation{v1alpha1.CancelationNone, v1alpha1.CancelationSoft, v1alpha1.CancelationForce} {
		t.Run(string(cancelation), func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			for name, state := range states {
				targets := w.Targets(name, 2, map[string]string{"state": name})
				temperament := devicesim.Silent
				if state.is == v1alpha1.RolloutFinished {
					temperament = devicesim.Obedient
				}
				_, devices := w.Devices(temperament, targets...)
				settle := ", settleSeconds: 0"
				if name == "creating" {
					settle = ""
				}
				w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %s}
spec: {update: {distributionSet: firmware-1}, targetSelector: {matchLabels: {state: %s}}, deletionCancelation: %s%s}
`, name, name, cancelation, settle+comma(state.spec)))
				if state.spec == "" {
					w.EventuallyBegan(devices, targets...)
				}
				if state.then != "" {
					w.CommitRollout(name, state.then)
				}
				w.EventuallyRollout(name, "is "+string(state.is), world.InState(state.is))
			}
			for name := range states {
				w.Kubectl("delete", "grollout", name, "--wait=true", "--timeout=60s")
				if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, &v1alpha1.Rollout{}); !apierrors.IsNotFound(err) {
					t.Errorf("rollout %s is still there: %v", name, err)
				}
			}
			noGroups(w)
			want := map[v1alpha1.Cancelation]v1alpha1.ActionState{
				v1alpha1.CancelationNone: v1alpha1.ActionRetrieved, v1alpha1.CancelationSoft: v1alpha1.ActionCanceling, v1alpha1.CancelationForce: v1alpha1.ActionCanceled,
			}[cancelation]
			for _, name := range []string{"running-000", "running-001", "paused-000", "paused-001"} {
				w.EventuallyTarget(name, "is "+string(want), newest(want))
			}
		})
	}
}

// Somebody deletes a target and the set of a running rollout. The rollout counts the one as removed, says what it misses of the other, and goes on when it
// is back.
func TestRolloutOutlivesWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	done, late := w.Targets("done", 2, nil), w.Targets("late", 3, nil)
	w.Devices(devicesim.Obedient, done...)
	fleet, devices := w.Devices(devicesim.Offline, late...)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, settleSeconds: 1}
`)
	for _, name := range done {
		w.EventuallyTarget(name, "is done", inSync("firmware-1"))
	}
	w.Kubectl("delete", "tgt", late[0], "--wait=true", "--timeout=30s")
	w.EventuallyRollout("firmware-1", "counts it as removed", func(r *v1alpha1.Rollout) bool { return r.Status.Targets.Removed == 1 })
	w.Kubectl("delete", "distset", "firmware-1", "--wait=true", "--timeout=30s")
	w.Kubectl("delete", "swmod", "firmware-1", "--wait=true", "--timeout=30s")
	w.EventuallyRollout("firmware-1", "misses its set", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonReferenceNotFound)
	})
	wake(t, fleet, late[1:]...)
	w.EventuallyPolled(devices, 3, w.Rollout("firmware-1").CreationTimestamp.Time, late[1:]...)
	if began := devices.Of(devicesim.Began); len(began) > 0 {
		t.Errorf("devices began a set that is gone: %v", began)
	}
	w.Set("firmware-1", "1.0")
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 5, Succeeded: 4, Removed: 1}) {
		t.Errorf("counts are %+v", got)
	}
	once(t, devices, late[1:]...)
}

// comma goes before one more field of a mapping in one line.
func comma(field string) string {
	if field == "" {
		return ""
	}
	return ", " + field
}
